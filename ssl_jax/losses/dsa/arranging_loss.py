"""The arranging loss of DSA and the distance of its matrix to the prior.

The four blocks of pairs are always in the order 11, 22, 12, 21; see `view_blocks`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import check_choice
from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.dsa import pairs
from ssl_jax.losses.dsa.arguments import (
  Pair,
  check_matrices,
  check_pairs,
  check_shares,
)
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS, PairGroups
from ssl_jax.losses.dsa.semantic_prior import own_pair, safe_sqrt, unit_distances
from ssl_jax.losses.normalize import l2_normalize, promote

ScoreMode = Literal['row', 'symmetric']
Reduction = Literal['sum', 'mean']


def arranging_loss(
  online: Pair,
  compared: Pair | None,
  matrices: Sequence[chex.Array] | chex.Array,
  scores: chex.Array,
  *,
  temperature: float | jax.Array = 0.5,
  score_mode: ScoreMode = 'row',
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Draws pairs with M > 1/2 together and pushes those with M < 1/2 apart: log(1 + mean of ℓ).

  ℓ of a block is the mean over all batch² pairs of exp(s_i d_ij (2 M_ij - 1) / τ), with d the
  distance of unit vectors; an embedding paired with itself adds 0. An anchor with s_i = 0 exerts no
  force. The gradient with respect to M is never negative: alone this loss drives M to 0, and
  `prior_regularizer` gives it meaning.

  It is computed from the logarithms of ℓ, so no temperature overflows. Distances have the accuracy
  stated at `prior_similarity`.

  Source: Song et al., arXiv 2407.13541; formula from the released code.

  >>> import jax.numpy as jnp
  >>> views = jnp.eye(2), jnp.eye(2)
  >>> loss, metrics = arranging_loss(views, None, jnp.full((4, 2, 2), 0.5), jnp.ones(2))
  >>> print(f'{loss:.4f}')   # neutral: log(2 - 1 / (2 * batch)) wherever the embeddings are
  0.5596

  Args:
    online: the two views' embeddings, `[batch, dim]`, any float dtype; they need not be normalized.
    compared: the embeddings they are compared with; None is `online` itself. Stop their
      gradient where the base method does.
    matrices: M of the blocks 11, 22, 12, 21, each `[batch, batch]` in [0, 1]. With `axis_name`,
      the rows of this device and the columns of all.
    scores: `[batch]` in [0, 1], of `anchor_scores`; without gradient.
    temperature: τ > 0; may be a traced scalar.
    score_mode: 'row' is s_i as published; 'symmetric' is sqrt(s_i s_j), our addition.
    block_size: with it, what is computed here takes O(block_size * batch) memory.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which columns are gathered.

  Returns:
    The loss, and scalars: `log_mean_11` and so on (log ℓ of each block), `score` (mean), and
    `zero_scores` (the share of anchors without force).

  Raises:
    ValueError: shapes do not fit each other, fewer than 2 images, or an argument out of range.
  """
  check_pairs(online, compared)
  check_choice('score_mode', score_mode, ('row', 'symmetric'))
  arguments.check_number('temperature', temperature, above=0, traced=True)
  num_local = jnp.shape(online[0])[0]
  groups = PairGroups.of('online[0]', num_local, None, axis_name)
  positions = groups.positions_in_group()
  check_matrices('matrices', matrices, (num_local, groups.size))
  arguments.check_per_image('scores', scores, num_local)
  shares = {'scores': scores} | {f'matrices[{at}]': x for at, x in enumerate(matrices)}
  for name, values in shares.items():
    check_shares(name, values)

  units = [l2_normalize(x) for x in online]
  scores = jax.lax.stop_gradient(jnp.asarray(scores, units[0].dtype))
  targets = None if compared is None else [l2_normalize(x) for x in compared]
  rows = {
    'units': pairs.view_pair_rows(groups, units),
    'matrix': jnp.stack([groups.chunk_rows(promote(x)) for x in matrices]),
    'scores': pairs.repeat_for_view_pairs(groups.chunk_rows(scores)),
    'positions': pairs.repeat_for_view_pairs(positions),
    'same_view': pairs.repeat_for_view_pairs(positions >= 0) & pairs.SAME_VIEW[:, None, None],
  }
  columns = {
    'units': pairs.view_pair_columns(groups, units, targets),
    'scores': pairs.repeat_for_view_pairs(groups.group_rows(scores)),
  }

  def log_means(rows, columns):
    return log_row_mean(rows, columns, rows['matrix'], temperature, score_mode)

  log_rows = pairs.map_view_pairs(groups, log_means, rows, columns, block_size)
  loss, log_blocks = arranging_by_group(groups, log_rows)
  metrics = {
    'loss': loss,
    **{f'log_mean_{block}': value for block, value in zip(VIEW_PAIRS, log_blocks, strict=True)},
    'score': scores,
    'zero_scores': jnp.asarray(scores == 0, scores.dtype),
  }
  metrics = collectives.device_mean({k: jnp.mean(x) for k, x in metrics.items()}, axis_name)
  loss = metrics.pop('loss')
  return loss, jax.lax.stop_gradient(metrics)


def prior_regularizer(
  matrices: Sequence[chex.Array] | chex.Array,
  priors: Sequence[chex.Array] | chex.Array,
  *,
  reduction: Reduction = 'sum',
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Holds the arranging module to the frozen network: Σ ‖M - S‖_F over the four blocks.

  Source: Song et al., arXiv 2407.13541; formula from the released code (the norm is not squared).

  >>> import jax.numpy as jnp
  >>> loss, metrics = prior_regularizer(jnp.ones((4, 3, 3)), jnp.zeros((4, 3, 3)))
  >>> print(f'{loss:.1f} {metrics["norm_11"]:.1f}')
  12.0 3.0

  Args:
    matrices: M of the blocks 11, 22, 12, 21, each `[batch, batch]`, any float dtype. With
      `axis_name`, the rows of this device and the columns of all.
    priors: S of the same blocks, of `prior_similarity`; their gradient is stopped.
    reduction: 'sum' over the four blocks as published, or 'mean'.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which rows are summed.

  Returns:
    The loss, and the norms of the blocks, `norm_11` and so on.

  Raises:
    ValueError: shapes do not fit each other or the reduction is unknown.
  """
  check_choice('reduction', reduction, ('sum', 'mean'))
  check_matrices('matrices', matrices)
  num_local = jnp.shape(matrices[0])[0]
  shape = (num_local, num_local * collectives.axis_size(axis_name))
  check_matrices('matrices', matrices, shape)
  check_matrices('priors', priors, shape)
  groups = PairGroups.of('matrices', num_local, None, axis_name)
  rows = [
    groups.chunk_rows(squared_row_distance(promote(matrix), promote(prior)))
    for matrix, prior in zip(matrices, priors, strict=True)
  ]
  loss, norms = regularizer_by_group(groups, jnp.stack(rows), reduction)
  metrics = {'loss': loss}
  metrics |= {f'norm_{block}': value for block, value in zip(VIEW_PAIRS, norms, strict=True)}
  metrics = collectives.device_mean({k: jnp.mean(x) for k, x in metrics.items()}, axis_name)
  loss = metrics.pop('loss')
  return loss, jax.lax.stop_gradient(metrics)


def log_row_mean(
  rows: Mapping[str, jax.Array],
  columns: Mapping[str, jax.Array],
  matrix: jax.Array,
  temperature: float | jax.Array,
  score_mode: ScoreMode,
) -> jax.Array:
  """log of each row's mean of exp(s d (2M - 1) / τ) in one block: `[rows]`.

  Args:
    rows: `units` `[rows, dim]`, `scores`, `positions` and the bool `same_view`, `[rows]` each.
    columns: `units` `[columns, dim]` and `scores` `[columns]`.
    matrix: M, `[rows, columns]`.
    temperature: τ.
    score_mode: as in `arranging_loss`.
  """
  num_columns = columns['units'].shape[0]
  weights = rows['scores'][:, None]
  if score_mode == 'symmetric':
    weights = jnp.sqrt(weights * columns['scores'][None, :])
  distances = unit_distances(rows['units'], columns['units'], rows['positions'])
  exponents = weights * distances * (2 * matrix - 1) / jnp.asarray(temperature, distances.dtype)
  itself = own_pair(rows['positions'], num_columns) & rows['same_view'][:, None]
  exponents = jnp.where(itself, -jnp.inf, exponents)
  return jax.nn.logsumexp(exponents, axis=-1, b=1 / num_columns)


def arranging_by_group(groups: PairGroups, log_rows: jax.Array) -> tuple[jax.Array, jax.Array]:
  """From rows `[4, chunks, chunk]`, L_arr of each group `[groups]`, and log ℓ `[4, groups]`."""
  log_rows = jax.vmap(groups.by_group)(log_rows)
  log_blocks = jax.nn.logsumexp(log_rows, axis=-1, b=1 / groups.size)
  log_mean = jax.nn.logsumexp(log_blocks, axis=0, b=1 / len(VIEW_PAIRS))
  return jnp.logaddexp(log_mean, 0), log_blocks


def squared_row_distance(matrix: jax.Array, prior: jax.Array) -> jax.Array:
  return jnp.sum(jnp.square(matrix - jax.lax.stop_gradient(prior)), axis=-1)


def regularizer_by_group(
  groups: PairGroups, squared_rows: jax.Array, reduction: Reduction
) -> tuple[jax.Array, jax.Array]:
  """From rows `[4, chunks, chunk]`, L_reg of each group `[groups]`, and norms `[4, groups]`."""
  norms = safe_sqrt(jnp.sum(jax.vmap(groups.by_group)(squared_rows), axis=-1))
  return jnp.sum(norms, axis=0) if reduction == 'sum' else jnp.mean(norms, axis=0), norms
