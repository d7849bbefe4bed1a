"""Prototype representation bias: the distance of the mean of an image's views to its class mean."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import ArgumentError

# Unit features leave rounding of this size in a variance that is zero.
_ROUNDING = 1e-28


@dataclasses.dataclass(frozen=True)
class BiasAverages:
  """Averages over images of unit features g; m is the mean of an image, μ that of its class.

  Attributes:
    squared: E|m - μ|^2, the primary metric: what attraction to other views of the image costs
      against attraction to the class.
    l2: E|m - μ|.
    unit_l2: E|m/|m| - μ/|μ||.
    cosine: E[1 - cos(m, μ)].
    squared_unbiased: `squared` of infinitely many images and views, estimated without bias; may be
      negative.
    augmentation_variance: E|g - m|^2.
    class_energy: E|μ|^2; with `squared` and `augmentation_variance` it makes 1.
    instance_energy: E|m|^2, the sum of `class_energy` and `squared`.
    share: squared / (squared + class_energy - |E g|^2), the share of the variance between images
      that is not between classes; a collapsed representation cannot lower it. 0 where all images
      coincide.
  """

  squared: float
  l2: float
  unit_l2: float
  cosine: float
  squared_unbiased: float
  augmentation_variance: float
  class_energy: float
  instance_energy: float
  share: float


@dataclasses.dataclass(frozen=True)
class PrototypeBias(BiasAverages):
  """What `prototype_bias` measures: averages in which every image weighs the same.

  Attributes:
    macro: the same averages with equal weight for every class; |E g|^2 is then that of the mean of
      class means. To be read on long-tailed data.
    single_image_classes: how many classes with one image `squared_unbiased` leaves out.
  """

  macro: BiasAverages
  single_image_classes: int


def prototype_bias(features: Any, labels: Any) -> PrototypeBias:
  """The distance between the mean of an image's views and the mean of its class.

  The unbiased estimate of class k, with n images of V views, is
  `n/(n-1) mean|m - μ|^2 - S/V`, where `S = sum|g - m|^2 / (n (V-1))`. This equals the mean
  similarity of different views of one image minus that of views of different images of the class.

  Source: Lee, TMLR 2025 (arXiv 2510.10572); the norms and the estimator are reconstructed.

  >>> views = [[[1.0, 0], [1, 0]], [[0, 1], [0, 1]], [[0, -1], [0, -1]], [[-1, 0], [-1, 0]]]
  >>> bias = prototype_bias(views, labels=[0, 0, 1, 1])
  >>> print(f'{bias.squared:.2f} {bias.share:.2f} {bias.squared_unbiased:.2f}')
  0.50 0.50 1.00

  Args:
    features: `[image, view, dim]` of any real dtype, two or more views; rows are normalized, zero
      rows stay zero (and lower the three energies' sum below 1).
    labels: `int [image]`, 0 or greater; used to measure only.

  Returns:
    The averages, see `PrototypeBias` and `BiasAverages`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, or no class has
      two images.
  """
  views = geometry.l2_normalize(arguments.as_features(features, ndim=3))
  classes = Classes.of(labels, len(views))
  if np.all(classes.counts == 1):
    raise ArgumentError(
      'labels', f'{len(classes)} classes in {len(views)} images', 'a class with at least 2 images'
    )
  images = np.mean(views, axis=1)
  means = classes.means(images)
  prototypes = means[classes.codes]
  squared = geometry.squared_norms(images - prototypes)
  unit_images, unit_prototypes = geometry.l2_normalize(images), geometry.l2_normalize(prototypes)

  by_class = {
    'squared': classes.means(squared),
    'l2': classes.means(np.sqrt(squared)),
    'unit_l2': classes.means(np.linalg.norm(unit_images - unit_prototypes, axis=-1)),
    'cosine': classes.means(1 - np.sum(unit_images * unit_prototypes, axis=-1)),
    'augmentation_variance': classes.means(
      np.mean(geometry.squared_norms(views - images[:, None]), axis=1)
    ),
    'class_energy': geometry.squared_norms(means),
    'instance_energy': classes.means(geometry.squared_norms(images)),
  }
  several = classes.counts > 1
  counts, view_count = classes.counts[several], views.shape[1]
  unbiased = counts / (counts - 1) * by_class['squared'][several]
  # S/V, with S from the variance that divides by V instead of V - 1.
  unbiased = unbiased - by_class['augmentation_variance'][several] / (view_count - 1)

  def averages(weights: np.ndarray) -> dict[str, float]:
    between = float(weights @ geometry.squared_norms(means - weights @ means))
    found = {name: float(weights @ values) for name, values in by_class.items()}
    variance = found['squared'] + between
    found['share'] = found['squared'] / variance if variance > _ROUNDING else 0.0
    found['squared_unbiased'] = float(np.average(unbiased, weights=weights[several]))
    return found

  equal = np.full(len(classes), 1 / len(classes))
  return PrototypeBias(
    **averages(classes.shares),
    macro=BiasAverages(**averages(equal)),
    single_image_classes=int(np.sum(~several)),
  )
