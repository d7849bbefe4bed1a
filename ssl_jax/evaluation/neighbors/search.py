"""The exact search behind the nearest-neighbor judges: chunks of queries against parts of a bank.

What counts as near is an inner product of prepared rows, the largest first: of unit rows, the
cosine.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

Prepare = Callable[[jax.Array], jax.Array]


def search(
  bank: np.ndarray,
  queries: np.ndarray,
  k: int,
  *,
  prepare_bank: Prepare,
  prepare_queries: Prepare,
  place: Callable[[np.ndarray], np.ndarray] | None = None,
  chunk_size: int,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> Iterator[tuple[jax.Array, jax.Array]]:
  """The `k` rows of the bank with the largest inner products, chunk by chunk of queries.

  Of equal inner products the row earlier in the bank comes first, however the bank is divided.

  Args:
    bank: `[bank, dim]`; with `bank_chunk_size`, only that many rows are read at once.
    queries: `[query, dim]`.
    k: at most the size of the bank.
    prepare_bank: from rows of the bank to what queries are multiplied with; jitted.
    prepare_queries: the same for queries.
    place: what becomes of both on the host before.
    chunk_size: queries a chunk, rounded up to a multiple of the devices of `sharding`.
    bank_chunk_size: rows of the bank a part; None keeps the whole, prepared, on the device.
    sharding: how the rows of a chunk are split over devices.

  Yields:
    `int32 [chunk, k]` rows and `float32 [chunk, k]` inner products. All chunks have one size: the
    last is filled up with zero rows.
  """
  if place is None:
    place = lambda rows: rows
  step = len(bank) if bank_chunk_size is None else min(bank_chunk_size, len(bank))
  whole = prepare_bank(_copy(place(bank), sharding)) if step == len(bank) else None
  for chunk in _chunks(queries, chunk_size, _shards(sharding)):
    rows = prepare_queries(jax.device_put(place(chunk), sharding))
    found: tuple[jax.Array, jax.Array] | None = None
    for start in range(0, len(bank), step):
      part = whole
      if part is None:
        part = prepare_bank(_copy(place(bank[start : start + step]), sharding))
      more = _nearest(part, rows, min(k, len(part)), sharding)
      if found is None:
        found = more
      else:
        found = _merge(found, more, np.int32(start), min(k, start + len(part)), sharding)
      if whole is None:
        # Dispatch would otherwise run ahead with one part after another in memory.
        jax.block_until_ready(found)
    assert found is not None
    yield found


@jax.jit
def unit_rows(features: jax.Array) -> jax.Array:
  """Rows of unit length in float32; zero rows stay zero."""
  features = features.astype(jnp.float32)
  # Scaled by the largest entry first: the squares of very large or small features leave float32.
  scale = jnp.max(jnp.abs(features), axis=1, keepdims=True)
  features = features / jnp.where(scale > 0, scale, 1)
  norm = jnp.linalg.norm(features, axis=1, keepdims=True)
  return features / jnp.where(norm > 0, norm, 1)


@functools.partial(jax.jit, static_argnames=('k', 'sharding'))
def _nearest(
  bank: jax.Array, queries: jax.Array, k: int, sharding: NamedSharding | None = None
) -> tuple[jax.Array, jax.Array]:
  # Compiled on its own: XLA's CPU compiler recognizes top_k only where nothing else slices its
  # result, and sorts whole rows, twenty times slower, when this is inlined into the vote.
  def of_rows(bank: jax.Array, queries: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Full float32: the default of GPUs and TPUs keeps about three digits and reorders neighbors.
    values, indices = jax.lax.top_k(jnp.matmul(queries, bank.T, precision='highest'), k)
    return indices, values

  if sharding is None:
    return of_rows(bank, queries)
  rows = _rows_of(sharding)
  # Not left to the partitioner, which may gather the inner products for top_k.
  split = jax.shard_map(of_rows, mesh=sharding.mesh, in_specs=(P(), rows), out_specs=rows)
  return split(bank, queries)


@functools.partial(jax.jit, static_argnames=('k', 'sharding'))
def _merge(
  found: tuple[jax.Array, jax.Array],
  more: tuple[jax.Array, jax.Array],
  start: jax.Array,
  k: int,
  sharding: NamedSharding | None = None,
) -> tuple[jax.Array, jax.Array]:
  def of_rows(found: Any, more: Any, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    # What was found earlier lies further left, where top_k looks first among equals.
    values, at = jax.lax.top_k(jnp.concatenate([found[1], more[1]], axis=1), k)
    indices = jnp.concatenate([found[0], more[0] + start], axis=1)
    return jnp.take_along_axis(indices, at, axis=1), values

  if sharding is None:
    return of_rows(found, more, start)
  rows = _rows_of(sharding)
  split = jax.shard_map(of_rows, mesh=sharding.mesh, in_specs=(rows, rows, P()), out_specs=rows)
  return split(found, more, start)


def _chunks(queries: np.ndarray, chunk_size: int, shards: int) -> Iterator[np.ndarray]:
  size = -(-min(chunk_size, len(queries)) // shards) * shards
  for start in range(0, len(queries), size):
    chunk = queries[start : start + size]
    yield np.pad(chunk, ((0, size - len(chunk)), (0, 0)))


def _copy(rows: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
  return jax.device_put(rows, None if sharding is None else NamedSharding(sharding.mesh, P()))


def _rows_of(sharding: NamedSharding) -> P:
  return P(sharding.spec[0] if len(sharding.spec) else None)


def _shards(sharding: NamedSharding | None) -> int:
  axes = None if sharding is None else _rows_of(sharding)[0]
  if sharding is None or axes is None:
    return 1
  names = axes if isinstance(axes, tuple) else (axes,)
  return math.prod(sharding.mesh.shape[name] for name in names)


def unit(features: jax.Array) -> jax.Array:
  """The vectors along the last axis at length 1; zero vectors stay zero."""
  # Scaled by the largest entry first: the squares of very large or small features leave float32.
  scale = jnp.max(jnp.abs(features), axis=-1, keepdims=True)
  features = features / jnp.where(scale > 0, scale, 1)
  norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
  return features / jnp.where(norm > 0, norm, 1)
