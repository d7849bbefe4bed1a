"""Barlow Twins and VICReg: losses on the means and covariances of dimensions over the batch.

Means, variances and the `[dim, dim]` second moments are those of the global batch on any number of
devices. Rows are centered before they are multiplied, so that a large mean costs no digits.
"""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import dot_products, promote

BATCH_NORM_EPSILON = 1e-5


def barlow_twins(
  view1: chex.Array,
  view2: chex.Array,
  *,
  redundancy_weight: float = 0.005,
  scale: float = 1.0,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The cross-correlation of two views, drawn to the identity matrix.

  `scale * (Σ_i (c_ii - 1)² + redundancy_weight * Σ_{i≠j} c_ij²)`, with `c = z1ᵀ z2 / batch` and z
  the embeddings after batch normalization without affine parameters: each dimension less its mean,
  divided by sqrt(biased variance + 1e-5). The loss sums over dimensions; it does not average.

  Source: Zbontar et al., ICML 2021, equations 1 and 2; the epsilon is that of the released code.
  Song et al., 2024 (DSA) combine it with `redundancy_weight=1 / dim`.

  >>> import jax.numpy as jnp
  >>> view = jnp.array([[3.0, 2.0], [3.0, -2.0], [-3.0, 2.0], [-3.0, -2.0]])   # uncorrelated
  >>> loss, metrics = barlow_twins(view, view[:, ::-1], redundancy_weight=0.25)
  >>> print(f'{loss:.4f} = {metrics["invariance"]:.4f} + 0.25 * {metrics["redundancy"]:.4f}')
  2.5000 = 2.0000 + 0.25 * 2.0000

  Args:
    view1: `[batch, dim]`, any float dtype; not to be normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    redundancy_weight: λ >= 0, the weight of the off-diagonal correlations.
    scale: > 0, multiplies the whole loss, for optimizers that notice its size.
    mask: bool `[batch]`, False for images that are padding: loss, metrics and gradient are those
      without them, whatever they hold; NaN if all are.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which statistics are taken.

  Returns:
    The loss, and scalars: `invariance` (Σ (c_ii - 1)²) and `redundancy` (Σ c_ij²), both before
    their weights, `diagonal_correlation` (the mean c_ii), and `off_diagonal_correlation` (the root
    mean square c_ij).

  Raises:
    ValueError: shapes differ, fewer than 2 images, or a number is outside its range.
  """
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_number('redundancy_weight', redundancy_weight, at_least=0)
  arguments.check_number('scale', scale, above=0)
  mask, _ = _check_images(view1, mask, axis_name)
  normed1, normed2 = (_batch_normalize(view, mask, axis_name) for view in (view1, view2))
  correlations = _second_moments(normed1, normed2, mask, axis_name)
  diagonal = jnp.diagonal(correlations)
  invariance = jnp.sum(jnp.square(diagonal - 1))
  redundancy = _sum_off_diagonal_squares(correlations)
  loss = float(scale) * (invariance + float(redundancy_weight) * redundancy)

  dim = diagonal.shape[0]
  mean_square = jax.lax.stop_gradient(redundancy) / max(dim * (dim - 1), 1)
  metrics = {
    'invariance': invariance,
    'redundancy': redundancy,
    'diagonal_correlation': jnp.mean(diagonal),
    'off_diagonal_correlation': jnp.sqrt(mean_square),
  }
  return loss, jax.lax.stop_gradient(metrics)


def vicreg(
  view1: chex.Array,
  view2: chex.Array,
  *,
  invariance_weight: float = 25.0,
  variance_weight: float = 25.0,
  covariance_weight: float = 1.0,
  target_std: float = 1.0,
  epsilon: float = 1e-4,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Variance-invariance-covariance regularization of two views.

  `invariance_weight * I + variance_weight * V + covariance_weight * C`, with n images of D
  dimensions, and variances and covariances divided by n - 1:

  * I: the mean over images and dimensions of `(z1 - z2)²`;
  * V: the mean over dimensions and both views of `max(0, target_std - sqrt(variance + epsilon))`;
  * C: the sum over both views of `Σ_{i≠j} cov_ij² / D`.

  Source: Bardes et al., ICLR 2022, algorithm 1, with the averages of the released code. The
  paper's formulas sum over dimensions in I, and over the two views in V.

  >>> import jax.numpy as jnp
  >>> view = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
  >>> print(f'{vicreg(view, view)[0]:.1f}')   # uncorrelated, and spread as far as asked
  0.0
  >>> loss, metrics = vicreg(view, view + 0.1)
  >>> print(f'{loss:.2f} = 25 * {metrics["invariance"]:.2f}')
  0.25 = 25 * 0.01

  Args:
    view1: `[batch, dim]`, any float dtype; not to be normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    invariance_weight: λ >= 0, the weight of I.
    variance_weight: μ >= 0, the weight of V.
    covariance_weight: ν >= 0, the weight of C.
    target_std: γ > 0, the standard deviation up to which dimensions are spread.
    epsilon: > 0, keeps the gradient of a constant dimension's standard deviation finite.
    mask: bool `[batch]`, False for images that are padding: loss, metrics and gradient are those
      without them, whatever they hold; NaN if all are.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which statistics are taken.

  Returns:
    The loss, and scalars: `invariance`, `variance` and `covariance` (I, V and C, before their
    weights), and `mean_std` (the mean sqrt(variance + epsilon) over dimensions and views).

  Raises:
    ValueError: shapes differ, fewer than 2 images, or a number is outside its range.
  """
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_number('invariance_weight', invariance_weight, at_least=0)
  arguments.check_number('variance_weight', variance_weight, at_least=0)
  arguments.check_number('covariance_weight', covariance_weight, at_least=0)
  arguments.check_number('target_std', target_std, above=0)
  arguments.check_number('epsilon', epsilon, above=0)
  mask, num_images = _check_images(view1, mask, axis_name)
  view1, view2 = (promote(row_means.without_padding(view, mask)) for view in (view1, view2))
  dim = view1.shape[1]
  if not isinstance(num_images, int):
    num_images = num_images.astype(view1.dtype)
  unbiased = num_images / (num_images - 1)

  stds, covariance = [], jnp.zeros((), view1.dtype)
  for view in (view1, view2):
    centered = _center(view, mask, axis_name)
    variance = unbiased * row_means.batch_mean(jnp.square(centered), mask, axis_name)
    stds.append(jnp.sqrt(variance + float(epsilon)))
    covariances = unbiased * _second_moments(centered, centered, mask, axis_name)
    covariance += _sum_off_diagonal_squares(covariances) / dim
  std = jnp.stack(stds)
  metrics = {
    'invariance': jnp.mean(row_means.batch_mean(jnp.square(view1 - view2), mask, axis_name)),
    'variance': jnp.mean(jax.nn.relu(float(target_std) - std)),
    'covariance': covariance,
    'mean_std': jnp.mean(std),
  }
  loss = (
    float(invariance_weight) * metrics['invariance']
    + float(variance_weight) * metrics['variance']
    + float(covariance_weight) * metrics['covariance']
  )
  return loss, jax.lax.stop_gradient(metrics)


def _check_images(
  view: chex.Array, mask: chex.Array | None, axis_name: AxisName
) -> tuple[jax.Array | None, int | jax.Array]:
  """The mask, and the real images of the global batch.

  Raises:
    ValueError: there is a single image, of which statistics mean nothing, or the mask does not fit.
  """
  if view.shape[0] * collectives.axis_size(axis_name) < 2:
    raise ArgumentError('view1', '1 image', 'at least 2: variances are over images')
  mask = arguments.check_mask(mask, view.shape[0])
  return mask, row_means.count(mask, view.shape[0], axis_name)


def _center(rows: jax.Array, mask: jax.Array | None, axis_name: AxisName) -> jax.Array:
  """Rows less the mean of the batch; padding stays zero."""
  return row_means.without_padding(rows - row_means.batch_mean(rows, mask, axis_name), mask)


def _batch_normalize(view: chex.Array, mask: jax.Array | None, axis_name: AxisName) -> jax.Array:
  """Each dimension with mean 0 and, but for the epsilon, biased variance 1."""
  centered = _center(promote(row_means.without_padding(view, mask)), mask, axis_name)
  variance = row_means.batch_mean(jnp.square(centered), mask, axis_name)
  scale = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
  return centered * jnp.where(jnp.isposinf(variance), jnp.nan, scale)  # which rsqrt turns into 0


def _second_moments(
  rows1: jax.Array, rows2: jax.Array, mask: jax.Array | None, axis_name: AxisName
) -> jax.Array:
  """The mean over the global batch of the outer products of rows: `[dim, dim]`."""
  products = collectives.mean(dot_products(rows1.T, rows2.T) / rows1.shape[0], axis_name)
  return (
    products if mask is None else products / row_means.real_share(mask, products.dtype, axis_name)
  )


def _sum_off_diagonal_squares(matrix: jax.Array) -> jax.Array:
  # Masked, not subtracted from the sum over all entries: the diagonal would swallow their digits.
  diagonal = jnp.eye(matrix.shape[0], dtype=bool)
  return jnp.sum(jnp.square(jnp.where(diagonal, 0, matrix)))
