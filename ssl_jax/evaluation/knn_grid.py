"""The accuracy of the weighted nearest-neighbour vote for many k and temperatures at once."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from ssl_jax.evaluation import neighbour_search
from ssl_jax.evaluation.knn import check_temperature, count_classes, sum_votes
from ssl_jax.evaluation.row_checks import check_count, check_labels, check_search

_TOP = 5


@dataclasses.dataclass(frozen=True)
class KnnGrid:
  """What `knn_grid` measures, from 0 to 1.

  Attributes:
    ks: the numbers of neighbours, rows of the tables.
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


def knn_grid(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  query_labels: Any,
  *,
  ks: Sequence[int] = (1, 5, 10, 20, 100, 200),
  temperatures: Sequence[float] = (0.05, 0.07, 0.1, 0.2, 0.5),
  num_classes: int | None = None,
  chunk_size: int = 1024,
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
    ks: numbers of neighbours, each between 1 and the size of the bank.
    temperatures: positive numbers.
    num_classes: the number of classes; by default the largest bank label plus one.
    chunk_size: queries handled at once.
    bank_chunk_size: rows of the bank handled at once, see `nearest_neighbours`.
    sharding: over which devices the queries of a chunk are split, see `nearest_neighbours`.

  Returns:
    The table, see `KnnGrid`.

  Raises:
    ValueError: as in `knn_predict`; `ks` or `temperatures` is empty or has an element out of range.
  """
  for name, options in (('ks', ks), ('temperatures', temperatures)):
    if not len(options):
      raise ValueError(f'{name}: found none, must be at least one')
  ks = tuple(check_count('ks', k) for k in ks)
  temperatures = tuple(float(temperature) for temperature in temperatures)
  for temperature in temperatures:
    check_temperature('temperatures', temperature)
  bank, queries = check_search(bank, queries, 1, chunk_size, bank_chunk_size, sharding)
  if max(ks) > len(bank):
    raise ValueError(
      f'ks: found {max(ks)}, must be between 1 and {len(bank)}, the size of the bank'
    )
  labels = check_labels('bank_labels', bank_labels, 'bank', len(bank))
  truth = check_labels('query_labels', query_labels, 'queries', len(queries))
  classes = count_classes(labels, num_classes)

  found = neighbour_search.search(
    bank,
    queries,
    max(ks),
    prepare_bank=neighbour_search.unit_rows,
    prepare_queries=neighbour_search.unit_rows,
    chunk_size=chunk_size,
    bank_chunk_size=bank_chunk_size,
    sharding=sharding,
  )
  hits = np.zeros((2, len(ks), len(temperatures)), np.int64)
  done = 0
  for indices, similarities in found:
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
