"""Weighted nearest-neighbour classification, the training-free judge of a representation.

The protocol of Wu et al., CVPR 2018 ("Unsupervised feature learning via non-parametric instance
discrimination"): cosine similarity, the k most similar of the bank vote for their class, each with
weight exp(similarity / temperature).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ssl_jax.evaluation import neighbour_search
from ssl_jax.evaluation.row_checks import check_labels, check_search


def nearest_neighbours(
  bank: Any,
  queries: Any,
  k: int,
  *,
  chunk_size: int = 1024,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """The `k` most similar rows of the bank for every query, most similar first.

  The search is exact in float32; of equally similar rows, the one earlier in the bank comes first.
  A query that is itself in the bank finds itself. The result does not depend on how queries and
  bank are divided, except that similarities may differ in their last digit, and with them the order
  of rows that differ by no more.

  Memory is O(chunk_size x bank + bank x dim); on a CPU the search is fastest where the similarities
  of a chunk, 4 x chunk_size x bank bytes, stay below 32 MiB, above which Linux hands out new memory
  each time. With `bank_chunk_size`, and beside the result, it is
  O(chunk_size x bank_chunk_size + chunk_size x k + bank_chunk_size x dim): a bank in a file mapped
  into memory (`np.memmap`) is read part by part, once for every chunk of queries.

  Args:
    bank: `[bank, dim]`, numbers of any dtype; a zero vector is similar to nothing.
    queries: `[query, dim]`.
    k: neighbours a query, at most the size of the bank.
    chunk_size: queries handled at once, rounded up to a multiple of the devices of `sharding`.
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
  found = _search(bank, queries, k, chunk_size, bank_chunk_size, sharding)
  indices, similarities = zip(*(jax.device_get(part) for part in found), strict=True)
  count = len(queries)
  return np.concatenate(indices)[:count], np.concatenate(similarities)[:count]


def knn_scores(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int = 1024,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> np.ndarray:
  """The share of the vote that each class gets: `float32 [query, class]`, rows sum to one.

  Arguments and errors are those of `knn_predict`.
  """
  division = chunk_size, bank_chunk_size, sharding
  parts = _vote_chunks(
    bank, bank_labels, queries, k, temperature, num_classes, division, shares=True
  )
  return np.concatenate(list(parts))[: len(queries)]


def knn_predict(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int = 1024,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> np.ndarray:
  """The class with the largest vote among the `k` nearest neighbours, for every query.

  Features are L2-normalised and compared in float32. Of classes with equal votes the lowest wins.
  Everything is compiled once a shape; the last chunk of queries is filled up to the common size.

  Args:
    bank: `[bank, dim]` features with known labels, of any dtype, on the host, on the device or in a
      file mapped into memory.
    bank_labels: `int [bank]`, from 0.
    queries: `[query, dim]`.
    k: neighbours that vote, between 1 and the size of the bank.
    temperature: positive; a neighbour's weight is exp(cosine / temperature).
    num_classes: the number of classes; by default the largest label plus one.
    chunk_size: queries handled at once; memory is O(chunk_size x bank + bank x dim).
    bank_chunk_size: rows of the bank handled at once, for banks larger than memory: it is then
      O(chunk_size x bank_chunk_size + chunk_size x k + bank_chunk_size x dim), and
      O(chunk_size x class).
    sharding: over which devices the queries of a chunk are split, see `nearest_neighbours`.

  Returns:
    `int32 [query]`.

  Raises:
    ValueError: labels are absent or do not fit the bank, shapes differ, a feature is not finite, or
      `k`, `temperature`, `num_classes`, `chunk_size`, `bank_chunk_size` or `sharding` is out of
      range.
  """
  division = chunk_size, bank_chunk_size, sharding
  parts = _vote_chunks(
    bank, bank_labels, queries, k, temperature, num_classes, division, shares=False
  )
  return np.concatenate(list(parts))[: len(queries)]


def knn_accuracy(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  query_labels: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int = 1024,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> float:
  """The fraction of queries, from 0 to 1, whose `knn_predict` class is their label.

  Query labels that no member of the bank carries count as wrong. Arguments and errors are those of
  `knn_predict`; `query_labels` is `int [query]`.
  """
  query_labels = check_labels('query_labels', query_labels, 'queries', len(queries))
  predictions = knn_predict(
    bank,
    bank_labels,
    queries,
    k=k,
    temperature=temperature,
    num_classes=num_classes,
    chunk_size=chunk_size,
    bank_chunk_size=bank_chunk_size,
    sharding=sharding,
  )
  return float(np.mean(predictions == query_labels))


def check_temperature(name: str, temperature: float) -> None:
  """Requires a finite number above 0."""
  if not (np.isfinite(temperature) and temperature > 0):
    raise ValueError(f'{name}: found {temperature}, must be finite and greater than 0')


def count_classes(labels: np.ndarray, num_classes: int | None) -> int:
  """`num_classes`, or by default the largest label plus one."""
  classes = int(labels.max()) + 1
  if num_classes is None:
    return classes
  if num_classes < classes:
    raise ValueError(
      f'num_classes: found {num_classes}, must be at least {classes}, the largest label plus 1'
    )
  return num_classes


def _search(
  bank: np.ndarray,
  queries: np.ndarray,
  k: int,
  chunk_size: int,
  bank_chunk_size: int | None,
  sharding: NamedSharding | None,
) -> Iterator[tuple[jax.Array, jax.Array]]:
  return neighbour_search.search(
    bank,
    queries,
    k,
    prepare_bank=neighbour_search.unit_rows,
    prepare_queries=neighbour_search.unit_rows,
    chunk_size=chunk_size,
    bank_chunk_size=bank_chunk_size,
    sharding=sharding,
  )


def _vote_chunks(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  k: int,
  temperature: float,
  num_classes: int | None,
  division: tuple[int, int | None, NamedSharding | None],
  *,
  shares: bool,
) -> Iterator[np.ndarray]:
  bank, queries = check_search(bank, queries, k, *division)
  labels = check_labels('bank_labels', bank_labels, 'bank', len(bank))
  check_temperature('temperature', temperature)
  classes = count_classes(labels, num_classes)

  # Labels of the neighbours are looked up on the host, where the bank's labels lie.
  for indices, similarities in _search(bank, queries, k, *division):
    voters = labels[np.asarray(indices)]
    yield np.asarray(_vote(voters, similarities, np.float32(temperature), classes, shares))


@functools.partial(jax.jit, static_argnames=('num_classes', 'shares'))
def _vote(
  voters: jax.Array,
  similarities: jax.Array,
  temperature: jax.Array,
  num_classes: int,
  shares: bool,
) -> jax.Array:
  votes = sum_votes(voters, similarities, temperature, num_classes)
  if shares:
    return votes / jnp.sum(votes, axis=1, keepdims=True)
  return jnp.argmax(votes, axis=1).astype(jnp.int32)


def sum_votes(
  voters: jax.Array, similarities: jax.Array, temperature: jax.Array, num_classes: int
) -> jax.Array:
  """The votes of neighbours for their classes, up to a factor a row: `float32 [query, class]`."""
  # Relative to the nearest neighbour, so that small temperatures do not overflow.
  weights = jnp.exp((similarities - similarities[:, :1]) / temperature)
  rows = jnp.arange(len(voters), dtype=jnp.int32)[:, None]
  votes = jnp.zeros((len(voters), num_classes), jnp.float32)
  return votes.at[rows, voters].add(weights)
