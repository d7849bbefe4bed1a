"""The key that stands for a query's negatives, by rank, in bounded memory and without gradient.

Keys carry no gradient, so neither does the choice among them, and a query's mean cosine to the
chosen keys is its cosine to their mean. Hence nothing of the size of the similarity matrix outlives
the choice, which may go block by block: first a running list of the hardest negatives by index,
then the mean of those that the ranks name. The backward pass has no matrix at all.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.arguments import check_whole
from ssl_jax.losses import collectives, row_blocks
from ssl_jax.losses.arguments import check_group_size
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import dot_products
from ssl_jax.losses.triplet.ranks import AllRanks, Deputy, MedianRank, RankWindow
from ssl_jax.losses.triplet.top_k import top_k

PADDING_SIMILARITY = -4.0  # added to a cosine
NO_INDEX = -1  # the index of padding, and of a place in a list not yet taken


def deputy_keys(
  queries: jax.Array,
  keys: jax.Array,
  deputy: Deputy,
  *,
  mask: jax.Array | None = None,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """For each query the mean of the keys at the deputy's ranks among the other keys of its group.

  Where negatives tie, the one of the lower index counts as the harder.

  Args:
    queries: `[batch, dim]`, normalized.
    keys: `[batch, dim]`, normalized; query i has rank among all keys of its group but key i.
    deputy: the ranks.
    mask: bool `[batch]`, False for rows that are padding, which are zero; they have no rank.
    group_size: rows of a contiguous group; None is one group.
    block_size: rows compared at a time, with as many keys (at least 32 times the deputy's last
      rank); None compares all at once.
    axis_name: the mapped axis over which rows are spread. Where groups span devices, keys are
      gathered, or travel round a ring of devices if there is a `block_size`.

  Returns:
    `[batch, dim]`, without gradient; NaN where padding leaves too few negatives for the deputy.

  Raises:
    ValueError: `group_size` is below 2 or does not divide the batch, a group has too few negatives
      for the deputy, or `block_size` is not a whole number >= 1.
  """
  queries, keys = jax.lax.stop_gradient((queries, keys))
  num_local, dim = keys.shape
  num_global = num_local * collectives.axis_size(axis_name)
  size = num_global if group_size is None else group_size
  if group_size is not None:
    check_group_size(group_size, num_global)
  if block_size is not None:
    check_whole('block_size', block_size)
  low, high = deputy.ranks(size - 1)
  if mask is None:
    return _mean_of_ranks(queries, keys, None, low, high, size, block_size, axis_name)

  num_others = _count_others(mask, size, axis_name)
  fewest = high if isinstance(deputy, RankWindow) else 1
  if isinstance(deputy, AllRanks):
    deputies = _mean_of_ranks(queries, keys, None, low, high, size, block_size, axis_name)
    deputies *= high / jnp.maximum(num_others, 1).astype(keys.dtype)[:, None]
  else:
    # A further coordinate lowers what is similar to padding below all cosines.
    coordinate = jnp.where(mask, 0, PADDING_SIMILARITY).astype(keys.dtype)
    keys = jnp.concatenate([keys, coordinate[:, None]], axis=1)
    queries = jnp.concatenate([queries, jnp.ones_like(coordinate)[:, None]], axis=1)
    ranks = jnp.maximum(deputy.rank(num_others), 1) if isinstance(deputy, MedianRank) else None
    deputies = _mean_of_ranks(queries, keys, ranks, low, high, size, block_size, axis_name)
    deputies = deputies[:, :dim]
  return jnp.where((num_others >= fewest)[:, None], deputies, jnp.nan)


def _count_others(mask: jax.Array, size: int, axis_name: AxisName) -> jax.Array:
  """The real rows of each row's group, itself not counted: int32 `[batch]`."""
  num_local = mask.shape[0]
  if num_local % size == 0:
    groups = jnp.arange(num_local) // size
  else:
    groups = collectives.row_indices(num_local, axis_name) // size
    mask = collectives.gather(collectives.varying_as(mask, groups), axis_name)
  return jnp.sum(mask.reshape(-1, size), axis=1, dtype=jnp.int32)[groups] - 1


def _mean_of_ranks(
  queries: jax.Array,
  keys: jax.Array,
  ranks: jax.Array | None,
  low: int,
  high: int,
  size: int,
  block_size: int | None,
  axis_name: AxisName,
) -> jax.Array:
  """The mean of the keys from rank `low` to `high`, or that at the rank in `ranks`, `[batch]`."""
  num_local, dim = keys.shape
  num_global = num_local * collectives.axis_size(axis_name)
  if num_local % size == 0:  # whole groups: nothing of other devices is needed
    axis_name = None
    (queries, ranks), keys = jax.tree.map(
      lambda x: x.reshape(-1, size, *x.shape[1:]), ((queries, ranks), keys)
    )
    rows = key_rows = jnp.arange(size)
  else:
    (queries, ranks), keys = jax.tree.map(lambda x: x[None], ((queries, ranks), keys))
    rows = key_rows = collectives.row_indices(num_local, axis_name)
  if (low, high) == (1, size - 1) and ranks is None:
    return _mean_of_others(keys, rows // size, num_global // size, axis_name).reshape(-1, dim)
  if block_size is None and axis_name is not None:
    keys, key_rows = collectives.gather(keys[0], axis_name)[None], jnp.arange(num_global)
    axis_name = None

  @jax.named_scope('deputy_keys')
  def of_rows(block: tuple[Any, jax.Array]) -> jax.Array:
    (queries, ranks), rows = block
    chosen = _hardest(queries, rows, keys, key_rows, size, high, block_size, axis_name)
    if ranks is None:
      chosen = chosen[..., low - 1 :]
    else:
      chosen = jnp.take_along_axis(chosen, ranks[..., None] - 1, axis=-1)
    return _mean_of_chosen(chosen, keys, key_rows[0], axis_name)

  num_groups, num_queries, _ = queries.shape
  row_block = num_queries
  if block_size is not None:
    # Groups go side by side, since they may lie on different devices; together they compare
    # block_size² pairs.
    row_block = max(1, block_size**2 // (num_groups * min(block_size, keys.shape[1])))
  if row_block >= num_queries:
    return of_rows(((queries, ranks), rows)).reshape(-1, dim)
  means = jax.lax.map(of_rows, _blocks((queries, ranks), rows, row_block))
  means = row_blocks.join(jnp.swapaxes(means, 1, 2), num_queries)
  return jnp.swapaxes(means, 0, 1).reshape(-1, dim)


def _mean_of_others(
  keys: jax.Array, groups: jax.Array, num_groups: int, axis_name: AxisName
) -> jax.Array:
  """All ranks: the sum over a group less the key itself. `groups` is read with an axis only."""
  if axis_name is None:
    num_others = keys.shape[1] - 1
    return (jnp.sum(keys, axis=1, keepdims=True) - keys) / num_others
  totals = jax.lax.psum(jax.ops.segment_sum(keys[0], groups, num_groups), axis_name)
  size = keys.shape[1] * collectives.axis_size(axis_name) // num_groups
  return (totals[groups] - keys) / (size - 1)


def _blocks(arrays: Any, rows: jax.Array, most: int) -> tuple[Any, jax.Array]:
  """`[group, position, ...]` and `[position]`, cut into blocks of at most `most` positions.

  Returns:
    `[block, group, position, ...]`, and `[block, position]` with padding marked as `NO_INDEX`.
  """
  by_position = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), arrays), rows
  num_blocks = row_blocks.count(rows.shape[0], most)
  (arrays, rows), valid = row_blocks.split(by_position, num_blocks)
  if valid is not None:
    rows = jnp.where(valid, rows, NO_INDEX)
  return jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2), arrays), rows


def _hardest(
  queries: jax.Array,
  rows: jax.Array,
  keys: jax.Array,
  key_rows: jax.Array,
  size: int,
  high: int,
  block_size: int | None,
  axis_name: AxisName,
) -> jax.Array:
  """The indices of the `high` most similar negatives, in order: `[group, query, high]`."""
  hardest_of = functools.partial(_hardest_of, queries, rows, size, high)
  # Lists of `high` are merged by sorting: short blocks would cost more than they save.
  width = keys.shape[1] if block_size is None else max(block_size, 32 * high)
  if axis_name is None and width >= keys.shape[1]:
    return hardest_of(keys, key_rows)[1]

  def visit_block(best, block):
    similarities, indices = (
      jnp.concatenate(pair, axis=-1) for pair in zip(best, hardest_of(*block), strict=True)
    )
    distances, indices = jax.lax.sort((-similarities, indices), num_keys=2)
    return (-distances[..., :high], indices[..., :high]), None

  def visit_device(carry, _):
    best, blocks = carry
    best, _ = jax.lax.scan(visit_block, best, blocks)
    return (best, collectives.ring_shift(blocks, axis_name)), None

  blocks = _blocks(keys, key_rows, width)
  shape = (*queries.shape[:2], high)
  nobody = jnp.full(shape, -jnp.inf, queries.dtype), jnp.full(shape, NO_INDEX, key_rows.dtype)
  carry = collectives.varying_as(nobody, queries), blocks
  (best, _), _ = jax.lax.scan(visit_device, carry, length=collectives.axis_size(axis_name))
  return best[1]


def _hardest_of(
  queries: jax.Array, rows: jax.Array, size: int, high: int, keys: jax.Array, key_rows: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Similarity and index of the at most `high` hardest among some keys: `[group, query, rank]`."""
  columns, rows = key_rows[None, :], rows[:, None]
  excluded = (rows == columns) | (rows // size != columns // size)  # padding: group -1
  similarities = jnp.where(excluded, -jnp.inf, dot_products(queries, keys))
  similarities, positions = top_k(similarities, min(high, similarities.shape[-1]))
  return similarities, key_rows[positions]


def _mean_of_chosen(
  chosen: jax.Array, keys: jax.Array, first: jax.Array, axis_name: AxisName
) -> jax.Array:
  """The mean of keys by index, `[group, query, rank]` to `[group, query, dim]`."""

  def visit_device(carry, _):
    total, keys, first = carry

    def add_rank(total, indices):
      # Rows of other devices are out of bounds, and count when their keys come by.
      add = jax.vmap(
        lambda of_group, at: of_group.at[at].get(
          mode='fill', fill_value=0, wrap_negative_indices=False
        )
      )
      return total + add(keys, indices - first), None

    total, _ = jax.lax.scan(add_rank, total, jnp.moveaxis(chosen, -1, 0))
    return (total, *collectives.ring_shift((keys, first), axis_name)), None

  total = jnp.zeros((*chosen.shape[:2], keys.shape[-1]), keys.dtype)
  carry = collectives.varying_as(total, chosen), keys, first
  (total, _, _), _ = jax.lax.scan(visit_device, carry, length=collectives.axis_size(axis_name))
  return total / chosen.shape[-1]
