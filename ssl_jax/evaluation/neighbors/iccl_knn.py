"""ICCL's `KNN-5`: the share of a row's own class among its five nearest rows, itself included."""

from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.neighbors.search import nearest_neighbors


def iccl_knn5(features: Any, labels: Any, *, k: int = 5, chunk_size: int | None = None) -> float:
  """ICCL's `KNN-5`: the mean share of a row's own class among the `k` rows most similar to it.

  The row itself is one of the `k` and counts as wrong, so the figure ends at 1 - 1/k, 0.8 for five.
  It is taken within one (validation) set and cannot be compared with the accuracy of `knn_predict`.

  Source: the released code of ICCL.

  >>> import numpy as np
  >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
  >>> print(iccl_knn5(features, np.array([0, 0, 1, 1]), k=2))
  0.5

  Args:
    features: `[n, dim]`, numbers of any dtype; compared by cosine in float32.
    labels: `int [n]`, 0 or greater.
    k: rows that count, the row itself among them, at most n.
    chunk_size: rows handled at once, by default as in `nearest_neighbors`; memory is
      O(chunk_size x n).

  Returns:
    The share, from 0 to 1 - 1/k.

  Raises:
    ValueError: shapes do not fit, labels are absent or not integers, a feature is not finite, or
      `k` or `chunk_size` is out of range.
  """
  features = check_rows('features', features)
  classes = check_labels('labels', labels, 'features', len(features))
  check_whole('k', k)
  if k > len(features):
    raise ArgumentError('k', k, f'at most {len(features)}, the number of rows')
  neighbors, _ = nearest_neighbors(features, features, k, chunk_size=chunk_size)
  others = neighbors != np.arange(len(features))[:, None]
  # Where copies of a row crowd it out of its own neighbors, the last of them makes room for it.
  others[others.all(axis=1), -1] = False
  return float(np.mean((classes[neighbors] == classes[:, None]) & others))
