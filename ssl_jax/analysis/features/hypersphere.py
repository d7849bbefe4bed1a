"""Alignment and uniformity of unit features: the two halves of a contrastive loss."""

from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.arguments import ArgumentError, check_number, check_whole


def alignment(features: Any) -> float:
  """The mean of |z - z'|^2 over pairs of different views z, z' of an image, of unit length.

  From 0, where views of an image coincide, to 4. Read it with `uniformity`: features that have
  collapsed are aligned.

  Source: Wang and Isola, ICML 2020, with exponent 2.

  >>> print(alignment([[[1.0, 0], [0, 3]], [[2, 0], [1, 0]]]))
  1.0

  Args:
    features: `[image, view, dim]` of any real dtype, two or more views; rows are normalized, zero
      rows stay zero.

  Returns:
    The mean over images and pairs of views.

  Raises:
    ValueError: the shape is another one, or a feature is not finite.
  """
  views = geometry.l2_normalize(arguments.as_features(features, ndim=3))
  # Over all pairs, the mean is twice the variance that divides by one view less. The first view is
  # subtracted before, so that equal views give an exact 0.
  offsets = views - views[:, :1]
  offsets -= np.mean(offsets, axis=1, keepdims=True)
  variances = np.sum(geometry.squared_norms(offsets), axis=1) / (views.shape[1] - 1)
  return float(2 * np.mean(variances))


def uniformity(features: Any, *, scale: float = 2.0, chunk_size: int = 1024) -> float:
  """The logarithm of the mean of exp(-scale |z_i - z_j|^2) over pairs i < j of unit rows.

  0 where all rows coincide, and lower the more evenly they cover the sphere. Images of several
  views are measured a view at a time, and their uniformities averaged.

  Source: Wang and Isola, ICML 2020.

  >>> print(f'{uniformity([[1.0, 0], [-1, 0]]):.6f}')
  -8.000000

  Args:
    features: `[n, dim]` of any real dtype, two or more rows; rows are normalized. A zero row counts
      as a unit one that is orthogonal to all others, as in `losses.uniformity`.
    scale: t, positive.
    chunk_size: rows whose distances to all rows are held at once: memory is
      O(chunk_size x n + n x dim).

  Returns:
    The logarithm; it does not underflow, however large `scale` is.

  Raises:
    ValueError: the shape is another one, there is a single row, a feature is not finite, or `scale`
      or `chunk_size` is out of its range.
  """
  rows = arguments.as_features(features, ndim=2)
  scale = check_number('scale', scale, above=0)
  chunk_size = check_whole('chunk_size', chunk_size)
  count = len(rows)
  if count < 2:
    raise ArgumentError('features', '1 row', 'at least 2')
  rows = geometry.l2_normalize(rows)
  # What a zero row lacks to distances of sqrt(2).
  lacking = (geometry.squared_norms(rows) == 0).astype(np.float64)
  rows = geometry.centered(rows)
  logs = []
  for start, squared in geometry.squared_distances(rows, chunk_size):
    at = np.arange(len(squared))
    squared += lacking + lacking[start : start + len(squared), None]
    squared[at, start + at] = np.inf
    closest = np.min(squared)
    squared -= closest
    squared *= -scale
    logs.append(np.log(np.sum(np.exp(squared, out=squared))) - scale * closest)
  return float(np.logaddexp.reduce(logs) - np.log(count * (count - 1)))
