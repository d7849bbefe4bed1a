"""Histograms of cosines: of views of an image, of images of a class, and of different classes."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import check_whole

_KINDS = ('same_image', 'same_class', 'other_class')


@dataclasses.dataclass(frozen=True)
class SimilarityHistograms:
  """What `similarity_histograms` measures. Means and deviations are of the cosines, not of bins.

  Attributes:
    edges: `float64 [bins + 1]`, evenly from -1 to 1.
    same_image: `int64 [bins]`, pairs of different views of one image.
    same_class: `int64 [bins]`, pairs of views of different images of one class.
    other_class: `int64 [bins]`, pairs of views of images of different classes.
    same_image_mean: the mean cosine; NaN where there is no such pair, as are all of these.
    same_class_mean: as above.
    other_class_mean: as above.
    same_image_std: the standard deviation of the cosines.
    same_class_std: as above.
    other_class_std: as above.
  """

  edges: np.ndarray
  same_image: np.ndarray
  same_class: np.ndarray
  other_class: np.ndarray
  same_image_mean: float
  same_class_mean: float
  other_class_mean: float
  same_image_std: float
  same_class_std: float
  other_class_std: float

  def densities(self) -> dict[str, np.ndarray]:
    """The histograms with area 1, by name: `float64 [bins]`; 0 where there is no pair."""
    width = self.edges[1] - self.edges[0]
    counts = {kind: getattr(self, kind) for kind in _KINDS}
    return {kind: found / (max(np.sum(found), 1) * width) for kind, found in counts.items()}


def similarity_histograms(
  features: Any, labels: Any, *, bins: int = 100, chunk_size: int = 512
) -> SimilarityHistograms:
  """How similar views of one image, images of one class and images of different classes are.

  Every pair of rows counts once. A bin holds its lower edge, the last one both.

  Source: reconstructed, after the same-class cosine histograms of Nozawa and Sato, NeurIPS 2021.

  >>> views = [[[1.0, 0], [1, 0]], [[0, 1], [0, 2]], [[-1, 0], [-3, 0]]]
  >>> found = similarity_histograms(views, [0, 0, 1], bins=4)
  >>> print(found.same_image, found.same_class, found.other_class)
  [0 0 0 3] [0 0 4 0] [4 0 4 0]
  >>> print(found.same_image_mean, found.other_class_mean)
  1.0 -0.5

  Args:
    features: `[image, view, dim]`, or `[n, dim]` for one view, of any real dtype; a zero row has
      cosine 0 to every row. With one view there is no pair of the same image.
    labels: `int [image]`, 0 or greater; used to measure only.
    bins: of equal width.
    chunk_size: rows whose cosines to all rows are held at once: memory is
      O(chunk_size x rows + rows x dim).

  Returns:
    Counts of pairs, their means and standard deviations, see `SimilarityHistograms`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, or `bins` or
      `chunk_size` is not positive.
  """
  views = _as_views(features)
  classes = Classes.of(labels, len(views))
  bins = check_whole('bins', bins)
  chunk_size = check_whole('chunk_size', chunk_size)
  images, per_image, _ = views.shape
  rows = geometry.l2_normalize(views).reshape(images * per_image, -1)
  image_of = np.repeat(np.arange(images), per_image)
  class_of = np.repeat(classes.codes, per_image)

  image, own, other = _Tally(bins), _Tally(bins), _Tally(bins)
  for start in range(0, len(rows), chunk_size):
    chunk = slice(start, start + chunk_size)
    # Only rows that come later: each pair is met once.
    cosines = rows[chunk] @ rows[start:].T
    np.clip(cosines, -1, 1, out=cosines)
    later = np.arange(len(rows) - start) > np.arange(len(cosines))[:, None]
    same_image = image_of[chunk, None] == image_of[start:]
    same_class = class_of[chunk, None] == class_of[start:]
    image.add(cosines[later & same_image])
    own.add(cosines[later & same_class & ~same_image])
    other.add(cosines[later & ~same_class])
  return SimilarityHistograms(
    edges=np.linspace(-1, 1, bins + 1),
    same_image=image.counts,
    same_class=own.counts,
    other_class=other.counts,
    same_image_mean=image.mean,
    same_class_mean=own.mean,
    other_class_mean=other.mean,
    same_image_std=image.deviation,
    same_class_std=own.deviation,
    other_class_std=other.deviation,
  )


class _Tally:
  """Counts, mean and variance of values that come in parts."""

  def __init__(self, bins: int):
    self.counts = np.zeros(bins, np.int64)
    self._total = 0
    self._mean = 0.0
    self._scatter = 0.0

  def add(self, values: np.ndarray) -> None:
    if not len(values):
      return
    self.counts += np.histogram(values, bins=len(self.counts), range=(-1, 1))[0]
    # Means first, then what is left of them: sums of squares alone would cancel where all agree.
    mean, total = float(np.mean(values)), self._total + len(values)
    shift = mean - self._mean
    self._scatter += float(np.sum(np.square(values - mean)))
    self._scatter += shift**2 * self._total * len(values) / total
    self._mean += shift * len(values) / total
    self._total = total

  @property
  def mean(self) -> float:
    return self._mean if self._total else math.nan

  @property
  def deviation(self) -> float:
    return math.sqrt(self._scatter / self._total) if self._total else math.nan


def _as_views(features: Any) -> np.ndarray:
  """`float64 [image, view, dim]`, also of one view."""
  array = np.asarray(features)
  if array.ndim == 2:
    return arguments.as_features(array, ndim=2)[:, None]
  if array.ndim == 3 and array.shape[1] == 1:
    return arguments.as_features(array[:, 0], ndim=2)[:, None]
  return arguments.as_features(array, ndim=3)
