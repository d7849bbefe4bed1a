"""DSA, the dynamic semantic adjuster: a regularizer added to the loss of another method."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.dsa import anchor_scores, arranging_loss, pairs, semantic_prior
from ssl_jax.losses.dsa.arguments import Pair, check_pairs
from ssl_jax.losses.dsa.arranging_module import Params, check_params, pair_features, pair_matrix
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS, PairGroups
from ssl_jax.losses.dsa.settings import AdjusterSettings, as_settings
from ssl_jax.losses.normalize import l2_normalize, promote


def semantic_adjuster(
  params: Params | None,
  online: Pair,
  compared: Pair | None,
  priors: Pair,
  plain_prior: chex.Array,
  *,
  preset: str | AdjusterSettings = 'paper',
  temperature: float | jax.Array | None = None,
  prior_temperature: float | jax.Array | None = None,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """λ₁ `arranging_loss` + λ₂ `prior_regularizer`, with M and S computed; no base loss.

  The balance of the two terms depends on the number of images whose pairs are formed, so fix
  `group_size` (128 to 256): the loss is the mean over groups and does not depend on devices.

  Source: Song et al., arXiv 2407.13541. 'paper' is "reconstructed" (the sigmoid of the arranging
  module), 'released' follows the authors' code, 'calibrated' is our recommendation: the fixed
  prior temperature of the others makes nearly all pairs repel.

  >>> import jax
  >>> from ssl_jax.losses.dsa.arranging_module import init_arranging
  >>> key = jax.random.key(0)
  >>> views, priors = jax.random.normal(key, (2, 2, 32, 8))
  >>> params = init_arranging(key, dim=8)
  >>> loss, metrics = semantic_adjuster(
  ...   params, (views[0], views[1]), None, (priors[0], priors[1]), priors.mean(0))
  >>> print(f'{loss:.3f} {metrics["arranging"]:.3f} {metrics["regularizer"]:.3f}')
  0.919 0.478 44.075

  Args:
    params: of `init_arranging`, trained with the encoder; ignored (None) where M = S.
    online: the two views' embeddings that carry the gradient of the base method's alignment (the
      projection in SimCLR, the prediction in BYOL), `[batch, dim]`, any float dtype.
    compared: what they are compared with; None is `online` itself. Stop their gradient
      where the base method does.
    priors: a frozen network's embeddings of the two views, `[batch, prior dim]`; no gradient.
    plain_prior: and of the un-augmented images.
    preset: 'paper', 'calibrated', 'released', or settings of your own.
    temperature: overrides the setting; may be a traced scalar.
    prior_temperature: overrides the setting; may be a traced scalar, such as the average that
      `update_temperature` keeps of the metric of this name.
    group_size: pairs are formed within contiguous groups of this many images; None is one group.
    block_size: with it, memory is O(block_size * group * hidden) instead of O(batch * group *
      hidden): rows are visited in blocks, which are computed again in the backward pass.
      Calibration still holds the distances of one group of un-augmented images, O(group²).
    axis_name: the mapped axis inside `shard_map` or `pmap`. Devices that hold whole groups exchange
      nothing else than the means; otherwise embeddings are gathered.

  Returns:
    The loss, and scalars, means over groups: `arranging`, `regularizer`, `log_mean_11` (log ℓ) and
    `matrix_11` (mean M) of each block, `matrix_above_half` and `prior_above_half` (the shares of M
    and S), `score` (mean), `zero_scores` (the share of anchors without force) and
    `prior_temperature`, the calibrated one if the preset has none. M and S are averaged over pairs
    of different images.

  Raises:
    ValueError: shapes do not fit each other or the parameters, `group_size` does not divide the
      batch, a group has too few images for k, or another argument is out of range.
  """
  settings = as_settings(preset)
  check_pairs(online, compared)
  if not isinstance(priors, (tuple, list)) or len(priors) != 2:
    raise ArgumentError('priors', type(priors).__name__, 'a pair, one array a view')
  named_priors = {'priors[0]': priors[0], 'priors[1]': priors[1], 'plain_prior': plain_prior}
  arguments.check_embeddings(**named_priors)
  num_local, dim = jnp.shape(online[0])
  if jnp.shape(plain_prior)[0] != num_local:
    raise ArgumentError(
      'priors', f'{jnp.shape(plain_prior)[0]} images', f'{num_local}, those of online'
    )
  for name, value in (('temperature', temperature), ('prior_temperature', prior_temperature)):
    if value is not None:
      arguments.check_number(name, value, above=0, traced=True)
  groups = PairGroups.of('online[0]', num_local, group_size, axis_name)
  if settings.matrix != 'prior':
    check_params({} if params is None else params, dim, settings.matrix)

  unaugmented = l2_normalize(jax.lax.stop_gradient(plain_prior))
  prior_units = [l2_normalize(jax.lax.stop_gradient(x)) for x in priors]
  if prior_temperature is None:
    prior_temperature = settings.prior_temperature
  if prior_temperature is None:
    prior_temperature = semantic_prior.group_temperature(
      groups, unaugmented, settings.prior_quantile
    )
  temperature = settings.temperature if temperature is None else temperature
  online = (promote(online[0]), promote(online[1]))
  targets = None if compared is None else [promote(x) for x in compared]
  scores = _scores(groups, unaugmented, settings, block_size).astype(online[0].dtype)
  embeddings = pairs.view_pair_columns(groups, online, targets)
  row_features, column_features = _features(params, groups, online, embeddings, settings)
  positions = groups.positions_in_group()
  rows = {
    'units': pairs.view_pair_rows(groups, [l2_normalize(x) for x in online]),
    'features': row_features,
    'priors': pairs.view_pair_rows(groups, prior_units),
    'scores': pairs.repeat_for_view_pairs(scores),
    'positions': pairs.repeat_for_view_pairs(positions),
    'same_view': pairs.repeat_for_view_pairs(positions >= 0) & pairs.SAME_VIEW[:, None, None],
  }
  columns = {
    'units': l2_normalize(embeddings),
    'features': column_features,
    'priors': pairs.view_pair_columns(groups, prior_units, None),
    'scores': pairs.repeat_for_view_pairs(groups.group_rows(scores.reshape(-1))),
  }

  def statistics(rows, columns):
    return _row_statistics(params, rows, columns, settings, temperature, prior_temperature)

  of_rows = pairs.map_view_pairs(groups, statistics, rows, columns, block_size)
  metrics = _by_group(groups, of_rows, settings)
  metrics |= {
    'score': scores,
    'zero_scores': jnp.asarray(scores == 0, scores.dtype),
    'prior_temperature': jnp.asarray(prior_temperature, scores.dtype),
  }
  metrics = collectives.device_mean({k: jnp.mean(x) for k, x in metrics.items()}, axis_name)
  loss = (
    settings.arranging_weight * metrics['arranging']
    + settings.regularizer_weight * metrics['regularizer']
  )
  return loss, jax.lax.stop_gradient(metrics)


def _scores(
  groups: PairGroups, unaugmented: jax.Array, settings: AdjusterSettings, block_size: int | None
) -> jax.Array:
  """s of this device's rows: `[chunks, chunk]`."""
  if settings.score_mode == 'none':
    return jnp.ones_like(groups.chunk_rows(unaugmented)[..., 0])
  num_neighbors = settings.num_neighbors
  if num_neighbors is None:
    num_neighbors = max(1, min(20, groups.size // 8))
  anchor_scores.check_neighbors(num_neighbors, settings.threshold, groups.size)
  return anchor_scores.group_scores(
    groups, unaugmented, num_neighbors, settings.threshold, block_size
  )


def _features(
  params: Params | None,
  groups: PairGroups,
  online: Pair,
  columns: jax.Array,
  settings: AdjusterSettings,
) -> tuple[jax.Array | None, jax.Array | None]:
  """The arranging module's first layer, on the rows and on the columns of each block."""
  if settings.matrix == 'prior' or params is None:
    return None, None
  if settings.matrix == 'difference':
    columns = columns[jnp.array([0, 1, 0, 1])]
  return pair_features(params, pairs.view_pair_rows(groups, online), columns, settings.matrix)


def _row_statistics(
  params: Params | None,
  rows: Any,
  columns: Any,
  settings: AdjusterSettings,
  temperature: float | jax.Array,
  prior_temperature: float | jax.Array,
) -> dict[str, jax.Array]:
  """What losses and metrics need of some rows and all columns of a block: `[rows]` each."""
  dtype = rows['units'].dtype
  num_columns = columns['units'].shape[0]
  own = semantic_prior.own_pair(rows['positions'], num_columns)
  distances = semantic_prior.unit_distances(rows['priors'], columns['priors'], rows['positions'])
  prior = semantic_prior.similarity(distances, prior_temperature).astype(dtype)
  if settings.same_image_target:  # within one view it is 1 already
    prior = jnp.where(own, 1, prior)
  matrix = prior
  if settings.matrix != 'prior' and params is not None:
    matrix = pair_matrix(params, rows['features'], columns['features'], settings.matrix)

  def others(matrix):
    return jnp.sum(jnp.where(own, 0, matrix), axis=-1, dtype=dtype) / (num_columns - 1)

  return {
    'log_mean': arranging_loss.log_row_mean(
      rows,
      columns,
      jax.lax.stop_gradient(matrix) if settings.stop_matrix else matrix,
      temperature,
      'symmetric' if settings.score_mode == 'symmetric' else 'row',
    ),
    'squared_distance': arranging_loss.squared_row_distance(matrix, prior),
    'matrix': others(matrix),
    'matrix_above_half': others(matrix > 0.5),
    'prior_above_half': others(prior > 0.5),
  }


def _by_group(
  groups: PairGroups, of_rows: dict[str, jax.Array], settings: AdjusterSettings
) -> dict[str, jax.Array]:
  """The losses of each group, and the metrics by group or by row."""
  loss, log_blocks = arranging_loss.arranging_by_group(groups, of_rows['log_mean'])
  regularizer, _ = arranging_loss.regularizer_by_group(
    groups, of_rows['squared_distance'], settings.reduction
  )
  return {
    'arranging': loss,
    'regularizer': regularizer,
    **{f'log_mean_{block}': log_blocks[at] for at, block in enumerate(VIEW_PAIRS)},
    **{f'matrix_{block}': of_rows['matrix'][at] for at, block in enumerate(VIEW_PAIRS)},
    'matrix_above_half': of_rows['matrix_above_half'],
    'prior_above_half': of_rows['prior_above_half'],
  }
