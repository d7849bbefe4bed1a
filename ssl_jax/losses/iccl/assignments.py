"""Soft assignments of images to features: the D features of an embedding act as D clusters.

These are targets of the feature-level cross-entropy, and carry no gradient.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import l2_normalize, promote


def softmax_assignments(
  embeddings: chex.Array, *, temperature: float | jax.Array = 0.07
) -> jax.Array:
  """The softmax over features of each normalized embedding, `softmax(ẑ / τ)`.

  Source: the released code of Ge et al., IEEE TIP 2023.

  >>> import jax.numpy as jnp
  >>> assignments = softmax_assignments(jnp.array([[3.0, 4.0]]), temperature=0.2)
  >>> print([f'{share:.3f}' for share in assignments[0]])
  ['0.269', '0.731']

  Args:
    embeddings: `[batch, dim]`, any float dtype; need not be normalized.
    temperature: τ > 0; may be a traced scalar.

  Returns:
    `[batch, dim]`, float32 (float64 for float64), rows sum to 1; no gradient.

  Raises:
    ValueError: the rank or dtype is wrong, or temperature not positive.
  """
  arguments.check_embeddings(embeddings=embeddings)
  arguments.check_number('temperature', temperature, above=0, traced=True)
  rows = l2_normalize(jax.lax.stop_gradient(embeddings))
  return jax.nn.softmax(rows / jnp.asarray(temperature, rows.dtype))


def sinkhorn_assignments(
  embeddings: chex.Array,
  *,
  epsilon: float | jax.Array = 0.05,
  iterations: int = 3,
  normalize: bool = True,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """Assignments that use all features equally often: Sinkhorn's iteration on `exp(ẑ / ε)`.

  Each iteration scales features to one total over the batch, then rows to sum to 1. It runs on
  logarithms, so that a small ε neither overflows nor loses a feature.

  Source: Caron et al., NeurIPS 2020 (SwAV), appendix; with features in place of prototypes, an
  unused ablation in the released code of Ge et al., IEEE TIP 2023.

  >>> import jax.numpy as jnp
  >>> assignments = sinkhorn_assignments(jnp.array([[2.0, 1.0], [2.0, 1.5]]), iterations=50)
  >>> print([f'{total:.3f}' for total in assignments.sum(axis=0)])
  ['1.000', '1.000']

  Args:
    embeddings: `[batch, dim]`, any float dtype; need not be normalized.
    epsilon: ε > 0; may be a traced scalar.
    iterations: at least 1.
    normalize: whether rows are scaled to unit length first; not so for cosines with prototypes,
      which are scores already.
    mask: bool `[batch]`, False for rows that are padding, among which nothing is balanced; what is
      returned of them means nothing.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which features are balanced.

  Returns:
    `[batch, dim]`, float32 (float64 for float64), rows sum to 1; no gradient.

  Raises:
    ValueError: the rank or dtype is wrong, or a number is outside its range.
  """
  arguments.check_embeddings(embeddings=embeddings)
  arguments.check_number('epsilon', epsilon, above=0, traced=True)
  check_whole('iterations', iterations)
  mask = arguments.check_mask(mask, jnp.shape(embeddings)[0])
  rows = promote(row_means.without_padding(jax.lax.stop_gradient(embeddings), mask))
  if normalize:
    rows = l2_normalize(rows)
  log_assignments = rows / jnp.asarray(epsilon, rows.dtype)
  for _ in range(iterations):
    # The mean stands in for the sum: the constant between them drops out of the next line.
    log_assignments = log_assignments - log_batch_mean(log_assignments, mask, axis_name)
    log_assignments = jax.nn.log_softmax(log_assignments)
  return jnp.exp(log_assignments)


def centered_assignments(
  embeddings: chex.Array, center: chex.Array, *, temperature: float | jax.Array = 0.05
) -> jax.Array:
  """`softmax((z - c) / τ)` of embeddings that are not normalized, c their running mean.

  Source: Caron et al., ICCV 2021 (DINO); with features in place of prototypes, an
  unused ablation in the released code of Ge et al., IEEE TIP 2023.

  >>> import jax.numpy as jnp
  >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 0.1]])
  >>> assignments = centered_assignments(embeddings, embeddings.mean(axis=0))
  >>> print([f'{share:.3f}' for share in assignments[0]])
  ['0.731', '0.269']

  Args:
    embeddings: `[batch, dim]`, any float dtype.
    center: `[dim]`, see `update_center`.
    temperature: τ > 0; may be a traced scalar.

  Returns:
    `[batch, dim]`, float32 (float64 for float64), rows sum to 1; no gradient.

  Raises:
    ValueError: a rank, shape or dtype is wrong, or temperature not positive.
  """
  arguments.check_embeddings(embeddings=embeddings)
  check_center(center, jnp.shape(embeddings)[1])
  arguments.check_number('temperature', temperature, above=0, traced=True)
  offsets = jax.lax.stop_gradient(promote(embeddings) - promote(center))
  return jax.nn.softmax(offsets / jnp.asarray(temperature, offsets.dtype))


def update_center(
  center: chex.Array,
  embeddings: Sequence[chex.Array],
  *,
  momentum: float = 0.9,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """The next center, `momentum * c + (1 - momentum) * mean`, the mean over batch and views.

  Source: Caron et al., ICCV 2021 (DINO), equation 4.

  >>> import jax.numpy as jnp
  >>> print(update_center(jnp.zeros(2), (jnp.ones((3, 2)), jnp.zeros((3, 2)))).round(3))
  [0.05 0.05]

  Args:
    center: `[dim]`, any float dtype; zeros to begin with.
    embeddings: arrays `[batch, dim]`, one a view, not normalized.
    momentum: between 0 and 1.
    mask: bool `[batch]`, False for rows that are padding, which the mean leaves out.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    `[dim]`, float32 (float64 for float64); no gradient.

  Raises:
    ValueError: a rank, shape or dtype is wrong, or momentum outside its range.
  """
  views = check_views('embeddings', embeddings)
  check_center(center, jnp.shape(views[0])[1])
  arguments.check_fraction('momentum', momentum)
  mask = arguments.check_mask(mask, jnp.shape(views[0])[0])
  mean = row_means.batch_mean(jnp.stack([promote(view) for view in views]), mask, axis_name)
  return jax.lax.stop_gradient(momentum * promote(center) + (1 - momentum) * mean)


def check_views(name: str, arrays: Sequence[chex.Array]) -> tuple[chex.Array, ...]:
  """The arrays as a tuple: at least one, each `[batch, dim]` of one shape.

  Raises:
    ValueError: naming the array, its shape or dtype, and what is allowed.
  """
  try:
    views = tuple(arrays)
  except TypeError:
    found = type(arrays).__name__
    raise ArgumentError(name, found, 'a sequence of arrays, one a view') from None
  if not views:
    raise ArgumentError(name, 'none', 'a sequence of arrays, one a view')
  arguments.check_embeddings(**{f'{name}[{i}]': view for i, view in enumerate(views)})
  return views


def check_center(center: chex.Array, dim: int) -> None:
  """Requires a float array `[dim]`.

  Raises:
    ValueError: naming the shape or dtype, and what is allowed.
  """
  arguments.check_array('center', center)
  shape, dtype = jnp.shape(center), jnp.result_type(center)
  if shape != (dim,) or not jnp.issubdtype(dtype, jnp.floating):
    raise ArgumentError('center', f'{dtype} of shape {shape}', f'floats of shape ({dim},)')


def log_batch_mean(log_rows: jax.Array, mask: jax.Array | None, axis_name: AxisName) -> jax.Array:
  """`log mean exp` over real rows, leading axes and devices, with gradient: to `[dim]`.

  Args:
    log_rows: `[..., batch, dim]`.
    mask: `[batch]`, False for padding.
    axis_name: the mapped axis.
  """
  leading = tuple(range(log_rows.ndim - 1))
  if mask is not None:
    log_rows = jnp.where(mask[:, None], log_rows, -jnp.inf)
  peak = collectives.largest(jnp.max(log_rows, axis=leading), axis_name)
  return peak + jnp.log(row_means.batch_mean(jnp.exp(log_rows - peak), mask, axis_name))
