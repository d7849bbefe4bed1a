"""Bounds on the risk of a mean classifier by the variance of features within classes."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import check_number, check_whole


@dataclasses.dataclass(frozen=True)
class ClassificationRiskBounds:
  """What `classification_risk_bounds` measures.

  Features z of views; m is the mean of an image's views, μ of a class; T the temperature, y the
  class of z.

  Attributes:
    augmentation_variance: E|z - m|^2, all that an alignment objective sees.
    instance_variance: E|m - μ_y|^2, which no alignment of views lowers: the crowding term.
    intra_class_variance: E|z - μ_y|^2, the sum of the two.
    view_pair_distance: the mean of |z - z'|^2 over different views of an image;
      2 V/(V-1) times `augmentation_variance` for V views.
    class_mean_distance: Δ, the largest |μ_k - μ_l|.
    lower_bound: C = E_y log sum_k exp(μ_y.(μ_k - μ_y)/T), the risk of classes without variance.
    risk: E[log sum_k exp(z.μ_k/T) - z.μ_y/T], the cross-entropy of the mean classifier.
    second_order_bound: C + Δ^2 intra_class_variance / (8 T^2).
    first_order_bound: C + Δ sqrt(intra_class_variance) / T.
  """

  augmentation_variance: float
  instance_variance: float
  intra_class_variance: float
  view_pair_distance: float
  class_mean_distance: float
  lower_bound: float
  risk: float
  second_order_bound: float
  first_order_bound: float


def classification_risk_bounds(
  features: Any, labels: Any, temperature: float, *, chunk_size: int = 1024
) -> ClassificationRiskBounds:
  """The risk of the mean classifier between bounds that separate alignment from crowding.

  Expectations are averages over the images and views given. Then, up to rounding,
  `lower_bound <= risk <= second_order_bound` and `risk <= first_order_bound`: log-sum-exp is convex
  and curves at most as the squared range of the logits over 4.

  Source: reconstructed after the DSA paper's crowding problem; the paper's own theorem is not known
  to us.

  >>> views = [[[2.0, 0], [2, 1]], [[-2, 0], [-2, 1]]]
  >>> bounds = classification_risk_bounds(views, labels=[0, 1], temperature=4.0)
  >>> print(f'{bounds.lower_bound:.3f} <= {bounds.risk:.3f} <= {bounds.second_order_bound:.3f}')
  0.127 <= 0.127 <= 0.158

  Args:
    features: `[image, view, dim]` of any real dtype, two or more views; used as they are.
    labels: `int [image]`, 0 or greater; used to measure only.
    temperature: T > 0.
    chunk_size: views whose logits are held at once: memory is O(chunk_size x class).

  Returns:
    The variances, the risk and its bounds, see `ClassificationRiskBounds`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, or a number is
      not positive.
  """
  views = arguments.as_features(features, ndim=3)
  classes = Classes.of(labels, len(views))
  temperature = check_number('temperature', temperature, above=0)
  chunk_size = check_whole('chunk_size', chunk_size)

  images = np.mean(views, axis=1)
  means = classes.means(images)
  prototypes = means[classes.codes]
  augmentation = float(np.mean(geometry.squared_norms(views - images[:, None])))
  instance = float(np.mean(geometry.squared_norms(images - prototypes)))
  intra = float(np.mean(geometry.squared_norms(views - prototypes[:, None])))
  chunks = geometry.squared_distances(geometry.centered(means), chunk_size)
  distance = math.sqrt(max(np.max(squared) for _, squared in chunks))

  view_count = views.shape[1]
  rows = views.reshape(-1, views.shape[-1])
  codes = np.repeat(classes.codes, view_count)
  risks = _cross_entropies(rows, codes, means, temperature, chunk_size)
  separated = _cross_entropies(means, np.arange(len(means)), means, temperature, chunk_size)
  lower = float(classes.shares @ separated)
  return ClassificationRiskBounds(
    augmentation_variance=augmentation,
    instance_variance=instance,
    intra_class_variance=intra,
    view_pair_distance=2 * view_count / (view_count - 1) * augmentation,
    class_mean_distance=distance,
    lower_bound=lower,
    risk=float(np.mean(risks)),
    second_order_bound=lower + (distance / temperature) ** 2 * intra / 8,
    first_order_bound=lower + distance * math.sqrt(intra) / temperature,
  )


def _cross_entropies(
  rows: np.ndarray, codes: np.ndarray, means: np.ndarray, temperature: float, chunk_size: int
) -> np.ndarray:
  """log sum_k exp(z.μ_k/T) - z.μ_y/T for every row z of class y: `[row]`."""
  parts = []
  for start in range(0, len(rows), chunk_size):
    chunk, own = rows[start : start + chunk_size], codes[start : start + chunk_size]
    logits = chunk @ means.T / temperature
    logits -= logits[np.arange(len(chunk)), own][:, None]
    largest = np.max(logits, axis=1)
    parts.append(largest + np.log(np.sum(np.exp(logits - largest[:, None]), axis=1)))
  return np.concatenate(parts)
