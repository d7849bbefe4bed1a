"""Alignment, uniformity, and the generalized contrastive loss made of them."""

import math

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.row_sums import anchor_sums, check_tiling
from ssl_jax.losses.contrastive.terms import compose, other_keys, pair_terms
from ssl_jax.losses.normalize import l2_normalize


def alignment(
  view1: chex.Array,
  view2: chex.Array,
  *,
  exponent: float = 2.0,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The mean distance of the two views of an image, to a power: `mean |a - b|^α`.

  Source: Wang and Isola, ICML 2020.

  >>> import jax.numpy as jnp
  >>> loss, _ = alignment(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]]))
  >>> print(f'{loss:.1f}')
  2.0

  Args:
    view1: `[batch, dim]`, any float dtype; is normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    exponent: α > 0. Other than at 2, views that only rounding tells apart have distance
      and gradient 0: below 2 the latter is not defined there.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    The loss, and `positive_similarity`, the mean cosine.

  Raises:
    ValueError: shapes differ, a dtype is not floating-point, or the exponent is not positive.
  """
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_number('exponent', exponent, above=0)
  view1, view2 = l2_normalize(view1), l2_normalize(view2)
  squared = jnp.sum(jnp.square(view1 - view2), axis=-1)
  if exponent == 2:
    distance = squared
  else:
    # Compiled programs may round equal views apart, in directions that mean nothing.
    apart = squared > jnp.finfo(squared.dtype).eps ** 2
    distance = jnp.where(apart, jnp.where(apart, squared, 1) ** (exponent / 2), 0)
  metrics = {
    'alignment': jnp.mean(distance),
    'positive_similarity': jnp.mean(jnp.sum(view1 * view2, axis=-1)),
  }
  metrics = collectives.device_mean(metrics, axis_name)
  loss = metrics.pop('alignment')
  return loss, jax.lax.stop_gradient(metrics)


def uniformity(
  view: chex.Array,
  *,
  sharpness: float = 2.0,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """How evenly embeddings cover the sphere: `log mean_{i<j} exp(-t |x_i - x_j|²)`, 0 if collapsed.

  Of one view; take the mean of both. The logarithm is of the mean over all pairs, where NT-Xent has
  the mean over anchors of logarithms. A zero row counts as a unit one that is orthogonal to all.

  Source: Wang and Isola, ICML 2020.

  >>> import jax.numpy as jnp
  >>> loss, _ = uniformity(jnp.eye(3))   # all distances are √2
  >>> print(f'{loss:.1f}')
  -4.0

  Args:
    view: `[batch, dim]`, any float dtype; is normalized.
    sharpness: t > 0.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss, and `negative_similarity`, the mean cosine of two images.

  Raises:
    ValueError: not `[batch, dim]`, a dtype that is not floating-point, fewer than 2 images, a
      sharpness not positive, or `block_size` not a whole number above 0.
  """
  arguments.check_embeddings(view=view)
  arguments.check_number('sharpness', sharpness, above=0)
  check_tiling(view.shape[0], None, block_size, axis_name)
  view = l2_normalize(view)
  num_images = view.shape[0] * collectives.axis_size(axis_name)
  if num_images < 2:
    raise ArgumentError('view', '1 image', 'at least 2')
  rows = {'index': collectives.row_indices(view.shape[0], axis_name)}
  sums = anchor_sums(
    2 * sharpness * view,
    view,
    rows,
    rows,
    other_keys,
    block_size=block_size,
    axis_name=axis_name,
  )
  # |a - b|² = 2 - 2 cos. The mean of row sums would leave the range of float32.
  log_sums = sums.log_sums[0]
  largest = collectives.largest(jnp.max(log_sums), axis_name)
  means = {
    'exp': jnp.mean(jnp.exp(log_sums - largest)),
    'negative_similarity': jnp.mean(sums.negative_sum) / (2 * sharpness * (num_images - 1)),
  }
  means = collectives.device_mean(means, axis_name)
  loss = jnp.log(means.pop('exp')) + (largest - math.log(num_images - 1) - 2 * sharpness)
  return loss, jax.lax.stop_gradient(means)


def generalized_contrastive(
  view1: chex.Array,
  view2: chex.Array,
  *,
  temperature: float | jax.Array = 0.5,
  repel_weight: float | jax.Array = 1.0,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Alignment by element plus a weighted distribution loss over all embeddings.

  `mean over elements of (a - b)²/2 + λ (log Σ_j exp(s_ij/τ) - log dim)`, averaged over the
  2 * batch anchors; the sum holds the anchor itself too.

  Source: Chen, Luo and Li, NeurIPS 2021, whose attraction is divided by the dimension.

  >>> import jax.numpy as jnp
  >>> loss, _ = generalized_contrastive(jnp.eye(3), jnp.eye(3))   # log(2 e² + 4) - log 3
  >>> print(f'{loss:.6f}')
  1.834080

  Args:
    view1: `[batch, dim]`, any float dtype; is normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    repel_weight: λ >= 0; may be a traced scalar.
    group_size: see `nt_xent`.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss and the metrics of `nt_xent`. `attract` is -cos / dim; it and `repel` (mean λ log-sum)
    add up to the loss but for the constant 1/dim - λ log dim.

  Raises:
    ValueError: shapes differ, fewer than 2 images, a number outside its range, `group_size` not a
      divisor of the batch, or `block_size` not a whole number above 0.
  """
  arguments.check_number('repel_weight', repel_weight, at_least=0, traced=True)
  terms = pair_terms(
    view1,
    view2,
    temperature=temperature,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  dim = view1.shape[1]
  itself = 1 / terms.temperature
  return compose(
    terms,
    attract_weight=terms.temperature / dim,
    repel_weight=repel_weight,
    log_negatives=jnp.logaddexp(terms.sums.log_sums[0], itself),
    log_offset=1 / dim - repel_weight * math.log(dim),
    axis_name=axis_name,
  )
