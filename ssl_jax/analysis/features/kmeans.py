"""k-means clusters of features."""

import warnings
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.arguments import ArgumentError, check_whole


def kmeans(
  features: Any, clusters: int, *, restarts: int = 10, max_iterations: int = 300, seed: int = 0
) -> np.ndarray:
  """The clusters of Lloyd's algorithm from k-means++, the best of some restarts.

  The best is that of least inertia, the sum of squared distances of rows to the mean of their
  cluster. The same arguments give the same clusters: the work is done in one thread, in float64.
  An iteration costs 2 x n x dim x `clusters` operations.

  Source: Lloyd, 1982; Arthur and Vassilvitskii, SODA 2007; by scikit-learn.

  >>> found = kmeans([[0.0], [1], [10], [11]], 2)
  >>> print(found[0] == found[1], found[1] == found[2], found[2] == found[3])
  True False True

  Args:
    features: `[n, dim]` of any real dtype, as they are; normalize before to cluster by cosine.
    clusters: K, from 1 to n. Fewer are found where fewer rows are different.
    restarts: runs from other centers.
    max_iterations: of one run, which ends before where centers rest.
    seed: of the first centers, from 0 to 2^32 - 1.

  Returns:
    `int64 [n]`, the cluster of each row, from 0.

  Raises:
    ValueError: the shape is another one, a feature is not finite, or a number is out of its range.
  """
  rows = arguments.as_features(features, ndim=2)
  number = check_whole('clusters', clusters)
  restarts = check_whole('restarts', restarts)
  max_iterations = check_whole('max_iterations', max_iterations)
  seed = check_whole('seed', seed, 0)
  if number > len(rows):
    raise ArgumentError('clusters', clusters, f'at most {len(rows)}, the number of rows')
  if seed >= 2**32:
    raise ArgumentError('seed', seed, 'below 2^32')

  from sklearn.cluster import KMeans
  from sklearn.exceptions import ConvergenceWarning
  from threadpoolctl import threadpool_limits

  search = KMeans(
    number, init='k-means++', n_init=restarts, max_iter=max_iterations, random_state=seed
  )
  # One thread: with several, sums and thereby the clusters would depend on their number.
  with threadpool_limits(1), warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # of rows that coincide
    return search.fit_predict(rows).astype(np.int64)
