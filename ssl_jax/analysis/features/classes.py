"""Rows grouped by their label: sums and means over each class without a loop over classes."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.arguments import ArgumentError


@dataclasses.dataclass(frozen=True)
class Classes:
  """A partition of rows into two or more classes, numbered from 0 in the order of their labels."""

  codes: np.ndarray  # int64 [n]: the class of each row
  counts: np.ndarray  # int64 [class]: rows of each class
  order: np.ndarray  # int64 [n]: the rows, sorted by class

  @classmethod
  def of(cls, labels: Any, count: int) -> 'Classes':
    """The classes of the labels of `count` rows.

    Raises:
      ValueError: labels are absent, unfit, or all the same.
    """
    values = arguments.as_labels('labels', labels, count)
    present, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(present) < 2:
      raise ArgumentError('labels', f'the single class {present[0]}', 'at least 2 classes')
    return cls(codes, counts, np.argsort(codes, kind='stable'))

  def __len__(self) -> int:
    return len(self.counts)

  @property
  def shares(self) -> np.ndarray:
    """The share of rows in each class: `float64 [class]`."""
    return self.counts / len(self.codes)

  def sums(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The sum over each class of an axis that runs over rows."""
    first = np.cumsum(self.counts) - self.counts
    return np.add.reduceat(np.take(values, self.order, axis=axis), first, axis=axis)

  def means(self, values: np.ndarray) -> np.ndarray:
    """The mean over each class of `[n, ...]`: `[class, ...]`."""
    counts = self.counts.reshape((-1,) + (1,) * (values.ndim - 1))
    return self.sums(values) / counts
