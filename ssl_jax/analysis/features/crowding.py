"""Crowding: the spread of features within classes over the distance between classes."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import ArgumentError, check_whole

_NEIGHBORS = 5


@dataclasses.dataclass(frozen=True)
class Crowding:
  """What `crowding` measures. Distances are Euclidean; m_c is the mean of class c, m of all rows.

  Attributes:
    intra_class_variance: V, the mean of |f - m_y|^2 over rows.
    inter_class_distance: the mean of |m_a - m_b| over pairs of classes.
    inter_class_distance_squared: the mean of |m_a - m_b|^2 over pairs of classes.
    crowding_ratio: V / inter_class_distance_squared, the headline; lower is better.
    scatter_within: the trace of the scatter within classes, which is V.
    scatter_between: the sum over classes of (n_c / n) |m_c - m|^2; with `scatter_within` it is the
      variance of all rows.
    scatter_ratio: scatter_within / scatter_between.
    same_class_distance: the mean distance of two different rows of one class.
    different_class_distance: the mean distance of two rows of different classes.
    distance_ratio: same_class_distance / different_class_distance.
    nearest_neighbor_error: the share of rows whose nearest other row is of another class.
    five_nn_accuracy: the share of rows that the majority of their five nearest other rows put into
      their class; equal votes go to the smallest label.
    silhouette: the mean of (b - a) / max(a, b), where a is a row's mean distance to the other rows
      of its class and b to those of the closest other class; 0 for the only row of a class.
  """

  intra_class_variance: float
  inter_class_distance: float
  inter_class_distance_squared: float
  crowding_ratio: float
  scatter_within: float
  scatter_between: float
  scatter_ratio: float
  same_class_distance: float
  different_class_distance: float
  distance_ratio: float
  nearest_neighbor_error: float
  five_nn_accuracy: float
  silhouette: float


def crowding(
  features: Any, labels: Any, *, normalize: bool = False, chunk_size: int = 1024
) -> Crowding:
  """How crowded the classes are in feature space.

  Of neighbors at the same distance, up to rounding, the one with the lowest index counts first. A
  ratio is infinite where classes coincide.

  Source: the metrics are a reconstruction after the DSA paper's crowding problem, whose own
  definitions are not known to us; the silhouette is that of Rousseeuw, 1987.

  >>> found = crowding([[0.0, 0], [2, 0], [0, 3], [2, 3]], [0, 0, 1, 1])
  >>> print(found.intra_class_variance, found.inter_class_distance, found.nearest_neighbor_error)
  1.0 3.0 0.0

  Args:
    features: `[n, dim]` of any real dtype.
    labels: `int [n]`, 0 or greater; used to measure only.
    normalize: whether rows are brought to unit length first; zero rows stay zero.
    chunk_size: rows whose distances to all rows are held at once: memory is
      O(chunk_size x n + n x dim).

  Returns:
    The metrics, see `Crowding`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, every class has
      a single row, or `chunk_size` is not positive.
  """
  rows = arguments.as_features(features, ndim=2)
  classes = Classes.of(labels, len(rows))
  chunk_size = check_whole('chunk_size', chunk_size)
  if len(classes) == len(rows):
    raise ArgumentError(
      'labels', f'{len(classes)} classes in {len(rows)} rows', 'a class with at least 2 rows'
    )
  rows = geometry.centered(geometry.l2_normalize(rows) if normalize else rows)

  means = classes.means(rows)
  within = float(np.mean(geometry.squared_norms(rows - means[classes.codes])))
  between = float(np.sum(classes.shares * geometry.squared_norms(means)))
  apart, apart_squared = _mean_distances(means, chunk_size)
  same, different, error, accuracy, silhouette = _pair_meters(rows, classes, chunk_size)
  return Crowding(
    intra_class_variance=within,
    inter_class_distance=apart,
    inter_class_distance_squared=apart_squared,
    crowding_ratio=_ratio(within, apart_squared),
    scatter_within=within,
    scatter_between=between,
    scatter_ratio=_ratio(within, between),
    same_class_distance=same,
    different_class_distance=different,
    distance_ratio=_ratio(same, different),
    nearest_neighbor_error=error,
    five_nn_accuracy=accuracy,
    silhouette=silhouette,
  )


def _mean_distances(means: np.ndarray, chunk_size: int) -> tuple[float, float]:
  """The mean distance, and mean squared distance, over pairs of different rows."""
  count = len(means)
  means = geometry.centered(means)
  total = sum(np.sum(np.sqrt(part)) for _, part in geometry.squared_distances(means, chunk_size))
  squared = 2 * np.sum(geometry.squared_norms(means)) / (count - 1)
  return float(total / (count * (count - 1))), float(squared)


def _pair_meters(rows: np.ndarray, classes: Classes, chunk_size: int) -> tuple[float, ...]:
  """The five metrics that need all distances, from one pass over them."""
  count, codes, counts = len(rows), classes.codes, classes.counts
  # Matrix products leave errors of this size: distances closer than it are equal.
  rounding = 1e-13 * np.max(geometry.squared_norms(rows))
  same = different = silhouettes = 0.0
  wrong = right = 0
  for start, squared in geometry.squared_distances(rows, chunk_size):
    at = np.arange(len(squared))
    own = codes[start : start + len(squared)]
    size = counts[own]

    sums = classes.sums(np.sqrt(squared), axis=1)
    to_own = sums[at, own]
    same += np.sum(to_own)
    different += np.sum(sums) - np.sum(to_own)
    others = sums / counts
    others[at, own] = np.inf
    closest = np.min(others, axis=1)
    inside = to_own / np.maximum(size - 1, 1)
    largest = np.maximum(inside, closest)
    values = (closest - inside) / np.where(largest > 0, largest, 1)
    silhouettes += np.sum(np.where(size > 1, values, 0))

    squared[at, start + at] = np.inf
    wrong += np.sum(codes[_nearest(squared, 1, rounding)[:, 0]] != own)
    voters = codes[_nearest(squared, min(_NEIGHBORS, count - 1), rounding)]
    votes = np.zeros((len(squared), len(classes)), np.int32)
    np.add.at(votes, (at[:, None], voters), 1)
    right += np.sum(np.argmax(votes, axis=1) == own)

  same_pairs = np.sum(counts * (counts - 1))
  different_pairs = count * (count - 1) - same_pairs
  return (
    float(same / same_pairs),
    float(different / different_pairs),
    float(wrong / count),
    float(right / count),
    float(silhouettes / count),
  )


def _nearest(squared: np.ndarray, k: int, rounding: float) -> np.ndarray:
  """The columns of the `k` least entries of each row; equal ones count from the left."""
  bound = np.partition(squared, k - 1, axis=1)[:, k - 1 : k]
  nearer = squared < bound - rounding
  tied = (squared <= bound + rounding) & ~nearer
  room = k - np.sum(nearer, axis=1, keepdims=True)
  chosen = nearer | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= room))
  return np.nonzero(chosen)[1].reshape(len(squared), k)


def _ratio(numerator: float, denominator: float) -> float:
  return numerator / denominator if denominator > 0 else float('inf')
