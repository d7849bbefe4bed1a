"""The inputs of the golden values of the truncated triplet loss, and a slow reference of it."""

import numpy as np


def sines(rows: int, columns: int, a: float, b: float, c: float) -> np.ndarray:
  i, j = np.mgrid[:rows, :columns]
  return np.sin(a * i + b * j + c)


def cosines(rows: int, columns: int, a: float, b: float, c: float) -> np.ndarray:
  i, j = np.mgrid[:rows, :columns]
  return np.cos(a * i + b * j + c)


G1 = (
  np.array([[1.0, 2, 2], [0, 3, 4], [2, -1, 2], [1, 0, -1]]),
  np.array([[2.0, 2, 1], [4, 3, 0], [2, -2, 1], [0, 1, -1]]),
)
G2 = sines(12, 4, 0.7, 1.3, 0.2), cosines(12, 4, 0.5, -0.9, 0.1)
G3 = sines(12, 4, 0.4, 1.1, 0.3), cosines(12, 4, 0.6, -0.8, 0.25)
G4 = sines(11, 5, 0.7, 1.3, 0.2), cosines(11, 5, 0.5, -0.9, 0.1)
G7 = sines(24, 4, 0.37, 1.3, 0.2), cosines(24, 4, 0.29, -0.9, 0.1)


def unit(rows: np.ndarray) -> np.ndarray:
  """Rows of length 1; zero rows stay zero."""
  norms = np.linalg.norm(rows, axis=-1, keepdims=True)
  return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def deputies(
  queries: np.ndarray, keys: np.ndarray, low: int, high: int, group_size: int | None = None
) -> np.ndarray:
  """For each unit query the mean unit key at ranks `low` to `high`, one row at a time."""
  size = group_size or len(keys)
  means = []
  for row, query in enumerate(queries):
    start = row // size * size
    others = [other for other in range(start, start + size) if other != row]
    hardest_first = sorted(others, key=lambda other: (-(query @ keys[other]), other))
    means.append(keys[hardest_first[low - 1 : high]].mean(axis=0))
  return np.stack(means)
