"""Feature-level clustering: cross-entropy between views, and KL of the mean from uniform.

The softmax over the features of an embedding assigns an image to features. The cross-entropy makes
two views agree on the feature, and images that share one similar; uniformity keeps all in use.
"""

import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.iccl.assignments import (
  centered_assignments,
  check_views,
  log_batch_mean,
  sinkhorn_assignments,
  softmax_assignments,
)
from ssl_jax.losses.normalize import l2_normalize

ADAPTIVE_TEMPERATURES = ('off', 'clip', 'free')
ASSIGNMENTS = ('softmax', 'sinkhorn', 'centered')


def feature_cross_entropy(
  prediction: chex.Array,
  target: chex.Array,
  *,
  prediction_temperature: float | jax.Array = 0.1,
  target_temperature: float | jax.Array = 0.07,
  adaptive_temperature: str = 'off',
  partition: bool = True,
  assignments: str = 'softmax',
  center: chex.Array | None = None,
  sinkhorn_iterations: int = 3,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The cross-entropy over features, `-mean Σ_d m log n`: one direction.

  `n = softmax(p̂ / τ₁)` of the normalized prediction, `m = softmax(q̂ / τ₂)` of the normalized
  target. It is `-⟨m, p̂⟩ / τ₁ + log Σ_d exp(p̂_d / τ₁)`: the similarity of a prediction to its soft
  assignment, and a partition.

  Source: the released code of Ge et al., IEEE TIP 2023; the text of the paper was not available.

  >>> import jax.numpy as jnp
  >>> loss, metrics = feature_cross_entropy(jnp.eye(4), jnp.eye(4), prediction_temperature=0.5)
  >>> print(f'{loss:.3f} = {metrics["attract"]:.3f} + {metrics["log_partition"]:.3f}')
  0.341 = -2.000 + 2.341

  Args:
    prediction: `[batch, dim]`, any float dtype; carries the gradient.
    target: `[batch, dim]`, of the other view; its gradient is stopped.
    prediction_temperature: τ₁ > 0; may be a traced scalar.
    target_temperature: τ₂ > 0, of every kind of assignments (Sinkhorn's ε); may be a traced scalar.
    adaptive_temperature: 'free' replaces τ₁ by the norm of the target's assignment, row by row,
      which makes the first term the negative cosine of prediction and assignment; 'clip' takes the
      smaller of the two; 'off' takes τ₁.
    partition: False leaves the partition out (the RCC variant of the released code).
    assignments: how a target is assigned: 'softmax', 'sinkhorn' (see `sinkhorn_assignments`) or
      'centered' (see `centered_assignments`; the target is not normalized).
    center: `[dim]`, with 'centered' only.
    sinkhorn_iterations: at least 1.
    mask: bool `[batch]`, False for images that are padding: loss, metrics and gradient are those
      without them, whatever they hold; NaN if all are.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    The loss, and scalars: `attract` and `log_partition`, which add up to the cross-entropy,
    `assignment_norm` and `target_entropy` (mean norm and entropy of the target's assignments), and
    `positive_similarity` (mean cosine of prediction and target).

  Raises:
    ValueError: shapes differ, a number is outside its range, or a choice is unknown.
  """
  arguments.check_embeddings(prediction=prediction, target=target)
  mask = arguments.check_mask(mask, jnp.shape(prediction)[0])
  prediction, target = (row_means.without_padding(x, mask) for x in (prediction, target))
  assigned = assign(
    target, assignments, target_temperature, center, sinkhorn_iterations, mask, axis_name
  )
  rows = l2_normalize(prediction)
  temperature = row_temperature(assigned, prediction_temperature, adaptive_temperature)
  parts = {
    **match(rows / temperature, assigned),
    **assignment_metrics(assigned),
    'positive_similarity': jnp.sum(rows * l2_normalize(jax.lax.stop_gradient(target)), axis=-1),
  }
  parts = row_means.means(parts, mask, axis_name)
  cross_entropy = parts.pop('cross_entropy')
  return cross_entropy if partition else parts['attract'], jax.lax.stop_gradient(parts)


def feature_uniformity(
  predictions: Sequence[chex.Array],
  *,
  prediction_temperature: float | jax.Array = 0.1,
  gradient_scale: float = 1.0,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`KL(uniform ‖ n̄) = -log D - mean_d log n̄_d`, 0 where all features are used equally.

  `n̄` is the mean of `softmax(p̂ / τ₁)` over the batch and all views. An unused feature costs much
  in this direction of the divergence.

  Source: the released code of Ge et al., IEEE TIP 2023; the text of the paper was not available.
  That code reduces `n̄` over W devices without gradient, which divides this gradient alone by W:
  `gradient_scale=1 / W` repeats it on any number of devices (8 is likely).

  >>> import jax.numpy as jnp
  >>> loss, metrics = feature_uniformity((jnp.eye(4), jnp.eye(4)[:, ::-1]))
  >>> print(f'{loss:.4f} {metrics["used_features"]:.4f}')
  0.0000 4.0000

  Args:
    predictions: arrays `[batch, dim]`, one a view, any float dtype; carry the gradient.
    prediction_temperature: τ₁ > 0; may be a traced scalar.
    gradient_scale: >= 0; multiplies the gradient and leaves the value.
    mask: bool `[batch]`, False for images that are padding, as in `feature_cross_entropy`.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which `n̄` is taken.

  Returns:
    The loss, and `used_features`: `exp(entropy(n̄))`, between 1 and D.

  Raises:
    ValueError: shapes differ or a number is outside its range.
  """
  views = check_views('predictions', predictions)
  check_temperature('prediction_temperature', prediction_temperature)
  arguments.check_number('gradient_scale', gradient_scale, at_least=0)
  mask = arguments.check_mask(mask, jnp.shape(views[0])[0])
  rows = jnp.stack([l2_normalize(row_means.without_padding(view, mask)) for view in views])
  log_probs = jax.nn.log_softmax(rows / jnp.asarray(prediction_temperature, rows.dtype))
  loss, used_features = uniformity(log_probs, gradient_scale, mask, axis_name)
  return loss, {'used_features': used_features}


def assign(
  target: chex.Array,
  kind: str,
  temperature: float | jax.Array,
  center: chex.Array | None,
  sinkhorn_iterations: int,
  mask: jax.Array | None,
  axis_name: AxisName,
) -> jax.Array:
  """The assignments `[batch, dim]` of targets, of one of the kinds `ASSIGNMENTS`; no gradient."""
  check_choice('assignments', kind, ASSIGNMENTS)
  check_temperature('target_temperature', temperature)
  check_whole('sinkhorn_iterations', sinkhorn_iterations)
  if (center is not None) != (kind == 'centered'):
    found = 'None' if center is None else 'an array'
    found = f'{found} and assignments={kind!r}'
    raise ArgumentError('center', found, "given with assignments='centered' and only then")
  if center is not None:
    return centered_assignments(target, center, temperature=temperature)
  if kind == 'sinkhorn':
    return sinkhorn_assignments(
      target,
      epsilon=temperature,
      iterations=sinkhorn_iterations,
      mask=mask,
      axis_name=axis_name,
    )
  return softmax_assignments(target, temperature=temperature)


def row_temperature(
  assigned: jax.Array, temperature: float | jax.Array, adaptive: str
) -> jax.Array:
  """The temperature of the prediction of each row of assignments: a scalar, or `[batch, 1]`."""
  check_temperature('prediction_temperature', temperature)
  check_choice('adaptive_temperature', adaptive, ADAPTIVE_TEMPERATURES)
  fixed = jnp.asarray(temperature, assigned.dtype)
  if adaptive == 'off':
    return fixed
  norm = jnp.linalg.norm(assigned, axis=-1, keepdims=True)
  return norm if adaptive == 'free' else jnp.minimum(norm, fixed)


def match(logits: jax.Array, assigned: jax.Array) -> dict[str, jax.Array]:
  """The cross-entropy of `softmax(logits)` with assignments, and its two terms: `[batch]`."""
  return {
    # On its own and not as the sum of its terms, which cancel where the loss is small.
    'cross_entropy': -jnp.sum(assigned * jax.nn.log_softmax(logits), axis=-1),
    'attract': -jnp.sum(assigned * logits, axis=-1),
    'log_partition': jax.nn.logsumexp(logits, axis=-1),
  }


def assignment_metrics(assigned: jax.Array) -> dict[str, jax.Array]:
  """How sharp assignments are: `[..., batch]`."""
  return {
    'assignment_norm': jnp.linalg.norm(assigned, axis=-1),
    'target_entropy': jnp.sum(jax.scipy.special.entr(assigned), axis=-1),
  }


def uniformity(
  log_probs: jax.Array, gradient_scale: float, mask: jax.Array | None, axis_name: AxisName
) -> tuple[jax.Array, jax.Array]:
  """The global `KL(uniform ‖ mean)` of `[view, batch, dim]` log-softmaxes, and features used."""
  log_mean = log_batch_mean(log_probs, mask, axis_name)
  # -mean(offset), to which the mean of expm1 adds 0 and takes away most of its rounding error:
  # each term is flat where a feature has its share, and none is negative.
  offset = log_mean + math.log(log_mean.shape[0])
  divergence = jnp.mean(jnp.expm1(offset) - offset)
  constant = jax.lax.stop_gradient(divergence)
  entropy = -jnp.sum(jnp.exp(log_mean) * log_mean)
  scaled = constant + float(gradient_scale) * (divergence - constant)
  return scaled, jax.lax.stop_gradient(jnp.exp(entropy))


def check_temperature(name: str, value: float | jax.Array) -> None:
  """Requires a scalar above 0; ValueError otherwise."""
  arguments.check_number(name, value, above=0, traced=True)
