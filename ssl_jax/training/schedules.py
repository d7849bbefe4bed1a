"""Learning-rate schedules: cosine, constant and step decay, each after a linear warm-up.

A schedule takes the number of optimizer updates done (as Optax counts) and returns a
float scalar, so it also yields the learning rate for the metrics. Its settings count batches: with
`steps_per_update` batches accumulated into an update, update `n` happens during batch
`n * steps_per_update + steps_per_update - 1` and has the learning rate of that batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import optax

from ssl_jax.arguments import ArgumentError, check_number, check_whole


def warmup_cosine(
  base: float,
  *,
  total_steps: int,
  warmup_steps: int = 0,
  warmup_ratio: float = 1e-4,
  warmup_by_epoch: bool = False,
  schedule_by_epoch: bool = False,
  epoch_steps: int | None = None,
  min_lr_ratio: float = 0.0,
  cosine_after_warmup: bool = True,
  steps_per_update: int = 1,
) -> optax.Schedule:
  """Linear warm-up times half a cosine: `ramp * (low + (base - low) * (1 + cos(pi x)) / 2)`.

  `low` is `min_lr_ratio * base`.
  `ramp` grows linearly from `warmup_ratio` at batch 0 to 1 at batch `warmup_steps`. `x` grows from
  0 to 1 over the run, or over the part of it after the warm-up. Three common forms:

  * a warm-up per batch, then the cosine per batch over the rest: the defaults;
  * the cosine per epoch over the whole run, under a warm-up per batch (Wang et al., ICCV 2021):
    `epoch_steps=..., schedule_by_epoch=True, cosine_after_warmup=False`;
  * warm-up per epoch, then the cosine per epoch over the rest (Ge et al., IEEE TIP 2023):
    `epoch_steps=..., schedule_by_epoch=True, warmup_by_epoch=True`.

  Args:
    base: the learning rate after warm-up.
    total_steps: batches of the run; later updates have the learning rate `low`.
    warmup_steps: batches of warm-up. A run that is shorter ends before it reaches `base`.
    warmup_ratio: the ramp at batch 0. lightly's ramp is one step ahead, `(t + 1) / n` at batch
      `t`: that is `warmup_steps=n - 1, warmup_ratio=1 / n`.
    warmup_by_epoch: keeps the ramp constant within an epoch.
    schedule_by_epoch: keeps the cosine constant within an epoch.
    epoch_steps: batches of an epoch; needed by the two above only.
    min_lr_ratio: learning rate at the end over `base`.
    cosine_after_warmup: whether `x` starts to grow after the warm-up rather than at batch 0.
    steps_per_update: batches accumulated into one update.

  Raises:
    ValueError: an argument is out of range.
  """
  _check_warmup(base, warmup_steps, warmup_ratio, steps_per_update)
  check_whole('total_steps', total_steps)
  if epoch_steps is not None:
    check_whole('epoch_steps', epoch_steps)
  elif warmup_by_epoch or schedule_by_epoch:
    by_epoch = 'warmup_by_epoch' if warmup_by_epoch else 'schedule_by_epoch'
    raise ArgumentError('epoch_steps', 'None', f'given with {by_epoch}')
  check_number('min_lr_ratio', min_lr_ratio, at_least=0, at_most=1)
  low = min_lr_ratio * base
  start = warmup_steps if cosine_after_warmup else 0

  def schedule(count: chex.Numeric) -> jax.Array:
    batch = jnp.asarray(count) * steps_per_update + steps_per_update - 1
    epoch_start = batch // epoch_steps * epoch_steps if epoch_steps else batch
    ramp = _ramp(epoch_start if warmup_by_epoch else batch, warmup_steps, warmup_ratio)
    at = epoch_start if schedule_by_epoch else batch
    return ramp * (low + (base - low) * _half_cosine(at - start, total_steps - start))

  return schedule


def constant(
  base: float, *, warmup_steps: int = 0, warmup_ratio: float = 1e-4, steps_per_update: int = 1
) -> optax.Schedule:
  """`base` at every update, after a linear warm-up; arguments as in `warmup_cosine`.

  Raises:
    ValueError: an argument is out of range.
  """
  _check_warmup(base, warmup_steps, warmup_ratio, steps_per_update)

  def schedule(count: chex.Numeric) -> jax.Array:
    batch = jnp.asarray(count) * steps_per_update + steps_per_update - 1
    return base * _ramp(batch, warmup_steps, warmup_ratio)

  return schedule


def step_decay(
  base: float,
  *,
  decay_steps: Sequence[int],
  factor: float = 0.1,
  warmup_steps: int = 0,
  warmup_ratio: float = 1e-4,
  steps_per_update: int = 1,
) -> optax.Schedule:
  """`constant`, multiplied by `factor` from each batch of `decay_steps` on.

  Args:
    base: the learning rate after warm-up, before decay.
    decay_steps: batches; one that is 0 or below has passed when the run starts.
    factor: the new learning rate over the old one.
    warmup_steps, warmup_ratio, steps_per_update: as in `warmup_cosine`.

  Raises:
    ValueError: an argument is out of range.
  """
  check_number('factor', factor, above=0)
  warmed = constant(
    base, warmup_steps=warmup_steps, warmup_ratio=warmup_ratio, steps_per_update=steps_per_update
  )
  # Looked up rather than multiplied at every step, so that it is exact to rounding.
  scales = [factor**passed for passed in range(len(decay_steps) + 1)]

  def schedule(count: chex.Numeric) -> jax.Array:
    batch = jnp.asarray(count) * steps_per_update + steps_per_update - 1
    passed = jnp.sum(batch >= jnp.asarray(decay_steps, int))
    return warmed(count) * jnp.asarray(scales, float)[passed]

  return schedule


def _check_warmup(base: float, steps: int, ratio: float, steps_per_update: int) -> None:
  check_number('base', base, at_least=0)
  check_whole('warmup_steps', steps, 0)
  check_number('warmup_ratio', ratio, at_least=0, at_most=1)
  check_whole('steps_per_update', steps_per_update)


def _ramp(step: jax.Array, warmup_steps: int, ratio: float) -> jax.Array:
  if not warmup_steps:
    return jnp.ones((), float)
  done = jnp.asarray(jnp.clip(step, 0, warmup_steps), float)
  return (done + ratio * (warmup_steps - done)) / warmup_steps


def _half_cosine(step: jax.Array, total: int) -> jax.Array:
  # (1 + cos(pi x)) / 2 = sin²(pi (1 - x) / 2): the sum would cancel near the end, where the value
  # is tiny, and 1 - x is exact in integers.
  total = max(total, 1)
  left = jnp.asarray(jnp.clip(total - step, 0, total), float) / total
  return jnp.sin(0.5 * jnp.pi * left) ** 2
