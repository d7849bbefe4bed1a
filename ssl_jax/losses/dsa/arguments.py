"""Checks of what callers pass to the dynamic semantic adjuster (DSA): one-line ValueErrors."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS

Pair = tuple[chex.Array, chex.Array]


def check_pairs(online: Pair, compared: Pair | None) -> None:
  """Requires two float arrays `[batch, dim]` each, all of one shape."""
  pairs = {'online': online} | ({} if compared is None else {'compared': compared})
  for name, pair in pairs.items():
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
      raise ArgumentError(name, type(pair).__name__, 'a pair, one array a view')
  named = {f'{name}[{view}]': x for name, pair in pairs.items() for view, x in enumerate(pair)}
  arguments.check_embeddings(**named)


def check_matrices(
  name: str,
  matrices: Sequence[chex.Array] | chex.Array,
  shape: tuple[int, int] | None = None,
) -> None:
  """Requires one matrix a block, all of one shape: `shape` if given."""
  try:
    num_blocks = len(matrices)
  except TypeError:
    found = type(matrices).__name__
    raise ArgumentError(name, found, '4 blocks: 11, 22, 12, 21') from None
  if num_blocks != len(VIEW_PAIRS):
    raise ArgumentError(name, f'{num_blocks} blocks', '4: 11, 22, 12, 21')
  arguments.check_embeddings(**{f'{name}[{at}]': x for at, x in enumerate(matrices)})
  if shape is not None and jnp.shape(matrices[0]) != shape:
    raise ArgumentError(f'{name}[0]', f'shape {jnp.shape(matrices[0])}', shape)


def check_shares(name: str, shares: chex.Array) -> None:
  """Requires numbers from 0 to 1, but for rounding; ValueError otherwise.

  Those of traced arrays, and of arrays partly on other hosts, cannot be checked.
  """
  if isinstance(shares, jax.core.Tracer) or not getattr(shares, 'is_fully_addressable', True):
    return
  rounding = 8 * float(jnp.finfo(shares.dtype).eps)
  array = np.asarray(shares)
  outside = array[~((array >= -rounding) & (array <= 1 + rounding))]  # NaN is
  if outside.size:
    raise ArgumentError(name, outside[0], 'from 0 to 1')
