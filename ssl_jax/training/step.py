"""The compiled training step: gather images, augment, differentiate, update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ssl_jax.methods import Method
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.metrics import MetricsAccumulator
from ssl_jax.training.state import METHOD, PAIRS, VIEWS, TrainState

# From the key of a batch, the data set and int32 `[batch]` rows of it to the rows of the batch.
Gather = Callable[[jax.Array, Any, jax.Array], Any]
StepFunction = Callable[[TrainState, Any, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


def gather_rows(key: jax.Array, images: Any, rows: jax.Array) -> Any:
  """The given rows of every array of the tree; the key is not used."""
  del key
  return jax.tree.map(lambda array: array[rows], images)


def make_update(
  method: Method,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  augment: Callable[[jax.Array, Any], Any],
  mesh: Mesh,
  accumulation_steps: int = 1,
  gather: Gather = gather_rows,
  momentum_batch: Callable[[Any], Any] = lambda batch: batch,
) -> StepFunction:
  """One optimizer step, not yet compiled.

  Args:
    method: set up with its encoder and the length of the run.
    optimizer: the update rule.
    schedule: optimizer steps done to learning rate, for the metrics.
    augment: from a typed PRNG key and the stored rows of a batch to the method's `Batch`.
    mesh: the devices that share a batch.
    accumulation_steps: forward batches in one update, each with its own batch statistics and
      negatives; the gradient is the mean of theirs.
    gather: what is taken from the data set for a batch.
    momentum_batch: from a forward batch to the one whose momentum the moving average takes.

  Returns:
    `update(state, images, indices) -> (state, metrics)`: `images` is the whole data set, an array
    `[n, ...]` (uint8 pixels) or a tree of such with one row an image each, `indices` int32
    `[accumulation_steps, batch]` the rows of it; `metrics` are float32 scalars, means over the
    batches.
  """

  def stream(state: TrainState, number: int, index: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(state.key, number), index)

  def batch_loss(
    params: Any,
    state: TrainState,
    batch_stats: Any,
    method_state: Any,
    batch: Any,
    index: jax.Array,
  ) -> Any:
    views = augment(stream(state, VIEWS, index), batch)
    variables = {
      'params': params,
      'batch_stats': batch_stats,
      'target': state.target,
      'method_state': method_state,
    }
    return method.loss(variables, views, index, stream(state, METHOD, index))

  def update(
    state: TrainState, images: Any, indices: jax.Array
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    batch_stats, method_state = state.batch_stats, state.method_state
    gradients: Any = None
    totals: dict[str, jax.Array] = {}
    # Unrolled: inside a loop, convolution gradients are 10 to 20 times slower on XLA's CPU backend
    # (github.com/jax-ml/jax, issue 12868).
    for part in range(accumulation_steps):
      index = state.step * accumulation_steps + part
      rows = indices[part]
      if part:
        # Holds the next forward pass back until this gradient exists, or memory would grow with the
        # number of parts.
        rows, gradients = jax.lax.optimization_barrier((rows, gradients))
      batch = jax.lax.with_sharding_constraint(
        gather(stream(state, PAIRS, index), images, rows), mesh_lib.split(mesh)
      )
      (loss, (new, metrics)), part_gradients = jax.value_and_grad(batch_loss, has_aux=True)(
        state.params, state, batch_stats, method_state, batch, index
      )
      batch_stats, method_state = new['batch_stats'], new['method_state']
      gradients = (
        part_gradients if gradients is None else jax.tree.map(jnp.add, gradients, part_gradients)
      )
      for name, value in {**metrics, 'loss': loss}.items():
        totals[name] = totals.get(name, 0.0) + jnp.asarray(value, jnp.float32)
    gradients = jax.tree.map(lambda g: g / accumulation_steps, gradients)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {name: value / accumulation_steps for name, value in totals.items()}
    metrics['gradient_norm'] = optax.tree.norm(gradients).astype(jnp.float32)
    # Rates of methods compare by the encoder's steps: a head's gradient may be many times larger.
    metrics['encoder_gradient_norm'] = optax.tree.norm(gradients['encoder']).astype(jnp.float32)
    metrics['learning_rate'] = jnp.asarray(schedule(state.step), jnp.float32)
    target = state.target
    if method.target_network == 'ema':
      batch = momentum_batch((state.step + 1) * accumulation_steps - 1)
      momentum = method.target_momentum(batch)
      average = lambda old, new: momentum * old + (1 - momentum) * new
      target = jax.tree.map(average, target, {name: params[name] for name in target})
      metrics['target_momentum'] = jnp.asarray(momentum, jnp.float32)
    new_state = TrainState(
      state.step + 1, params, batch_stats, target, method_state, opt_state, state.key
    )
    return new_state, metrics

  return update


def compile_step(
  update: StepFunction,
  state: TrainState,
  images: Any,
  mesh: Mesh,
  indices_shape: tuple[int, int, int],
) -> tuple[
  Callable[..., tuple[TrainState, MetricsAccumulator, jax.Array]],
  Callable[[], MetricsAccumulator],
]:
  """Compiles `update` once for the whole run.

  Args:
    update: from `make_update`.
    state: a state of the run, for its shapes.
    images: the data set on the devices.
    mesh: the devices.
    indices_shape: (steps per call, accumulation steps, batch).

  Returns:
    `step(state, metrics, images, indices, count) -> (state, metrics, done)`, and `init_metrics()`,
    an empty `MetricsAccumulator`. A call runs the first `count` (int32 scalar on the device) of the
    given steps; state and metrics are returned in the donated buffers. `done` is the number of
    steps done, an array to wait for.
  """
  same, rows = mesh_lib.replicated(mesh), mesh_lib.split(mesh, axis=2)
  indices_type = jax.ShapeDtypeStruct(indices_shape, jnp.int32, sharding=rows)
  count_type = jax.ShapeDtypeStruct((), jnp.int32, sharding=same)
  _, metrics = jax.eval_shape(
    update, state, images, jax.ShapeDtypeStruct(indices_shape[1:], jnp.int32)
  )
  names = sorted(metrics)

  def one(
    state: TrainState, metrics: MetricsAccumulator, images: Any, rows: jax.Array
  ) -> tuple[TrainState, MetricsAccumulator]:
    new_state, new_metrics = update(state, images, rows)
    return new_state, metrics.update(state.step, new_metrics)

  def step(
    state: TrainState,
    metrics: MetricsAccumulator,
    images: Any,
    indices: jax.Array,
    count: jax.Array,
  ) -> tuple[TrainState, MetricsAccumulator, jax.Array]:
    if indices_shape[0] == 1:
      state, metrics = one(state, metrics, images, indices[0])
    else:
      body = lambda i, carry: one(carry[0], carry[1], images, indices[i])
      state, metrics = jax.lax.fori_loop(0, count, body, (state, metrics))
    # Not `state.step` itself: its buffer is donated to the next call and cannot be waited for.
    return state, metrics, state.step + 0

  init_metrics = jax.jit(lambda: MetricsAccumulator.init(names), out_shardings=same)
  compiled = (
    jax.jit(step, donate_argnums=(0, 1), out_shardings=(same, same, same))
    .lower(state, init_metrics(), images, indices_type, count_type)
    .compile()
  )
  return compiled, init_metrics
