"""The nearest-neighbour figure that ICCL logs during training, for parity of logs only."""

from typing import Any

import numpy as np

from ssl_jax.evaluation.knn import nearest_neighbours


def online_knn5(features: Any, labels: Any, *, k: int = 5, chunk_size: int = 1024) -> float:
  """ICCL's `KNN-5`: the mean share of a row's own class among the `k` rows most similar to it.

  The row itself is one of the `k` and counts as wrong, so the figure ends at 1 - 1/k, 0.8 for five.
  It is taken within one (validation) set and cannot be compared with the accuracy of `knn_predict`.

  Source: the released code of ICCL.

  >>> import numpy as np
  >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
  >>> print(online_knn5(features, np.array([0, 0, 1, 1]), k=2))
  0.5

  Args:
    features: `[n, dim]`, numbers of any dtype; compared by cosine in float32.
    labels: `int [n]`.
    k: rows that count, the row itself among them, between 1 and n.
    chunk_size: rows handled at once; memory is O(chunk_size x n).

  Returns:
    The share, from 0 to 1 - 1/k.

  Raises:
    ValueError: shapes do not fit, labels are absent or not integers, a feature is not finite, or
      `k` or `chunk_size` is out of range.
  """
  features, classes = _check(features, labels, k)
  neighbours, _ = nearest_neighbours(features, features, k, chunk_size=chunk_size)
  others = neighbours != np.arange(len(features))[:, None]
  # Where copies of a row crowd it out of its own neighbours, the last of them makes room for it.
  others[others.all(axis=1), -1] = False
  return float(np.mean((classes[neighbours] == classes[:, None]) & others))


def _check(features: Any, labels: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
  features = np.asarray(features)
  if features.ndim != 2 or 0 in features.shape:
    raise ValueError(f'features: found shape {features.shape}, must be [n, dim], neither of them 0')
  bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if len(bad):
    raise ValueError(f'features: found NaN or infinite values in row {bad[0]}, must be finite')
  classes = np.asarray(labels)
  if classes.shape != (len(features),) or not np.issubdtype(classes.dtype, np.integer):
    found = 'None' if labels is None else f'{classes.dtype} of shape {classes.shape}'
    raise ValueError(f'labels: found {found}, must be integers of shape ({len(features)},)')
  if not 1 <= k <= len(features):
    raise ValueError(f'k: found {k}, must be between 1 and {len(features)}, the number of rows')
  return features, classes
