"""Principal component analysis of a batch of embeddings, and projection onto its axes."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.iccl.assignments import check_views
from ssl_jax.losses.normalize import l2_normalize

NOISE_ROUNDINGS = 16  # lengths below so many rounding errors of a unit vector mean nothing


class PCA(NamedTuple):
  """Principal axes of normalized embeddings; constants, without gradient.

  Attributes:
    mean: `[dim]`, of the normalized rows.
    basis: `[dim, kept]`, orthonormal columns; the largest entry in size of each is positive.
    eigenvalues: `[kept]`, of the covariance, largest first.
  """

  mean: jax.Array
  basis: jax.Array
  eigenvalues: jax.Array


def fit_pca(
  embeddings: Sequence[chex.Array],
  *,
  dim: int | None = None,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> PCA:
  """The eigenvectors of the covariance of normalized embeddings, over batch, views and devices.

  Source: the released code of Ge et al., IEEE TIP 2023, which fits on each device alone and leaves
  the signs open, though a softmax over features depends on them. Here the batch is the global one,
  and the largest entry of each axis is positive.

  >>> import jax.numpy as jnp
  >>> pca = fit_pca((jnp.array([[3.0, 4.0], [-3.0, -4.0], [3.0, 4.0]]),), dim=1)
  >>> print([f'{entry:.3f}' for entry in pca.basis[:, 0]], f'{pca.eigenvalues[0]:.3f}')
  ['0.600', '0.800'] 0.889

  Args:
    embeddings: arrays `[batch, dim]`, one a view (or one queue); any float dtype.
    dim: how many axes to keep; None keeps all.
    mask: bool `[batch]`, False for rows that are padding, which the moments leave out.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which moments are taken.

  Returns:
    A `PCA`, float32 (float64 for float64).

  Raises:
    ValueError: a rank, shape or dtype is wrong, or `dim` is not between 1 and the width.
  """
  views = check_views('embeddings', embeddings)
  width = jnp.shape(views[0])[1]
  kept = width if dim is None else dim
  check_whole('dim', kept)
  if kept > width:
    raise ArgumentError('dim', kept, f'at most {width}, the width of the embeddings')
  # Stacked and not joined end to end, which would move rows between devices of a sharded batch.
  mask = arguments.check_mask(mask, jnp.shape(views[0])[0])
  rows = jnp.stack([l2_normalize(jax.lax.stop_gradient(view)) for view in views])
  mean = row_means.batch_mean(rows, mask, axis_name)
  centered = rows - mean
  if mask is not None:
    centered = jnp.where(mask[:, None], centered, 0)
  # Centered before it is squared: E[xx'] - mm' would cancel where embeddings are alike.
  products = jnp.einsum('vbd,vbe->de', centered, centered, precision=jax.lax.Precision.HIGHEST)
  covariance = collectives.mean(products / (rows.shape[0] * rows.shape[1]), axis_name)
  if mask is not None:
    covariance /= row_means.real_share(mask, rows.dtype, axis_name)
  eigenvalues, basis = jnp.linalg.eigh(covariance)
  order = jnp.argsort(-jnp.abs(eigenvalues))[:kept]
  eigenvalues, basis = eigenvalues[order], basis[:, order]
  largest = jnp.argmax(jnp.abs(basis), axis=0, keepdims=True)
  signs = jnp.where(jnp.take_along_axis(basis, largest, axis=0) < 0, -1, 1)
  return PCA(mean, basis * signs.astype(basis.dtype), eigenvalues)


def project(embeddings: chex.Array, pca: PCA) -> jax.Array:
  """Normalized embeddings, centered, on the axes of a PCA, and normalized again.

  Source: the released code of Ge et al., IEEE TIP 2023.

  >>> import jax.numpy as jnp
  >>> embeddings = jnp.array([[3.0, 4.0], [-3.0, -4.0], [3.0, 4.0]])
  >>> print(project(embeddings, fit_pca((embeddings,), dim=1)).T.round(3))
  [[ 1. -1.  1.]]

  Args:
    embeddings: `[batch, dim]`, any float dtype; carries the gradient.
    pca: of the same dim.

  Returns:
    `[batch, kept]`, float32 (float64 for float64), rows of length 1. Rows that equal the mean, but
    for rounding, are zero and have no gradient.

  Raises:
    ValueError: the rank or dtype is wrong, the width differs, or `pca` is no PCA.
  """
  arguments.check_embeddings(embeddings=embeddings)
  if not isinstance(pca, PCA):
    raise ArgumentError('pca', type(pca).__name__, 'a PCA')
  width = pca.mean.shape[0]
  if jnp.shape(embeddings)[1] != width:
    raise ArgumentError('embeddings', f'shape {jnp.shape(embeddings)}', f'[batch, {width}]')
  mean, basis, _ = jax.lax.stop_gradient(pca)
  centered = l2_normalize(embeddings) - mean
  projected = jnp.matmul(centered, basis, precision=jax.lax.Precision.HIGHEST)
  # Of a collapsed batch nothing but rounding is left, which must not be blown up to length 1.
  noise = NOISE_ROUNDINGS * jnp.finfo(projected.dtype).eps
  squares = jnp.sum(jnp.square(projected), axis=-1, keepdims=True)
  return l2_normalize(jnp.where(squares <= noise**2, 0, projected))
