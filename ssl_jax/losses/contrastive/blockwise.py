"""Row sums of a similarity matrix in tiles, with candidates on a ring of devices; own gradient.

The value keeps running sums over tiles. The gradient visits the tiles again: with the finished
log-sums at hand the softmax of a tile needs no other tile, so nothing of the first visit is kept
but those sums.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssl_jax.losses import collectives, row_blocks
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive import tile
from ssl_jax.losses.contrastive.tile import Accumulator, MaskFunction, RowMetadata, RowSums
from ssl_jax.losses.normalize import dot_products


class Tiling(NamedTuple):
  """How a matrix is visited; what a compiled program is specialized to."""

  mask_fn: MaskFunction
  powers: tuple[float, ...]
  block_size: int
  axis_name: AxisName


class Block(NamedTuple):
  """Anchors or candidates cut by `row_blocks.split`: `[blocks, block, ...]`."""

  rows: jax.Array
  metadata: dict[str, jax.Array]
  valid: jax.Array | None
  """False for rows that fill the last blocks, and for those that are not `real`."""


def _cut(rows: jax.Array, metadata: RowMetadata, block_size: int) -> Block:
  num_blocks = row_blocks.count(rows.shape[0], block_size)
  (cut, cut_metadata), valid = row_blocks.split((rows, dict(metadata)), num_blocks)
  real = cut_metadata.get('real')
  if real is not None:
    valid = real if valid is None else valid & real
  return Block(cut, cut_metadata, valid)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tiles(
  tiling: Tiling, anchors: jax.Array, candidates: jax.Array, rows: RowMetadata, columns: RowMetadata
) -> RowSums:
  """The sums of each anchor over all candidates, a tile at a time; for reverse mode only.

  With an axis name the local candidates pass round a ring of its devices instead of being gathered.
  The metadata carry no gradient.
  """
  return _forward(tiling, anchors, candidates, rows, columns)


def _forward(
  tiling: Tiling, anchors: jax.Array, candidates: jax.Array, rows: RowMetadata, columns: RowMetadata
) -> RowSums:
  anchor_blocks = _cut(anchors, rows, tiling.block_size)
  powers = tiling.powers

  def over_anchors(column: Block, _: None, xs: tuple) -> tuple[None, Accumulator]:
    anchor, total = xs
    logits = dot_products(anchor.rows, column.rows)
    mask = tiling.mask_fn(anchor.metadata, column.metadata)
    found = tile.reduce_tile(logits, mask, powers, column.valid)
    return None, tile.combine(total, found, powers)

  def over_candidates(totals: Accumulator, column: Block) -> tuple[Accumulator, None]:
    step = functools.partial(over_anchors, column)
    return jax.lax.scan(step, None, (anchor_blocks, totals))[1], None

  def visit(totals: Accumulator, column_blocks: Block) -> tuple[Accumulator, Block]:
    return jax.lax.scan(over_candidates, totals, column_blocks)[0], column_blocks

  empty = jax.vmap(lambda block: tile.init(block.shape[0], powers, anchors))
  totals = empty(anchor_blocks.rows)
  column_blocks = collectives.varying_as(_cut(candidates, columns, tiling.block_size), anchors)
  totals = _round(visit, totals, column_blocks, tiling)
  sums = jax.vmap(lambda total: tile.finalize(total, powers))(totals)
  # The axis of powers stands before that of rows, which `join` expects first.
  sums = sums._replace(log_sums=jnp.swapaxes(sums.log_sums, 1, 2))
  sums = row_blocks.join(sums, anchors.shape[0])
  return sums._replace(log_sums=sums.log_sums.T)


def _round(visit: Any, state: Any, traveling: Any, tiling: Tiling) -> Any:
  """`state` after every device's blocks have visited; they end where they began."""
  size = collectives.axis_size(tiling.axis_name)
  if size == 1:
    return visit(state, traveling)[0]

  def step(carry: tuple, _: None) -> tuple[tuple, None]:
    state, traveling = carry
    state, traveling = visit(state, traveling)
    return (state, collectives.ring_shift(traveling, tiling.axis_name)), None

  return jax.lax.scan(step, (state, traveling), None, length=size)[0][0]


class _Residuals(NamedTuple):
  anchors: jax.Array
  candidates: jax.Array
  rows: dict[str, jax.Array]
  columns: dict[str, jax.Array]
  log_sums: jax.Array


def _tiles_forward(
  tiling: Tiling, anchors: jax.Array, candidates: jax.Array, rows: RowMetadata, columns: RowMetadata
) -> tuple[RowSums, _Residuals]:
  sums = _forward(tiling, anchors, candidates, rows, columns)
  return sums, _Residuals(anchors, candidates, dict(rows), dict(columns), sums.log_sums)


def _tiles_backward(tiling: Tiling, kept: _Residuals, cotangents: RowSums) -> tuple:
  size = tiling.block_size
  num_blocks = row_blocks.count(kept.anchors.shape[0], size)
  anchor_blocks = _cut(kept.anchors, kept.rows, size)
  # Per row, with the powers last: rows are what is cut into blocks.
  scalars = (kept.log_sums.T, cotangents.log_sums.T, cotangents.positive_sum)
  (log_sums, weights, positive_weights), _ = row_blocks.split(scalars, num_blocks)
  if anchor_blocks.valid is not None:
    weights = jnp.where(anchor_blocks.valid[..., None], weights, 0)
    positive_weights = jnp.where(anchor_blocks.valid, positive_weights, 0)

  def over_anchors(column: Block, column_gradient: jax.Array, xs: tuple) -> tuple:
    anchor, log_sum, weight, positive_weight, anchor_gradient = xs
    logits = dot_products(anchor.rows, column.rows)
    mask = tiling.mask_fn(anchor.metadata, column.metadata)
    x = tile.exponents(logits, mask, column.valid)
    pull = jnp.zeros((), logits.dtype)
    for i, power in enumerate(tiling.powers):
      softmax = jnp.exp(power * x - tile.finite(log_sum[:, i])[:, None])
      pull += (power * weight[:, i])[:, None] * softmax
    if mask.positive is not None:
      positive = mask.positive if column.valid is None else mask.positive & column.valid
      pull += jnp.where(positive, positive_weight[:, None], 0)
    anchor_gradient += dot_products(pull, column.rows.T)
    column_gradient += dot_products(pull.T, anchor.rows.T)
    return column_gradient, anchor_gradient

  def over_candidates(anchor_gradients: jax.Array, xs: tuple) -> tuple[jax.Array, jax.Array]:
    column, column_gradient = xs
    step = functools.partial(over_anchors, column)
    inputs = (anchor_blocks, log_sums, weights, positive_weights, anchor_gradients)
    column_gradient, anchor_gradients = jax.lax.scan(step, column_gradient, inputs)
    return anchor_gradients, column_gradient

  def visit(anchor_gradients: jax.Array, traveling: tuple) -> tuple[jax.Array, tuple]:
    column_blocks, column_gradients = traveling
    anchor_gradients, column_gradients = jax.lax.scan(
      over_candidates, anchor_gradients, (column_blocks, column_gradients)
    )
    return anchor_gradients, (column_blocks, column_gradients)

  column_blocks = _cut(kept.candidates, kept.columns, size)
  zeros = jnp.zeros_like(column_blocks.rows)
  state = (jnp.zeros_like(anchor_blocks.rows), (column_blocks, zeros))
  state = collectives.varying_as(state, kept.anchors)
  if collectives.axis_size(tiling.axis_name) == 1:
    anchor_gradients, (_, column_gradients) = visit(*state)
  else:

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
      anchor_gradients, traveling = visit(*carry)
      return (anchor_gradients, collectives.ring_shift(traveling, tiling.axis_name)), None

    # Gradients of candidates travel with them and collect from every device's anchors.
    length = collectives.axis_size(tiling.axis_name)
    anchor_gradients, (_, column_gradients) = jax.lax.scan(step, state, None, length=length)[0]
  return (
    row_blocks.join(anchor_gradients, kept.anchors.shape[0]),
    row_blocks.join(column_gradients, kept.candidates.shape[0]),
    None,
    None,
  )


tiles.defvjp(_tiles_forward, _tiles_backward)
