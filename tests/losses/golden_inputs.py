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
