"""Checks of what callers pass to the dynamic semantic adjuster (DSA): one-line ValueErrors."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.losses import arguments
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS

Pair = tuple[chex.Array, chex.Array]


def check_pairs(online: Pair, compared: Pair | None) -> None:
  """Requires two float arrays `[batch, dim]` each, all of one shape."""
  pairs = {'online': online} | ({} if compared is None else {'compared': compared})
  for name, pair in pairs.items():
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
      raise ValueError(f'{name}: found {type(pair).__name__}, must be a pair, one array a view')
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
    raise ValueError(f'{name}: found {found}, must be 4 blocks: 11, 22, 12, 21') from None
  if num_blocks != len(VIEW_PAIRS):
    raise ValueError(f'{name}: found {num_blocks} blocks, must be 4: 11, 22, 12, 21')
  arguments.check_embeddings(**{f'{name}[{at}]': x for at, x in enumerate(matrices)})
  if shape is not None and jnp.shape(matrices[0]) != shape:
    raise ValueError(f'{name}[0]: found shape {jnp.shape(matrices[0])}, must be {shape}')


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
    raise ValueError(f'{name}: found {outside[0]}, must be from 0 to 1')


def check_score_mode(name: str, mode: str) -> None:
  """Requires one of the two; ValueError otherwise."""
  if mode not in ('row', 'symmetric'):
    raise ValueError(f"{name}: found {mode!r}, must be 'row' or 'symmetric'")


def check_reduction(name: str, reduction: str) -> None:
  """Requires one of the two; ValueError otherwise."""
  if reduction not in ('sum', 'mean'):
    raise ValueError(f"{name}: found {reduction!r}, must be 'sum' or 'mean'")
