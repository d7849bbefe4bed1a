"""Weighted nearest-neighbor classification: accuracy without training a classifier.

The protocol of Wu et al., CVPR 2018 ("Unsupervised feature learning via non-parametric instance
discrimination"): cosine similarity, the k most similar of the bank vote for their class, each with
weight exp(similarity / temperature).
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.evaluation.arguments import check_labels, check_search
from ssl_jax.evaluation.neighbors.search import cosine_search

_MOST_CLASSES = 10_000_000  # for each of which a row of votes or of weights has a number
_TOP = 5  # guesses that `KnnGrid.top5` looks at


@dataclasses.dataclass(frozen=True)
class KnnGrid:
  """What `knn_grid` measures, from 0 to 1.

  Attributes:
    ks: the numbers of neighbors, rows of the tables.
    temperatures: columns of the tables.
    top1: `float64 [k, temperature]`, the accuracies of `knn_accuracy`.
    top5: `float64 [k, temperature]`, the share of queries whose label is among the five classes
      with most votes; None below five classes. A class without a vote is not among them.
  """

  ks: tuple[int, ...]
  temperatures: tuple[float, ...]
  top1: np.ndarray
  top5: np.ndarray | None

  def rows(self) -> list[tuple[int, float, float, float | None]]:
    """One `(k, temperature, top1, top5)` for every cell."""
    return [
      (
        k,
        temperature,
        float(self.top1[row, column]),
        None if self.top5 is None else float(self.top5[row, column]),
      )
      for row, k in enumerate(self.ks)
      for column, temperature in enumerate(self.temperatures)
    ]


def knn_scores(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int | None = None,
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
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> np.ndarray:
  """The class with the largest vote among the `k` nearest neighbors, for every query.

  Features are L2-normalized and compared in float32. Of classes with equal votes the lowest wins.
  Everything is compiled once a shape; the last chunk of queries is filled up to the common size.

  Args:
    bank: `[bank, dim]` features with known labels, of any dtype, on the host, on the device or in a
      file mapped into memory.
    bank_labels: `int [bank]`, from 0.
    queries: `[query, dim]`.
    k: neighbors that vote, at most the size of the bank.
    temperature: positive; a neighbor's weight is exp(cosine / temperature).
    num_classes: the number of classes; by default the largest label plus one.
    chunk_size: queries handled at once; memory is O(chunk_size x bank + bank x dim).
    bank_chunk_size: rows of the bank handled at once, for banks larger than memory: it is then
      O(chunk_size x bank_chunk_size + chunk_size x k + bank_chunk_size x dim), and
      O(chunk_size x class).
    sharding: over which devices the queries of a chunk are split, see `nearest_neighbors`.

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
  chunk_size: int | None = None,
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


def knn_grid(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  query_labels: Any,
  *,
  ks: Sequence[int] = (1, 5, 10, 20, 100, 200),
  temperatures: Sequence[float] = (0.05, 0.07, 0.1, 0.2, 0.5),
  num_classes: int | None = None,
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> KnnGrid:
  """Top-1 and top-5 accuracy for every k and temperature, from one search with the largest k.

  The best cell, chosen by the queries' own labels, flatters: choose on a validation set.

  Source: the vote of Wu et al., CVPR 2018, as in `knn_predict`; the final evaluation of ICCL is
  k = 5, 10, 20 at temperature 0.07.

  >>> bank = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.1, 0.9], [0.3, 0.7]])
  >>> labels = np.array([0, 0, 0, 1, 1, 1])
  >>> grid = knn_grid(bank, labels, bank, labels, ks=(1, 3), temperatures=(0.07,))
  >>> print(grid.top1.tolist(), grid.top5)
  [[1.0], [1.0]] None

  Args:
    bank: `[bank, dim]`, see `knn_predict`.
    bank_labels: `int [bank]`, from 0.
    queries: `[query, dim]`.
    query_labels: `int [query]`; labels that no member of the bank carries count as wrong.
    ks: numbers of neighbors, each at most the size of the bank.
    temperatures: positive numbers.
    num_classes: the number of classes; by default the largest bank label plus one.
    chunk_size: queries handled at once.
    bank_chunk_size: rows of the bank handled at once, see `nearest_neighbors`.
    sharding: over which devices the queries of a chunk are split, see `nearest_neighbors`.

  Returns:
    The table, see `KnnGrid`.

  Raises:
    ValueError: as in `knn_predict`; `ks` or `temperatures` is empty or has an element out of range.
  """
  for name, options in (('ks', ks), ('temperatures', temperatures)):
    if not len(options):
      raise ArgumentError(name, 'none', 'at least one')
  ks = tuple(check_whole('ks', k) for k in ks)
  temperatures = tuple(float(temperature) for temperature in temperatures)
  for temperature in temperatures:
    check_temperature('temperatures', temperature)
  division = chunk_size, bank_chunk_size, sharding
  bank, queries = check_search(bank, queries, 1, *division)
  if max(ks) > len(bank):
    raise ArgumentError('ks', max(ks), f'at most {len(bank)}, the size of the bank')
  labels = check_labels('bank_labels', bank_labels, 'bank', len(bank))
  truth = check_labels('query_labels', query_labels, 'queries', len(queries))
  classes = count_classes(labels, num_classes)

  hits = np.zeros((2, len(ks), len(temperatures)), np.int64)
  done = 0
  for indices, similarities in cosine_search(bank, queries, max(ks), *division):
    voters, values = labels[np.asarray(indices)], np.asarray(similarities)
    kept = min(len(voters), len(queries) - done)
    own = np.full(len(voters), -1, np.int32)
    own[:kept] = truth[done : done + kept]
    for row, k in enumerate(ks):
      ranks = _ranks(
        voters[:, :k], values[:, :k], own, np.asarray(temperatures, np.float32), classes
      )
      for table, top in enumerate((1, _TOP)):
        hits[table, row] += np.count_nonzero(np.asarray(ranks)[:, :kept] < top, axis=1)
    done += kept
  top1, top5 = hits / len(queries)
  return KnnGrid(ks, temperatures, top1, top5 if classes >= _TOP else None)


def check_temperature(name: str, temperature: float) -> None:
  """Requires a finite number above 0."""
  if not (np.isfinite(temperature) and temperature > 0):
    raise ArgumentError(name, temperature, 'finite and greater than 0')


def count_classes(labels: np.ndarray, num_classes: int | None) -> int:
  """`num_classes`, or by default the largest label plus one.

  Raises:
    ValueError: a label is so large that it is an identity rather than the number of a class, or
      `num_classes` is below the largest label plus one.
  """
  classes = int(labels.max()) + 1
  if classes > _MOST_CLASSES:
    raise ArgumentError(
      'labels', classes - 1, f'below {_MOST_CLASSES:,}: number the classes from 0 without gaps'
    )
  if num_classes is None:
    return classes
  if num_classes < classes:
    raise ArgumentError('num_classes', num_classes, f'at least {classes}, the largest label plus 1')
  return num_classes


def _vote_chunks(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  k: int,
  temperature: float,
  num_classes: int | None,
  division: tuple[int | None, int | None, NamedSharding | None],
  *,
  shares: bool,
) -> Iterator[np.ndarray]:
  bank, queries = check_search(bank, queries, k, *division)
  labels = check_labels('bank_labels', bank_labels, 'bank', len(bank))
  check_temperature('temperature', temperature)
  classes = count_classes(labels, num_classes)

  # Labels of the neighbors are looked up on the host, where the bank's labels lie.
  for indices, similarities in cosine_search(bank, queries, k, *division):
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
  """The votes of neighbors for their classes, up to a factor a row: `float32 [query, class]`."""
  # Relative to the nearest neighbor, so that small temperatures do not overflow.
  weights = jnp.exp((similarities - similarities[:, :1]) / temperature)
  rows = jnp.arange(len(voters), dtype=jnp.int32)[:, None]
  votes = jnp.zeros((len(voters), num_classes), jnp.float32)
  return votes.at[rows, voters].add(weights)


@functools.partial(jax.jit, static_argnames=('num_classes',))
def _ranks(
  voters: jax.Array,
  similarities: jax.Array,
  truth: jax.Array,
  temperatures: jax.Array,
  num_classes: int,
) -> jax.Array:
  """How many classes come before the true one: `int32 [temperature, query]`.

  Classes are in the order of their votes, and of their numbers where these are equal; the true
  class without a vote comes behind all.
  """
  own = truth[:, None]
  has_vote = jnp.any(voters == own, axis=1)

  def at(temperature: jax.Array) -> jax.Array:
    votes = sum_votes(voters, similarities, temperature, num_classes)
    mine = jnp.take_along_axis(votes, jnp.clip(own, 0, num_classes - 1), axis=1)
    lower = jnp.arange(num_classes) < own
    before = jnp.sum((votes > mine) | ((votes == mine) & lower), axis=1, dtype=jnp.int32)
    return jnp.where(has_vote, before, num_classes + _TOP)

  return jax.lax.map(at, temperatures)
