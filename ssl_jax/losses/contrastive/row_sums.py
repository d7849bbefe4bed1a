"""Sums over the rows of a similarity matrix: whole, in tiles, in groups and across devices."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.arguments import check_whole
from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive import blockwise, tile
from ssl_jax.losses.contrastive.tile import MaskFunction, PairMask, RowMetadata, RowSums
from ssl_jax.losses.normalize import dot_products

# Up to this size the metrics are reduced from the matrix itself. XLA makes several copies of a
# matrix that is reduced in several ways, so those of a larger one are reduced tile by tile.
_METRICS_TILE = 2048


def anchor_sums(
  anchors: jax.Array,
  candidates: jax.Array,
  rows: RowMetadata,
  columns: RowMetadata,
  mask_fn: MaskFunction,
  *,
  powers: tuple[float, ...] = (1.0,),
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
  shared: bool = False,
) -> RowSums:
  """Reduces each anchor's logits over all candidates.

  Args:
    anchors: `[row, dim]`, divided by the temperature.
    candidates: `[column, dim]`.
    rows: metadata of each anchor; `index` is its position in the global batch.
    columns: metadata of each candidate; one whose `real` is False is left out.
    mask_fn: from the metadata of the rows and columns of a tile to the pairs that count.
    powers: the log-sums of exp(power * logit) that are wanted.
    group_size: candidates and anchors of different groups of this many consecutive rows do not
      meet. Rows and columns must then be of the same number and order.
    block_size: None forms the matrix whole, and can be differentiated in every way. With a number
      the matrix is visited in tiles of at most that many rows and columns, in reverse mode only.
    axis_name: the mapped axis whose devices' candidates are to be met: gathered, or with a block
      size passed round a ring.
    shared: candidates are the same on every device, and stay where they are.

  Returns:
    The sums of the local anchors.
  """
  if group_size is not None:
    if anchors.shape[0] % group_size == 0:  # whole groups: nothing of other devices is needed
      run = functools.partial(anchor_sums, mask_fn=mask_fn, powers=powers, block_size=block_size)
      return _in_groups(run, group_size, anchors, candidates, rows, columns)
    mask_fn = functools.partial(_within_groups, mask_fn, group_size)

  candidates = collectives.varying_as(candidates, anchors)
  ring = None if shared else axis_name
  if block_size is not None:
    tiling = blockwise.Tiling(mask_fn, powers, block_size, ring)
    return blockwise.tiles(tiling, anchors, candidates, rows, columns)
  candidates, columns = jax.tree.map(
    lambda x: collectives.gather(x, ring), (candidates, dict(columns))
  )
  logits = dot_products(anchors, candidates)
  found = tile.reduce_tile(logits, mask_fn(rows, columns), powers, columns.get('real'))
  sums = tile.finalize(found, powers)
  if max(logits.shape) <= _METRICS_TILE:
    return sums
  tiling = blockwise.Tiling(mask_fn, (1.0,), _METRICS_TILE, None)
  fixed = jax.lax.stop_gradient((anchors, candidates))
  metrics = blockwise.tiles(tiling, *fixed, rows, columns)
  return metrics._replace(log_sums=sums.log_sums, positive_sum=sums.positive_sum)


def check_tiling(
  num_local: int, group_size: int | None, block_size: int | None, axis_name: AxisName
) -> None:
  """Requires a `block_size` of at least 1 and a `group_size` that divides the global batch.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  if block_size is not None:
    check_whole('block_size', block_size)
  if group_size is not None:
    arguments.check_group_size(group_size, num_local * collectives.axis_size(axis_name))


def _in_groups(
  run: Callable[..., RowSums], group_size: int, anchors: jax.Array, *others: Any
) -> RowSums:
  """The sums of each group on its own."""
  cut = lambda x: x.reshape(-1, group_size, *x.shape[1:])
  sums = jax.vmap(run)(*jax.tree.map(cut, (anchors, *others)))
  rows_last = sums._replace(log_sums=jnp.swapaxes(sums.log_sums, 0, 1))
  flat = jax.tree.map(lambda x: x.reshape(-1), rows_last)
  return flat._replace(log_sums=rows_last.log_sums.reshape(-1, anchors.shape[0]))


def _within_groups(
  mask_fn: MaskFunction, group_size: int, rows: RowMetadata, columns: RowMetadata
) -> PairMask:
  """The same mask, with nothing counted outside an anchor's own group."""
  inside = rows['index'][:, None] // group_size == columns['index'][None] // group_size
  found = mask_fn(rows, columns)
  positive = None if found.positive is None else found.positive & inside
  return found._replace(counted=found.counted & inside, positive=positive)
