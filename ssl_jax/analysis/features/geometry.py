"""Normalized rows, and distances between all pairs of rows, a chunk at a time."""

from collections.abc import Iterator

import numpy as np


def l2_normalize(vectors: np.ndarray) -> np.ndarray:
  """The vectors along the last axis at length 1; zero vectors stay zero."""
  # Scaled first, since the squares of very large or small numbers leave float64; by a power of two,
  # which is exact: vectors of unit length stay as they are.
  _, exponent = np.frexp(np.max(np.abs(vectors), axis=-1, keepdims=True))
  vectors = np.ldexp(vectors, -exponent)
  norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / np.where(norm > 0, norm, 1)


def centered(rows: np.ndarray) -> np.ndarray:
  """The rows minus their mean, which changes no distance; equal rows become exact zeros."""
  rows = rows - rows[:1]
  return rows - np.mean(rows, axis=0)


def squared_norms(rows: np.ndarray) -> np.ndarray:
  """`|x|^2` along the last axis."""
  return np.einsum('...d,...d->...', rows, rows)


def squared_distances(rows: np.ndarray, chunk_size: int) -> Iterator[tuple[int, np.ndarray]]:
  """Squared Euclidean distances of all rows to all rows, from matrix products.

  Their error is about 1e-15 of the squared norms, so the rows should be centered.

  Yields:
    The first row of a chunk, and `float64 [chunk, n]`; the diagonal is exactly 0.
  """
  squares = squared_norms(rows)
  for start in range(0, len(rows), chunk_size):
    chunk = rows[start : start + chunk_size]
    squared = chunk @ rows.T
    squared *= -2
    squared += squares
    squared += squares[start : start + chunk_size, None]
    np.maximum(squared, 0, out=squared)
    squared[np.arange(len(chunk)), np.arange(start, start + len(chunk))] = 0
    yield start, squared
