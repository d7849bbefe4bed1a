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


def nearest_neighbours(
  bank: Any, queries: Any, k: int, *, chunk_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
  """The `k` most similar rows of the bank for every query, most similar first.

  The search is exact; of equally similar rows, the one earlier in the bank comes first. A query
  that is itself in the bank finds itself.

  Args:
    bank: `[bank, dim]`, numbers of any dtype; a zero vector is similar to nothing.
    queries: `[query, dim]`.
    k: neighbours a query, at most the size of the bank.
    chunk_size: queries handled at once; memory is O(chunk_size x bank).

  Returns:
    `int32 [query, k]`, the rows of the bank, and `float32 [query, k]`, the cosine similarities.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, or `k` or `chunk_size` is out of range.
  """
  bank, queries = _check_features(bank, queries, k, chunk_size)
  unit_bank = _normalise(bank)
  parts = [jax.device_get(_search(unit_bank, chunk, k)) for chunk in _chunks(queries, chunk_size)]
  indices = np.concatenate([indices for indices, _ in parts])[: len(queries)]
  similarities = np.concatenate([values for _, values in parts])[: len(queries)]
  return indices, similarities


def knn_scores(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int = 1024,
) -> np.ndarray:
  """The share of the vote that each class gets: `float32 [query, class]`, rows sum to one.

  Arguments and errors are those of `knn_predict`.
  """
  return np.concatenate(
    list(
      _vote_chunks(bank, bank_labels, queries, k, temperature, num_classes, chunk_size, shares=True)
    )
  )[: len(queries)]


def knn_predict(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  *,
  k: int = 200,
  temperature: float = 0.07,
  num_classes: int | None = None,
  chunk_size: int = 1024,
) -> np.ndarray:
  """The class with the largest vote among the `k` nearest neighbours, for every query.

  Features are L2-normalised and compared in float32. Of classes with equal votes the lowest wins.
  Everything is compiled once a shape; the last chunk of queries is filled up to the common size.

  Args:
    bank: `[bank, dim]` features with known labels, of any dtype, on the host or on the device.
    bank_labels: `int [bank]`, from 0.
    queries: `[query, dim]`.
    k: neighbours that vote, between 1 and the size of the bank.
    temperature: positive; a neighbour's weight is exp(cosine / temperature).
    num_classes: the number of classes; by default the largest label plus one.
    chunk_size: queries handled at once; memory is O(chunk_size x bank).

  Returns:
    `int32 [query]`.

  Raises:
    ValueError: labels are absent or do not fit the bank, shapes differ, a feature is not finite, or
      `k`, `temperature`, `num_classes` or `chunk_size` is out of range.
  """
  return np.concatenate(
    list(
      _vote_chunks(
        bank, bank_labels, queries, k, temperature, num_classes, chunk_size, shares=False
      )
    )
  )[: len(queries)]


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
) -> float:
  """The fraction of queries, from 0 to 1, whose `knn_predict` class is their label.

  Query labels that no member of the bank carries count as wrong. Arguments and errors are those of
  `knn_predict`; `query_labels` is `int [query]`.
  """
  query_labels = _check_labels('query_labels', query_labels, 'queries', len(queries))
  predictions = knn_predict(
    bank,
    bank_labels,
    queries,
    k=k,
    temperature=temperature,
    num_classes=num_classes,
    chunk_size=chunk_size,
  )
  return float(np.mean(predictions == query_labels))


def _vote_chunks(
  bank: Any,
  bank_labels: Any,
  queries: Any,
  k: int,
  temperature: float,
  num_classes: int | None,
  chunk_size: int,
  *,
  shares: bool,
) -> Iterator[np.ndarray]:
  bank, queries = _check_features(bank, queries, k, chunk_size)
  labels = _check_labels('bank_labels', bank_labels, 'bank', len(bank))
  if not (np.isfinite(temperature) and temperature > 0):
    raise ValueError(f'temperature: found {temperature}, must be finite and greater than 0')
  classes = int(labels.max()) + 1
  if num_classes is not None:
    if num_classes < classes:
      raise ValueError(
        f'num_classes: found {num_classes}, must be at least {classes}, the largest label plus 1'
      )
    classes = num_classes

  unit_bank = _normalise(bank)
  device_labels = jnp.asarray(labels)
  for chunk in _chunks(queries, chunk_size):
    indices, similarities = _search(unit_bank, chunk, k)
    votes = _vote(indices, similarities, device_labels, np.float32(temperature), classes, shares)
    yield np.asarray(votes)


@jax.jit
def _normalise(features: jax.Array) -> jax.Array:
  features = features.astype(jnp.float32)
  # Scaled by the largest entry first: the squares of very large or small features leave float32.
  scale = jnp.max(jnp.abs(features), axis=1, keepdims=True)
  features = features / jnp.where(scale > 0, scale, 1)
  norm = jnp.linalg.norm(features, axis=1, keepdims=True)
  return features / jnp.where(norm > 0, norm, 1)


@functools.partial(jax.jit, static_argnames=('k',))
def _search(unit_bank: jax.Array, queries: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  # Compiled on its own: XLA's CPU compiler recognises top_k only where nothing else slices its
  # result, and sorts whole rows, twenty times slower, when this is inlined into the vote.
  # Full float32: the default of GPUs and TPUs keeps about three digits and reorders neighbours.
  similarities = jnp.matmul(_normalise(queries), unit_bank.T, precision='highest')
  values, indices = jax.lax.top_k(similarities, k)
  return indices, values


@functools.partial(jax.jit, static_argnames=('num_classes', 'shares'))
def _vote(
  indices: jax.Array,
  similarities: jax.Array,
  labels: jax.Array,
  temperature: jax.Array,
  num_classes: int,
  shares: bool,
) -> jax.Array:
  # Relative to the nearest neighbour, so that small temperatures do not overflow.
  weights = jnp.exp((similarities - similarities[:, :1]) / temperature)
  count = len(indices)
  rows = jnp.arange(count, dtype=jnp.int32)[:, None]
  votes = jnp.zeros((count, num_classes), jnp.float32).at[rows, labels[indices]].add(weights)
  if shares:
    return votes / jnp.sum(votes, axis=1, keepdims=True)
  return jnp.argmax(votes, axis=1).astype(jnp.int32)


def _chunks(queries: np.ndarray, chunk_size: int) -> Iterator[np.ndarray]:
  size = min(chunk_size, len(queries))
  for start in range(0, len(queries), size):
    chunk = queries[start : start + size]
    yield np.pad(chunk, ((0, size - len(chunk)), (0, 0)))


def _check_features(
  bank: Any, queries: Any, k: int, chunk_size: int
) -> tuple[np.ndarray, np.ndarray]:
  bank, queries = np.asarray(bank), np.asarray(queries)
  for name, features in (('bank', bank), ('queries', queries)):
    if features.ndim != 2 or 0 in features.shape:
      raise ValueError(f'{name}: found shape {features.shape}, must be [n, dim], neither of them 0')
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
      raise ValueError(
        f'{name}: found NaN or infinite features in {len(bad)} of {len(features)} rows '
        f'(first: row {bad[0]}), must be finite'
      )
  if bank.shape[1] != queries.shape[1]:
    raise ValueError(
      f'queries: found {queries.shape[1]} features a row, must be {bank.shape[1]} as in the bank'
    )
  if not 1 <= k <= len(bank):
    raise ValueError(f'k: found {k}, must be between 1 and {len(bank)}, the size of the bank')
  if chunk_size < 1:
    raise ValueError(f'chunk_size: found {chunk_size}, must be at least 1')
  return bank, queries


def _check_labels(name: str, labels: Any, of: str, count: int) -> np.ndarray:
  if labels is None:
    raise ValueError(f'{name}: found None, must be one integer for each row of {of}')
  labels = np.asarray(labels)
  if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f'{name}: found {labels.dtype} of shape {labels.shape}, must be integers of shape ({count},)'
    )
  if labels.min() < 0:
    raise ValueError(f'{name}: found {labels.min()}, must be 0 or greater')
  return labels.astype(np.int32)
