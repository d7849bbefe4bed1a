"""Alignment, uniformity, and the generalized contrastive loss made of them."""

import itertools
import math

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.row_sums import anchor_sums, check_tiling
from ssl_jax.losses.contrastive.terms import compose, other_keys, pair_terms
from ssl_jax.losses.normalize import l2_normalize


def alignment(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  exponent: float = 2.0,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The mean distance of two views of an image, to a power: `mean |a - b|^α`.

  Source: Wang and Isola, ICML 2020.

  >>> import jax.numpy as jnp
  >>> loss, _ = alignment(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]]))
  >>> print(f'{loss:.1f}')
  2.0

  Args:
    view1: `[batch, dim]`, any float dtype; is normalized. Or see `nt_xent`: all views, of which
      the mean is over all pairs.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    exponent: α > 0. Other than at 2, views that only rounding tells apart have distance
      and gradient 0: below 2 the latter is not defined there.
    mask: bool `[batch]`, False for images that are padding, as in `nt_xent`.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    The loss, and `positive_similarity`, the mean cosine.

  Raises:
    ValueError: shapes differ, a dtype is not floating-point, or the exponent is not positive.
  """
  arguments.check_views(view1, view2)
  arguments.check_number('exponent', exponent, above=0)
  mask = arguments.check_mask(mask, view1.shape[-2])
  views = view1 if view2 is None else (view1, view2)
  units = [l2_normalize(row_means.without_padding(view, mask)) for view in views]
  pairs = list(itertools.combinations(units, 2))
  squared = jnp.stack([jnp.sum(jnp.square(a - b), axis=-1) for a, b in pairs])
  if exponent == 2:
    distance = squared
  else:
    # Compiled programs may round equal views apart, in directions that mean nothing.
    equal = squared <= jnp.finfo(squared.dtype).eps ** 2
    distance = jnp.where(equal, 0, jnp.where(equal, 1, squared) ** (exponent / 2))
  metrics = {
    'alignment': distance,
    'positive_similarity': jnp.stack([jnp.sum(a * b, axis=-1) for a, b in pairs]),
  }
  metrics = row_means.means(metrics, mask, axis_name)
  loss = metrics.pop('alignment')
  return loss, jax.lax.stop_gradient(metrics)


def uniformity(
  view: chex.Array,
  *,
  sharpness: float = 2.0,
  mask: chex.Array | None = None,
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
    mask: see `nt_xent`; NaN too where a single row is real.
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
  if view.shape[0] * collectives.axis_size(axis_name) < 2:
    raise ArgumentError('view', '1 image', 'at least 2')
  mask = arguments.check_mask(mask, view.shape[0])
  view = l2_normalize(row_means.without_padding(view, mask))
  rows = {'index': collectives.row_indices(view.shape[0], axis_name)}
  if mask is not None:
    rows['real'] = mask
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
  num_others = row_means.count(mask, view.shape[0], axis_name) - 1
  log_others: float | jax.Array
  if mask is None:
    log_others = math.log(num_others)
  else:
    log_sums = jnp.where(mask, log_sums, -jnp.inf)
    num_others = jnp.where(num_others > 0, num_others, jnp.nan).astype(view.dtype)
    log_others = jnp.log(num_others)
  largest = collectives.largest(jnp.max(log_sums), axis_name)
  means = row_means.means(
    {'exp': jnp.exp(log_sums - largest), 'negative_similarity': sums.negative_sum}, mask, axis_name
  )
  means['negative_similarity'] /= 2 * sharpness * num_others
  loss = jnp.log(means.pop('exp')) + (largest - log_others - 2 * sharpness)
  return loss, jax.lax.stop_gradient(means)


def generalized_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  repel_weight: float | jax.Array = 1.0,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Alignment by element plus a weighted distribution loss over all embeddings.

  `mean over elements of (a - b)²/2 + λ (log Σ_j exp(s_ij/τ) - log dim)`, averaged over the
  view * batch anchors, and over the other views b of each; the sum holds the anchor itself too.

  Source: Chen, Luo and Li, NeurIPS 2021, whose attraction is divided by the dimension.

  >>> import jax.numpy as jnp
  >>> loss, _ = generalized_contrastive(jnp.eye(3), jnp.eye(3))   # log(2 e² + 4) - log 3
  >>> print(f'{loss:.6f}')
  1.834080

  Args:
    view1: `[batch, dim]`, any float dtype; is normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
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
    mask=mask,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  dim = view1.shape[-1]
  log_others = jnp.logaddexp(terms.sums.log_sums[0], 1 / terms.temperature)  # and the anchor itself
  positive_in_denominator = 1.0
  if terms.positives.ndim == 2:  # of several positives `compose` would add one
    everything = jnp.concatenate([terms.positives, log_others[None]])
    log_others, positive_in_denominator = jax.nn.logsumexp(everything, axis=0), 0.0
  return compose(
    terms,
    attract_weight=terms.temperature / dim,
    repel_weight=repel_weight,
    positive_in_denominator=positive_in_denominator,
    log_negatives=log_others,
    log_offset=1 / dim - repel_weight * math.log(dim),
    axis_name=axis_name,
  )
