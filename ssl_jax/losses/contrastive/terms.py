"""The general contrastive loss and its terms, of which the named losses are settings.

An anchor i with a positive p(i) and negatives Q(i), logits s/τ:

  l_i = -α s_ip/τ + λ log(κ exp(s_ip/τ) + T(Σ_{j in Q(i)} w_ij exp(s_ij/τ))) + c

Source: the superset of Lee, TMLR 2025, reconstructed from its statements. α attracts, λ repels, κ
is the positive's weight in the denominator, w weighs negatives, T transforms their sum, c shifts.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import UNLABELED, ArgumentError
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.row_sums import anchor_sums, check_tiling
from ssl_jax.losses.contrastive.tile import MaskFunction, PairMask, RowMetadata, RowSums
from ssl_jax.losses.normalize import dot_products, l2_normalize, promote


class Terms(NamedTuple):
  """Logits and sums of the anchors; each array is `[anchor]`."""

  positives: jax.Array
  """The logit of the positive, with gradient; `[positive, anchor]` where there are several."""
  sums: RowSums
  temperature: jax.Array
  mask: jax.Array | None = None
  """Which anchors are counted; None for all."""


def other_images(rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """All views of all other images are negatives; other views of the image are positive."""
  same = rows['image'][:, None] == columns['image'][None]
  another_view = rows['index'][:, None] != columns['index'][None]
  counted, weight = ~same, None
  if 'log_weight' in columns:
    weight = columns['log_weight'][None]
    counted &= ~jnp.isneginf(weight)
  return PairMask(counted, same & another_view, weight)


def other_classes(rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """All views of images of other classes are negatives; other views of the image are positive."""
  mask = other_images(rows, columns)
  return mask._replace(counted=~_of_one_class(rows, columns))


def same_class(rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """All of the anchor's class are positives; they and all others are counted, but for itself."""
  others = rows['index'][:, None] != columns['index'][None]
  return PairMask(others, others & _of_one_class(rows, columns), counts_positives=True)


def _of_one_class(rows: RowMetadata, columns: RowMetadata) -> jax.Array:
  """An image without a label is a class of its own."""
  label = rows['label'][:, None]
  same_image = rows['image'][:, None] == columns['image'][None]
  return same_image | ((label == columns['label'][None]) & has_label(label))


def has_label(labels: jax.Array) -> jax.Array:
  """Where labels are not -1, which an unsigned type does not hold."""
  if jnp.issubdtype(labels.dtype, jnp.unsignedinteger):
    return jnp.ones_like(labels, bool)
  return labels != UNLABELED


def other_keys(rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """One key a query: its own is positive, the others are negatives."""
  own = rows['index'][:, None] == columns['index'][None]
  return PairMask(~own, own)


def all_negative(rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """Every candidate is a negative, as in a queue."""
  shape = rows['index'].shape[0], columns['index'].shape[0]
  return PairMask(jnp.ones(shape, bool))


def pair_terms(
  view1: jax.Array,
  view2: jax.Array | None,
  mask_fn: MaskFunction = other_images,
  *,
  temperature: float | jax.Array,
  mask: jax.Array | None = None,
  fewest_views: int = 2,
  metadata: Mapping[str, jax.Array] | None = None,
  powers: tuple[float, ...] = (1.0,),
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> Terms:
  """Terms of the anchors that are all views of all images, image by image.

  Args:
    view1: `[batch, dim]`, or all views, `[view, batch, dim]`, without `view2`.
    view2: `[batch, dim]`.
    mask_fn: which pairs count.
    temperature: τ.
    mask: bool `[batch]`, False for images that are padding.
    fewest_views: that are accepted; a single one, `[batch, dim]` too, has no positives.
    metadata: arrays `[batch]` that `mask_fn` reads of each image.
    powers: see `anchor_sums`.
    group_size: images that are negatives of each other.
    block_size: see `anchor_sums`; in embeddings, of which there are as many an image as views.
    axis_name: see `anchor_sums`.

  Raises:
    ValueError: shapes or dtypes are wrong, a number is out of range, or there is only one image.
  """
  arguments.check_views(view1, view2, fewest_views)
  arguments.check_number('temperature', temperature, above=0, traced=True)
  num_local = view1.shape[-2]
  check_tiling(num_local, group_size, block_size, axis_name)
  mask = arguments.check_mask(mask, num_local)
  if num_local * collectives.axis_size(axis_name) < 2:
    raise ArgumentError('view1', '1 image', 'at least 2: others are the negatives')
  # Views interleave (image-major), since joining them one after the other would move every row to
  # another device when the batch is sharded.
  if view2 is None:
    stacked = jnp.moveaxis(view1, 0, 1) if jnp.ndim(view1) == 3 else jnp.asarray(view1)[:, None]
  else:
    stacked = jnp.stack([view1, view2], axis=1)
  views = l2_normalize(row_means.without_padding(stacked, mask))
  _, num_views, dim = views.shape
  temperature = jnp.asarray(temperature, views.dtype)
  rows = views.reshape(num_local * num_views, dim)
  known = {name: jnp.repeat(values, num_views) for name, values in (metadata or {}).items()}
  known['index'] = collectives.row_indices(num_local * num_views, axis_name)
  known['image'] = known['index'] // num_views
  if mask is not None:
    known['real'] = jnp.repeat(mask, num_views)
  sums = anchor_sums(
    rows / temperature,
    rows,
    known,
    known,
    mask_fn,
    powers=powers,
    group_size=None if group_size is None else group_size * num_views,
    block_size=block_size,
    axis_name=axis_name,
  )
  return Terms(_positives(views) / temperature, sums, temperature, known.get('real'))


def _positives(views: jax.Array) -> jax.Array:
  """`[image, view, dim]` to the cosines of each embedding and the other views of its image.

  `[anchor]` for two views, `[positive, anchor]` for more, and zeros for a single one.
  """
  num_views = views.shape[1]
  if num_views == 1:
    return jnp.zeros_like(views[:, 0, 0])
  if num_views == 2:
    return jnp.repeat(jnp.sum(views[:, 0] * views[:, 1], axis=-1), num_views)
  # Of the image's matrix of cosines, what lies off the diagonal, by distance from it.
  cosines = dot_products(views, views)
  this = np.arange(num_views)
  others = (this + np.arange(1, num_views)[:, None]) % num_views
  return jnp.moveaxis(cosines[:, this, others], 0, 1).reshape(num_views - 1, -1)


def query_terms(
  query: jax.Array,
  key: jax.Array,
  negatives: jax.Array | None = None,
  *,
  temperature: float | jax.Array,
  mask: jax.Array | None = None,
  normalize: bool = True,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> Terms:
  """Terms of the batch of queries against their keys, or against `negatives` where given."""
  arguments.check_embeddings(query=query, key=key)
  arguments.check_number('temperature', temperature, above=0, traced=True)
  check_tiling(query.shape[0], group_size, block_size, axis_name)
  mask = arguments.check_mask(mask, query.shape[0])
  prepare = l2_normalize if normalize else promote
  query, key = (prepare(row_means.without_padding(x, mask)) for x in (query, key))
  temperature = jnp.asarray(temperature, query.dtype)
  positives = jnp.sum(query * key, axis=-1) / temperature
  rows = {'index': collectives.row_indices(query.shape[0], axis_name)}
  if mask is not None:
    rows['real'] = mask
  if negatives is not None:
    arguments.check_embeddings(negatives=negatives)
    if negatives.shape[1] != query.shape[1]:
      raise ArgumentError('negatives', f'shape {negatives.shape}', f'[negative, {query.shape[1]}]')
    candidates = prepare(negatives).astype(query.dtype)
    columns, mask_fn = {'index': jnp.arange(candidates.shape[0])}, all_negative
  else:
    if query.shape[0] * collectives.axis_size(axis_name) < 2:
      raise ArgumentError('query', '1 image', 'at least 2: other keys are the negatives')
    candidates, columns, mask_fn = key, rows, other_keys
  sums = anchor_sums(
    query / temperature,
    candidates,
    rows,
    columns,
    mask_fn,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
    shared=negatives is not None,
  )
  return Terms(positives, sums, temperature, mask)


def compose(
  terms: Terms,
  *,
  attract_weight: float | jax.Array = 1.0,
  repel_weight: float | jax.Array = 1.0,
  positive_in_denominator: float = 1.0,
  log_negatives: jax.Array | None = None,
  log_offset: float = 0.0,
  of_none: float | jax.Array = jnp.nan,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The mean over anchors and positives of the module's formula, and its metrics.

  Args:
    terms: of `pair_terms` or `query_terms`.
    attract_weight: α, a number or one for each of `terms.positives`.
    repel_weight: λ.
    positive_in_denominator: κ >= 0.
    log_negatives: `[anchor]`, log T(...), or one for each of `terms.positives`; by default the
      plain log-sum over negatives.
    log_offset: c.
    of_none: loss and metrics where no anchor is counted.
    axis_name: the mapped axis over which the mean is taken.

  Returns:
    The loss and the metrics that `nt_xent` documents. An anchor without negatives and with κ = 0
    has a repelling part of 0.
  """
  positives, sums, temperature, mask = terms
  log_sum = sums.log_sums[0] if log_negatives is None else log_negatives
  if positive_in_denominator:
    log_sum = jnp.logaddexp(log_sum, positives + math.log(positive_in_denominator))
  else:
    log_sum = jnp.where(jnp.isneginf(log_sum), 0, log_sum)

  count = jnp.where(sums.negative_count == 0, 1, sums.negative_count)
  # Both from one matrix: of a collapsed batch, rounding must not determine which is nearer.
  nearest = jnp.where(jnp.isneginf(sums.nearest_positive), positives, sums.nearest_positive)
  metrics = {
    'attract': attract_weight * positives,
    'repel': repel_weight * log_sum,
    'positive_similarity': positives,
    'negative_similarity': sums.negative_sum / count,
    'effective_negatives': sums.effective_negatives,
    'contrast_accuracy': row_means.is_positive(nearest - sums.nearest_negative),
  }
  metrics = row_means.means(metrics, mask, axis_name, of_none=of_none)
  metrics['attract'] = -metrics['attract']
  metrics['positive_similarity'] *= temperature
  metrics['negative_similarity'] *= temperature
  loss = metrics['attract'] + metrics['repel'] + log_offset
  return loss, jax.lax.stop_gradient(metrics)
