"""The pairs of two views of a group, in four blocks: always in the order 11, 22, 12, 21.

Block ab has rows from view a and columns from view b. Rows carry the gradient of the host's
alignment term; the columns of 12 and 21 are what the host compares with (the rows of the other view
in SimCLR, those of a target network in BYOL).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.losses.pair_groups import PairGroups

BLOCKS = ('11', '22', '12', '21')
SAME_VIEW = np.array([True, True, False, False])


def repeat(array: jax.Array) -> jax.Array:
  """The same array for each of the four blocks, on a new leading axis."""
  return jnp.broadcast_to(array[None], (len(BLOCKS), *array.shape))


def rows(groups: PairGroups, online: Sequence[jax.Array]) -> jax.Array:
  """`[local, ...]` of each view to the rows of the blocks, `[4, chunks, chunk, ...]`."""
  first, second = (groups.rows(x) for x in online)
  return jnp.stack([first, second, first, second])


def columns(
  groups: PairGroups, online: Sequence[jax.Array], compared: Sequence[jax.Array] | None
) -> jax.Array:
  """`[local, ...]` of each view to the columns of the blocks, `[4, chunks, size, ...]`."""
  first, second = (groups.columns(x) for x in online)
  if compared is None:
    return jnp.stack([first, second, second, first])
  return jnp.stack([first, second, groups.columns(compared[1]), groups.columns(compared[0])])


def map_pairs(
  groups: PairGroups,
  function: Callable[[Any, Any], Any],
  of_rows: Any,
  of_columns: Any,
  block_size: int | None,
) -> Any:
  """`PairGroups.map_pairs` of the four blocks; one after the other where memory is bounded."""
  if block_size is None:
    return jax.vmap(lambda r, c: groups.map_pairs(function, r, c, None))(of_rows, of_columns)
  return jax.lax.map(
    lambda pair: groups.map_pairs(function, pair[0], pair[1], block_size), (of_rows, of_columns)
  )
