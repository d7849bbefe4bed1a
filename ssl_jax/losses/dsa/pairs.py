"""Maps functions over all pairs of images within groups of contiguous images, for pairs of views.

The pairs (row, column) of a group are computed on the device that holds the row. A device holds its
rows in *chunks*: runs of rows of one group, as long as possible and all of one length. Where it
holds whole groups a chunk is a group and nothing is communicated.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.losses import arguments, collectives, row_blocks
from ssl_jax.losses.collectives import AxisName

# The four pairs of views that are compared: rows of the first with columns of the second.
VIEW_PAIRS = ('11', '22', '12', '21')
SAME_VIEW = np.array([True, True, False, False])


@dataclasses.dataclass(frozen=True)
class PairGroups:
  """How the rows of this device fall into groups of `size`; see `PairGroups.of`."""

  size: int
  num_local: int
  axis_name: AxisName

  @classmethod
  def of(
    cls, name: str, num_local: int, group_size: int | None, axis_name: AxisName
  ) -> 'PairGroups':
    """Groups of `group_size` among `num_local` rows a device; None is one group of all rows.

    Args:
      name: of the argument that has the rows, for messages.
      num_local: this device's rows.
      group_size: the rows of a group.
      axis_name: the mapped axis over which rows are spread.

    Raises:
      ValueError: the group size does not divide the global batch or is below 2.
    """
    num_global = num_local * collectives.axis_size(axis_name)
    if group_size is None:
      if num_global < 2:
        raise ArgumentError(name, '1 image', 'at least 2: a loss of pairs')
      return cls(num_global, num_local, axis_name)
    arguments.check_group_size(group_size, num_global)
    return cls(group_size, num_local, axis_name)

  @property
  def chunk(self) -> int:
    return math.gcd(self.num_local, self.size)

  @property
  def whole(self) -> bool:
    """Whether each device holds whole groups."""
    return self.chunk == self.size

  def chunk_rows(self, array: jax.Array) -> jax.Array:
    """This device's rows `[local, ...]` by chunk: `[chunks, chunk, ...]`."""
    return array.reshape(-1, self.chunk, *array.shape[1:])

  def group_rows(self, array: jax.Array) -> jax.Array:
    """All rows of each chunk's group, with gradient: `[chunks, size, ...]`."""
    if self.whole:
      return self.chunk_rows(array)
    gathered = collectives.gather(array, self.axis_name)
    return gathered.reshape(-1, self.size, *array.shape[1:])[self._indices()[:, 0] // self.size]

  def positions_in_group(self) -> jax.Array:
    """Where each row stands in its group: int32 `[chunks, chunk]`."""
    return self._indices() % self.size

  def by_group(self, values: jax.Array) -> jax.Array:
    """A number of each row, `[chunks, chunk]`, to `[groups, size]`: groups held, else all."""
    if not self.whole:
      values = collectives.gather(values.reshape(-1), self.axis_name)
    return values.reshape(-1, self.size)

  def map_chunks(
    self, function: Callable[[Any, Any], Any], rows: Any, columns: Any, block_size: int | None
  ) -> Any:
    """`function(rows, columns)` of each chunk, in blocks of at most `block_size` rows.

    Args:
      function: takes trees of `[rows, ...]` and `[size, ...]` arrays; returns a tree of
        `[rows, ...]` arrays in which a row depends on that row and the columns only.
      rows: a tree of `[chunks, chunk, ...]` arrays.
      columns: a tree of `[chunks, size, ...]` arrays.
      block_size: with it, one block is in memory at a time; the backward pass computes it again.

    Returns:
      The results, `[chunks, chunk, ...]`.
    """
    if block_size is None:
      return jax.vmap(function)(rows, columns)
    check_whole('block_size', block_size)
    if self.num_local == self.chunk:  # no loop around the loop over blocks
      rows, columns = jax.tree.map(lambda x: x[0], (rows, columns))
      result = _map_row_blocks(function, rows, columns, block_size)
      return jax.tree.map(lambda x: x[None], result)
    return jax.lax.map(
      lambda chunk: _map_row_blocks(function, chunk[0], chunk[1], block_size), (rows, columns)
    )

  def _indices(self) -> jax.Array:
    return self.chunk_rows(collectives.row_indices(self.num_local, self.axis_name))


def repeat_for_view_pairs(array: jax.Array) -> jax.Array:
  """The same array for each of the four pairs of views, on a new leading axis."""
  return jnp.broadcast_to(array[None], (len(VIEW_PAIRS), *array.shape))


def view_pair_rows(groups: PairGroups, online: Sequence[jax.Array]) -> jax.Array:
  """`[local, ...]` of each view to the rows of each pair of views, `[4, chunks, chunk, ...]`."""
  first, second = (groups.chunk_rows(x) for x in online)
  return jnp.stack([first, second, first, second])


def view_pair_columns(
  groups: PairGroups, online: Sequence[jax.Array], compared: Sequence[jax.Array] | None
) -> jax.Array:
  """`[local, ...]` of each view to the columns of each pair of views, `[4, chunks, size, ...]`."""
  first, second = (groups.group_rows(x) for x in online)
  if compared is None:
    return jnp.stack([first, second, second, first])
  return jnp.stack([first, second, groups.group_rows(compared[1]), groups.group_rows(compared[0])])


def map_view_pairs(
  groups: PairGroups,
  function: Callable[[Any, Any], Any],
  of_rows: Any,
  of_columns: Any,
  block_size: int | None,
) -> Any:
  """`PairGroups.map_chunks` of each pair of views; one after the other with a `block_size`."""
  if block_size is None:
    return jax.vmap(lambda r, c: groups.map_chunks(function, r, c, None))(of_rows, of_columns)
  return jax.lax.map(
    lambda pair: groups.map_chunks(function, pair[0], pair[1], block_size), (of_rows, of_columns)
  )


def _map_row_blocks(
  function: Callable[[Any, Any], Any], rows: Any, columns: Any, block_size: int
) -> Any:
  num_rows = jax.tree.leaves(rows)[0].shape[0]
  num_blocks = row_blocks.count(num_rows, block_size)
  # Also a single block is computed again in the backward pass: chunks follow each other in a loop.
  compute = jax.checkpoint(function)
  if num_blocks == 1:
    return compute(rows, columns)
  blocks, _ = row_blocks.split(rows, num_blocks)
  return row_blocks.join(jax.lax.map(lambda block: compute(block, columns), blocks), num_rows)
