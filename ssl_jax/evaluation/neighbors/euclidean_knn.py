"""Majority vote of the nearest neighbors by Euclidean distance, features not normalized."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.evaluation.arguments import check_labels, check_search
from ssl_jax.evaluation.neighbors import search
from ssl_jax.evaluation.neighbors.knn import count_classes

_SPARE = 16  # candidates beyond k that the search in float32 yields
_ROUNDING = 1e-13  # of float64 sums, relative to the largest squared norm
_READ = 2**22  # numbers in float64 on the host at once: of the bank, or distances to it
_FEW = 64  # queries searched again at once


def euclidean_knn_predict(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 5,
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
) -> np.ndarray:
  """The class of most of the `k` rows of the bank nearest to each query.

  Features are not normalized, and every neighbor has one vote; of classes with equal votes the
  lowest wins, of rows at the same distance the one earlier in the bank. Distances that agree to
  1e-13 of the largest squared norm count as the same.

  The search is exact. A first pass in float32 orders rows by |b|^2 - 2 a.b, a matrix product of
  features centered at the mean of the bank, so that a common offset does not drown the distances,
  and keeps 16 candidates more than needed; their distances are then taken in float64 from the
  features themselves. Queries whose k-th candidate is not nearer than what was left out by more
  than the error of float32, such as among many copies, are searched again in float64.

  Source: the 5-nearest-neighbor evaluation of DSA's released code.

  >>> bank = [[0.0, 0], [0, 2], [10, 0], [30, 0]]
  >>> print(euclidean_knn_predict(bank, np.array([1, 1, 0, 0]), [[4.0, 0]], k=3))
  [1]

  Args:
    bank: `[bank, dim]` features with known labels, of any dtype; may be mapped from a file.
    bank_labels: `int [bank]`, from 0.
    queries: `[query, dim]`.
    k: neighbors that vote, between 1 and the size of the bank.
    chunk_size: queries handled at once, by default as in `nearest_neighbors`; memory is
      O(chunk_size x (bank + k + dim) + bank x dim).
    bank_chunk_size: rows of the bank handled at once: memory is then
      O(chunk_size x (bank_chunk_size + k + dim) + bank_chunk_size x dim).

  Returns:
    `int32 [query]`.

  Raises:
    ValueError: labels are absent or do not fit the bank, shapes differ, a feature is not finite, or
      `k`, `chunk_size` or `bank_chunk_size` is out of range.
  """
  bank, queries = check_search(bank, queries, k, chunk_size, bank_chunk_size)
  labels = check_labels('bank_labels', bank_labels, 'bank', len(bank))
  classes = count_classes(labels, None)
  predictions = np.empty(len(queries), np.int32)
  for start, neighbors in _neighbors(bank, queries, k, chunk_size, bank_chunk_size):
    votes = np.zeros((len(neighbors), classes), np.int32)
    np.add.at(votes, (np.arange(len(votes))[:, None], labels[neighbors]), 1)
    predictions[start : start + len(votes)] = np.argmax(votes, axis=1)
  return predictions


def _neighbors(
  bank: np.ndarray, queries: np.ndarray, k: int, chunk_size: int | None, bank_chunk_size: int | None
) -> Iterator[tuple[int, np.ndarray]]:
  """The `k` nearest rows of the bank, in any order, for one chunk of queries after another."""
  center, longest = _center_and_radius(bank)
  candidates = min(k + _SPARE, len(bank))
  found = search.search(
    bank,
    queries,
    candidates,
    # The device sees a bank within the unit ball, whatever the unit of the features.
    place=lambda rows: _centered(rows, center, longest),
    prepare_bank=_with_norms,
    prepare_queries=_with_ones,
    chunk_size=chunk_size,
    bank_chunk_size=bank_chunk_size,
  )
  start = 0
  for indices, products in found:
    chunk = queries[start : start + len(indices)].astype(np.float64)
    rows = np.sort(np.asarray(indices)[: len(chunk)], axis=1)
    squared = _distances(bank, chunk, rows)
    lengths = np.linalg.norm(chunk - center, axis=1)
    rounding = _ROUNDING * np.maximum(lengths, longest)[:, None] ** 2
    chosen = _first_nearest(squared, k, rounding)
    nearest = np.take_along_axis(rows, chosen, axis=1)
    if candidates < len(bank):
      last = np.asarray(products)[: len(chunk), -1].astype(np.float64)
      # No row that was left out is nearer than this, but for the error of float32 sums.
      least = lengths**2 - 2 * last * longest**2
      error = 2 * (bank.shape[1] + 4) * 2.0**-24 * (lengths + longest) ** 2
      furthest = np.max(np.take_along_axis(squared, chosen, axis=1), axis=1) + rounding[:, 0]
      unsure = np.flatnonzero(~(furthest < least - error))
      for first in range(0, len(unsure), _FEW):
        few = unsure[first : first + _FEW]
        nearest[few] = _search_in_float64(bank, chunk[few] - center, k, center, rounding[few])
    yield start, nearest
    start += len(chunk)


@jax.jit
def _with_norms(rows: jax.Array) -> jax.Array:
  """Rows of the bank whose product with `_with_ones(a)` is a.b - |b|^2 / 2, most where nearest."""
  return jnp.concatenate([rows, -jnp.sum(rows**2, axis=1, keepdims=True) / 2], axis=1)


@jax.jit
def _with_ones(rows: jax.Array) -> jax.Array:
  return jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)


def _center_and_radius(bank: np.ndarray) -> tuple[np.ndarray, float]:
  center = np.zeros(bank.shape[1])
  for block in _blocks(bank):
    center += np.sum(block, axis=0) / len(bank)
  radius = max(np.max(np.linalg.norm(block - center, axis=1)) for block in _blocks(bank))
  return center, float(radius)


def _centered(rows: np.ndarray, center: np.ndarray, unit: float) -> np.ndarray:
  found = np.empty(rows.shape, np.float32)
  start = 0
  for block in _blocks(rows):
    # Of a query too far away for float32 the search in float64 takes care.
    with np.errstate(over='ignore'):
      found[start : start + len(block)] = (block - center) / (unit if unit > 0 else 1.0)
    start += len(block)
  return found


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
  step = max(1, _READ // max(rows.shape[1], _FEW))
  for start in range(0, len(rows), step):
    yield rows[start : start + step].astype(np.float64)


def _distances(bank: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """The squared distances of each query to its own rows of the bank."""
  step = max(1, _READ // (rows.shape[1] * bank.shape[1]))
  parts = []
  for start in range(0, len(queries), step):
    part = slice(start, start + step)
    difference = bank[rows[part]] - queries[part, None]
    parts.append(np.einsum('qnd,qnd->qn', difference, difference))
  return np.concatenate(parts)


def _search_in_float64(
  bank: np.ndarray, queries: np.ndarray, k: int, center: np.ndarray, rounding: np.ndarray
) -> np.ndarray:
  """The `k` nearest rows of the bank for centered queries, from a matrix product in float64."""
  rows = np.zeros((len(queries), 0), np.int64)
  squared = np.zeros((len(queries), 0))
  lengths = np.sum(queries**2, axis=1, keepdims=True)
  start = 0
  for block in _blocks(bank):
    block = block - center
    more = lengths - 2 * queries @ block.T + np.sum(block**2, axis=1)
    squared = np.concatenate([squared, more], axis=1)
    at = np.broadcast_to(np.arange(start, start + len(block)), more.shape)
    rows = np.concatenate([rows, at], axis=1)
    chosen = _first_nearest(squared, min(k, rows.shape[1]), rounding)
    rows = np.take_along_axis(rows, chosen, axis=1)
    squared = np.take_along_axis(squared, chosen, axis=1)
    start += len(block)
  return rows


def _first_nearest(squared: np.ndarray, k: int, rounding: np.ndarray) -> np.ndarray:
  """The columns of the `k` least entries of each row; of entries as good as equal, the first."""
  bound = np.partition(squared, k - 1, axis=1)[:, k - 1 : k]
  nearer = squared < bound - rounding
  tied = (squared <= bound + rounding) & ~nearer
  room = k - np.sum(nearer, axis=1, keepdims=True)
  chosen = nearer | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= room))
  return np.nonzero(chosen)[1].reshape(len(squared), k)
