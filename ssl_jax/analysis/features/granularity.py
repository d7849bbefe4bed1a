"""Under- and over-clustering: homogeneity and completeness of k-means with few to many clusters."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.analysis.features.clusters import ClusteringScores, clustering_scores
from ssl_jax.analysis.features.kmeans import kmeans
from ssl_jax.arguments import ArgumentError, check_number


@dataclasses.dataclass(frozen=True)
class ClusterLevel(ClusteringScores):
  """The scores of one number of clusters.

  Attributes:
    clusters: K, as asked for; fewer are found where fewer rows are different.
    inertia: the sum of squared distances of rows to the mean of their cluster.
  """

  clusters: int
  inertia: float


@dataclasses.dataclass(frozen=True)
class Granularity:
  """What `cluster_granularity` measures.

  Attributes:
    rows: the scores of each number of clusters, in the order of `factors`.
    same_class_cosine: the mean cosine of two different rows of one class.
    different_class_cosine: the mean cosine of two rows of different classes.
  """

  rows: tuple[ClusterLevel, ...]
  same_class_cosine: float
  different_class_cosine: float


def cluster_granularity(
  features: Any,
  labels: Any,
  *,
  factors: Sequence[float] = (0.5, 1.0, 2.0, 10.0),
  restarts: int = 10,
  max_iterations: int = 300,
  seed: int = 0,
  normalize: bool = True,
) -> Granularity:
  """How k-means with fewer and with more clusters than classes relates to classes.

  How to read it, against another representation of the same images. Under-clustering (images of
  different classes lie together): homogeneity and purity are lower, also with many clusters, and
  `different_class_cosine` is higher. Over-clustering (images of one class lie apart): completeness
  and `same_class_cosine` are lower. Compare the same K only: as K grows homogeneity rises and
  completeness falls of itself. The classes of a perfect representation are its clusters: at K = C
  all scores are 1.

  Source: reconstructed after the under- and over-clustering problem of Wang et al., ICCV 2021
  (truncated triplet loss), which gives no protocol.

  >>> rows = [[1.0, 0], [1, 0], [0, 1], [0, 2]]
  >>> found = cluster_granularity(rows, [0, 0, 1, 1], factors=(0.5, 1))
  >>> print([(row.clusters, row.accuracy) for row in found.rows])
  [(1, 0.5), (2, 1.0)]
  >>> print(found.same_class_cosine, found.different_class_cosine)
  1.0 0.0

  Args:
    features: `[n, dim]` of any real dtype.
    labels: `int [n]`, 0 or greater; used to measure only.
    factors: positive; for C classes, K is the whole number next to a factor times C (halves are
      rounded up), at least 1. A K above n is left out, and one that comes again.
    restarts: see `kmeans`.
    max_iterations: see `kmeans`.
    seed: see `kmeans`.
    normalize: whether rows are brought to unit length before they are clustered; zero rows stay
      zero. The cosines do not depend on it.

  Returns:
    The scores, see `Granularity`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, every class has
      a single row, a number is out of its range, or every K is above n.
  """
  rows = arguments.as_features(features, ndim=2)
  classes = Classes.of(labels, len(rows))
  if len(classes) == len(rows):
    raise ArgumentError(
      'labels', f'{len(classes)} classes in {len(rows)} rows', 'a class with at least 2 rows'
    )
  numbers = _numbers_of_clusters(factors, len(classes), len(rows))
  same, different = _mean_cosines(geometry.l2_normalize(rows), classes)
  rows = geometry.l2_normalize(rows) if normalize else rows
  levels = []
  for number in numbers:
    found = kmeans(rows, number, restarts=restarts, max_iterations=max_iterations, seed=seed)
    scores = clustering_scores(classes.codes, found)
    levels.append(
      ClusterLevel(**dataclasses.asdict(scores), clusters=number, inertia=_inertia(rows, found))
    )
  return Granularity(tuple(levels), same, different)


def _numbers_of_clusters(factors: Sequence[float], classes: int, count: int) -> list[int]:
  factors = [check_number('factors', factor, above=0) for factor in factors]
  numbers = dict.fromkeys(max(1, math.floor(factor * classes + 0.5)) for factor in factors)
  fitting = [number for number in numbers if number <= count]
  if not fitting:
    allowed = f'of at most {count} clusters for {classes} classes, the number of rows, one of them'
    raise ArgumentError('factors', factors, allowed)
  return fitting


def _mean_cosines(rows: np.ndarray, classes: Classes) -> tuple[float, float]:
  """The mean cosine of pairs of different rows, of one class and of different classes.

  From sums over classes: the squared length of a sum is the sum over all ordered pairs.
  """
  sums = classes.sums(rows)
  within = float(np.sum(geometry.squared_norms(sums)))
  itself = float(np.sum(geometry.squared_norms(rows)))
  between = float(geometry.squared_norms(np.sum(sums, axis=0))) - within
  same_pairs = int(np.sum(classes.counts * (classes.counts - 1)))
  different_pairs = len(rows) * (len(rows) - 1) - same_pairs
  return (within - itself) / same_pairs, between / different_pairs


def _inertia(rows: np.ndarray, clusters: np.ndarray) -> float:
  total = 0.0
  for cluster in np.unique(clusters):
    total += float(np.sum(geometry.squared_norms(geometry.centered(rows[clusters == cluster]))))
  return total
