"""Exact nearest-neighbor search by cosine similarity or another inner product, in chunks.

Chunks of queries are compared with the whole bank or with one part of it after another.
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

from ssl_jax.evaluation.arguments import check_search
from ssl_jax.evaluation.features import l2_normalize

# Above 32 MiB an array is new memory each time on Linux: its first touch takes a fifth of the time.
_CPU_SIMILARITIES = 2**23
_FEWEST_QUERIES, _MOST_QUERIES = 128, 1024
_QUERIES_OF_LARGE_BANKS = 512

Prepare = Callable[[jax.Array], jax.Array]


def nearest_neighbors(
  bank: Any,
  queries: Any,
  k: int,
  *,
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """The `k` most similar rows of the bank for every query, most similar first.

  The search is exact in float32; of equally similar rows, the one earlier in the bank comes first.
  A query that is itself in the bank finds itself. The result does not depend on how queries and
  bank are divided, except that similarities may differ in their last digit, and with them the order
  of rows that differ by no more.

  Memory is O(chunk_size x bank + bank x dim). With `bank_chunk_size`, and beside the result, it is
  O(chunk_size x bank_chunk_size + chunk_size x k + bank_chunk_size x dim): a bank in a file mapped
  into memory (`np.memmap`) is read part by part, once for every chunk of queries.

  Args:
    bank: `[bank, dim]`, numbers of any dtype; a zero vector is similar to nothing.
    queries: `[query, dim]`.
    k: neighbors a query, at most the size of the bank.
    chunk_size: queries handled at once, rounded up to a multiple of the devices of `sharding`. By
      default 1,024; on the CPU, with the whole bank at once, as many as keep their similarities
      below 32 MiB, or 512 where those are fewer than 128.
    bank_chunk_size: rows of the bank handled at once; None for all. The k best are merged from
      part to part.
    sharding: over which devices of this process the queries of a chunk are split, such as
      `NamedSharding(mesh, P('data'))`; every device holds the bank, or the part of it.

  Returns:
    `int32 [query, k]`, the rows of the bank, and `float32 [query, k]`, the cosine similarities.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, or `k`, `chunk_size`, `bank_chunk_size`
      or `sharding` is out of range.
  """
  bank, queries = check_search(bank, queries, k, chunk_size, bank_chunk_size, sharding)
  found = cosine_search(bank, queries, k, chunk_size, bank_chunk_size, sharding)
  indices, similarities = zip(*(jax.device_get(part) for part in found), strict=True)
  count = len(queries)
  return np.concatenate(indices)[:count], np.concatenate(similarities)[:count]


def search(
  bank: np.ndarray,
  queries: np.ndarray,
  k: int,
  *,
  prepare_bank: Prepare,
  prepare_queries: Prepare,
  place: Callable[[np.ndarray], np.ndarray] | None = None,
  chunk_size: int | None = None,
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
    chunk_size: queries a chunk, rounded up to a multiple of the devices of `sharding`; None as in
      `nearest_neighbors`.
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
  size = _chunk_rows(step, whole is not None) if chunk_size is None else chunk_size
  for chunk in _chunks(queries, size, _shards(sharding)):
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


def cosine_search(
  bank: np.ndarray,
  queries: np.ndarray,
  k: int,
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> Iterator[tuple[jax.Array, jax.Array]]:
  """`search` by cosine similarity in float32: arguments as there, checked already."""
  return search(
    bank,
    queries,
    k,
    prepare_bank=_unit_rows,
    prepare_queries=_unit_rows,
    chunk_size=chunk_size,
    bank_chunk_size=bank_chunk_size,
    sharding=sharding,
  )


def cosine_similarities(
  bank: np.ndarray, queries: np.ndarray, chunk_size: int
) -> Iterator[tuple[int, np.ndarray]]:
  """The cosines of all queries with all rows of the bank, in float32, chunk by chunk of queries.

  Yields:
    The first query of a chunk, and `float32 [chunk, bank]` on the host.
  """
  unit_bank = _unit_rows(bank)
  start = 0
  for chunk in _chunks(queries, chunk_size, 1):
    found = np.asarray(_products(_unit_rows(chunk), unit_bank))[: len(queries) - start]
    yield start, found
    start += len(found)


@jax.jit
def _unit_rows(features: jax.Array) -> jax.Array:
  return l2_normalize(features.astype(jnp.float32))


@jax.jit
def _products(queries: jax.Array, bank: jax.Array) -> jax.Array:
  # Full float32: the default of GPUs and TPUs keeps about three digits and reorders neighbors.
  return jnp.matmul(queries, bank.T, precision='highest')


@functools.partial(jax.jit, static_argnames=('k', 'sharding'))
def _nearest(
  bank: jax.Array, queries: jax.Array, k: int, sharding: NamedSharding | None = None
) -> tuple[jax.Array, jax.Array]:
  # Compiled on its own: XLA's CPU compiler recognizes top_k only where nothing else slices its
  # result, and sorts whole rows, twenty times slower, when this is inlined into the vote.
  def of_rows(bank: jax.Array, queries: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, indices = jax.lax.top_k(_products(queries, bank), k)
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


def _chunk_rows(bank: int, whole: bool) -> int:
  """The queries of a chunk by default."""
  if not whole or jax.default_backend() != 'cpu':
    return _MOST_QUERIES
  queries = _CPU_SIMILARITIES // bank
  return min(queries, _MOST_QUERIES) if queries >= _FEWEST_QUERIES else _QUERIES_OF_LARGE_BANKS


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
