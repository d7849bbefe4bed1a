"""A chain of inequalities from a supervised objective to a contrastive loss."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import check_number, check_whole


@dataclasses.dataclass(frozen=True)
class BoundChain:
  """What `bound_chain` measures, each group in the order in which it can only grow.

  Unit features g of views; m is the mean of an image's views, μ of a class; β the sharpness, s the
  cosine, y the class of g, π the shares of the classes.

  Attributes:
    attract_class_prototype: E[-s(g, μ_y)] = -E|μ_y|.
    attract_class_pairs: -E|μ_y|^2, minus the similarity of two views of one class.
    attract_image_prototype: E[-s(g, m)] = -E|m|.
    attract_image_pairs: -E|m|^2, minus the similarity of two views of one image.
    squared_bias: E|m - μ_y|^2 = attract_class_pairs - attract_image_pairs.
    prototype_gap: E|s(g, μ_y) - s(g, m)|.
    prototype_gap_bound: E|μ_y/|μ_y| - m/|m||.
    repel_hardest: E max over other classes of g.μ_k.
    repel_soft_maximum: E 1/β log sum over other classes of exp(β g.μ_k).
    repel_images: the same with the mean over a class of exp(β g.m) in place of exp(β g.μ_k).
    repel_views: the same with the mean over a class of exp(β g.g').
    repel_label_free: 1/β (E log of the mean over all views of exp(β g.g') + log 1/min π).
    supervised: attract_class_prototype + repel_weight x repel_hardest.
    contrastive: attract_image_pairs + repel_weight x (repel_label_free - 1/β log 1/min π), which
      needs no labels: the balanced contrastive loss.
    bound: contrastive + squared_bias + repel_weight / β x log 1/min π >= supervised.
  """

  attract_class_prototype: float
  attract_class_pairs: float
  attract_image_prototype: float
  attract_image_pairs: float
  squared_bias: float
  prototype_gap: float
  prototype_gap_bound: float
  repel_hardest: float
  repel_soft_maximum: float
  repel_images: float
  repel_views: float
  repel_label_free: float
  supervised: float
  contrastive: float
  bound: float


def bound_chain(
  features: Any,
  labels: Any,
  sharpness: float,
  *,
  repel_weight: float = 1.0,
  chunk_size: int = 1024,
) -> BoundChain:
  """Every step from the supervised objective with class prototypes to the contrastive loss.

  Expectations are averages over the images and views given, a view also with itself. Then, up to
  rounding, `attract_class_prototype <= attract_class_pairs = attract_image_pairs + squared_bias`,
  `attract_image_prototype <= attract_image_pairs`, `prototype_gap <= prototype_gap_bound`,
  `repel_hardest <= repel_soft_maximum <= repel_images <= repel_views <= repel_label_free`, and
  `supervised <= bound`, whatever the features.

  Source: Lee, TMLR 2025 (arXiv 2510.10572); the steps and their proofs are reconstructed.

  >>> views = [[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]]
  >>> chain = bound_chain(views, labels=[0, 1], sharpness=2.0)
  >>> print(f'{chain.supervised:.3f} <= {chain.bound:.3f}')
  -1.000 <= 0.063

  Args:
    features: `[image, view, dim]` of any real dtype, two or more views; rows are normalized, zero
      rows stay zero.
    labels: `int [image]`, 0 or greater; used to measure only.
    sharpness: β > 0, the inverse of the temperature.
    repel_weight: the weight > 0 of the repelling terms.
    chunk_size: views whose similarities to all views are held at once: memory is
      O(chunk_size x image x view).

  Returns:
    The terms, see `BoundChain`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, or a number is
      not positive.
  """
  raw = arguments.as_features(features, ndim=3)
  classes = Classes.of(labels, len(raw))
  sharpness = check_number('sharpness', sharpness, above=0)
  repel_weight = check_number('repel_weight', repel_weight, above=0)
  chunk_size = check_whole('chunk_size', chunk_size)

  views = geometry.l2_normalize(raw)
  images = np.mean(views, axis=1)
  means = classes.means(images)
  prototypes = means[classes.codes]
  unit_images, unit_prototypes = geometry.l2_normalize(images), geometry.l2_normalize(prototypes)
  to_class = np.einsum('ivd,id->iv', views, unit_prototypes)
  to_image = np.einsum('ivd,id->iv', views, unit_images)
  class_pairs = -float(np.mean(geometry.squared_norms(prototypes)))
  image_pairs = -float(np.mean(geometry.squared_norms(images)))
  squared_bias = float(np.mean(geometry.squared_norms(images - prototypes)))

  repel = _repel(views, images, means, classes, sharpness, chunk_size)
  rarest = math.log(1 / classes.shares.min()) / sharpness
  class_prototype = -float(np.mean(to_class))
  contrastive = image_pairs + repel_weight * (repel['repel_label_free'] - rarest)
  return BoundChain(
    attract_class_prototype=class_prototype,
    attract_class_pairs=class_pairs,
    attract_image_prototype=-float(np.mean(to_image)),
    attract_image_pairs=image_pairs,
    squared_bias=squared_bias,
    prototype_gap=float(np.mean(np.abs(to_class - to_image))),
    prototype_gap_bound=float(np.mean(np.linalg.norm(unit_images - unit_prototypes, axis=-1))),
    supervised=class_prototype + repel_weight * repel['repel_hardest'],
    contrastive=contrastive,
    bound=contrastive + squared_bias + repel_weight * rarest,
    **repel,
  )


def _repel(
  views: np.ndarray,
  images: np.ndarray,
  means: np.ndarray,
  classes: Classes,
  sharpness: float,
  chunk_size: int,
) -> dict[str, float]:
  """The repelling terms, averaged over all views."""
  view_count = views.shape[1]
  rows = views.reshape(-1, views.shape[-1])
  row_codes = np.repeat(classes.codes, view_count)
  image_shares = -np.log(classes.counts[classes.codes])
  row_shares = np.repeat(image_shares, view_count) - math.log(view_count)

  totals = np.zeros(5)
  for start in range(0, len(rows), chunk_size):
    chunk = rows[start : start + chunk_size]
    own = row_codes[start : start + chunk_size, None]
    dots = chunk @ means.T
    dots[np.arange(len(chunk)), own[:, 0]] = -np.inf
    similarities = sharpness * (chunk @ rows.T)
    terms = [sharpness * np.max(dots, axis=1), _log_sum(sharpness * dots)]
    logits = sharpness * (chunk @ images.T) + image_shares
    terms.append(_log_sum(np.where(classes.codes == own, -np.inf, logits)))
    label_free = _log_sum(similarities) + math.log(1 / (len(rows) * classes.shares.min()))
    similarities += row_shares
    similarities[row_codes == own] = -np.inf
    terms += [_log_sum(similarities), label_free]
    totals += np.sum(terms, axis=1)

  names = ('hardest', 'soft_maximum', 'images', 'views', 'label_free')
  averages = totals / (len(rows) * sharpness)
  return {f'repel_{name}': float(value) for name, value in zip(names, averages, strict=True)}


def _log_sum(logits: np.ndarray) -> np.ndarray:
  """log sum exp over columns; no row is -inf throughout, for there are two classes."""
  largest = np.max(logits, axis=1)
  return largest + np.log(np.sum(np.exp(logits - largest[:, None]), axis=1))
