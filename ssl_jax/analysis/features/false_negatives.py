"""The share of false negatives (of the anchor's own class) at each similarity rank."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry
from ssl_jax.analysis.features.classes import Classes
from ssl_jax.arguments import ArgumentError, check_whole


@dataclasses.dataclass(frozen=True)
class FalseNegativeAudit:
  """What `false_negative_audit` measures.

  Attributes:
    ranks: `int64 [rank]`, 1 for the negative most similar to its anchor.
    same_class: `float64 [rank]`, P(same class | rank): the share of anchors whose negative at the
      rank is of their class, a false one.
    standard_error: `float64 [rank]`, of `same_class` over batches, taken as independent.
    chance: the probability that a random other image is of the anchor's class; the mean of
      `same_class` over all ranks comes to it.
    bound: `float64 [rank]`, `deputy_false_negative_probability` of the class shares, averaged over
      anchors: what `same_class` would be if all false negatives came first, and negatives were
      drawn independently.
    exact_bound: `float64 [rank]`, the same for negatives drawn as here, without replacement: but
      for chance no representation exceeds it. It differs from `bound` where batches are a good part
      of the images.
  """

  ranks: np.ndarray
  same_class: np.ndarray
  standard_error: np.ndarray
  chance: float
  bound: np.ndarray
  exact_bound: np.ndarray


def false_negative_audit(
  anchors: Any,
  candidates: Any,
  labels: Any,
  *,
  batch_size: int,
  batches: int = 100,
  seed: int = 0,
  ranks: Sequence[int] | None = None,
) -> FalseNegativeAudit:
  """P(same class | rank) of the negatives in random batches, beside chance and the greatest value.

  In a batch the other images' candidates are ranked by their cosine to the anchor; of equal ones
  the order is random. As in training, batches are cut from images in random order, without those
  that do not fill a batch, and images are shuffled again when they are used up.

  A curve at chance means that ranks are independent of classes, one at the bound that they order
  images by class; the ranks where it stays high are those a loss should not repel.

  Source: reconstructed; the bound is that of Wang et al., ICCV 2021 (truncated triplet loss).

  >>> features = [[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]
  >>> audit = false_negative_audit(features, features, [0, 0, 1, 1], batch_size=4, batches=2)
  >>> print(audit.same_class, f'{audit.chance:.3f}')
  [1. 0. 0.] 0.333

  Args:
    anchors: `[n, dim]` of any real dtype, a view of each image.
    candidates: `[n, dim]`, another view of the same images in the same order, or `anchors` again.
      An image's own candidate is its positive and is not ranked.
    labels: `int [n]`, 0 or greater; used to measure only.
    batch_size: images of a batch, from 2 to n.
    batches: how many, 2 or more.
    seed: of the order of images.
    ranks: which to report, each from 1 to batch_size - 1; None for all.

  Returns:
    The curve and what to compare it with, see `FalseNegativeAudit`.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, there is a single class, or a number is
      out of its range.
  """
  first, second = _as_features('anchors', anchors), _as_features('candidates', candidates)
  if first.shape != second.shape:
    raise ArgumentError('candidates', f'shape {second.shape}', f'{first.shape}, that of anchors')
  count = len(first)
  classes = Classes.of(labels, count)
  batch_size = check_whole('batch_size', batch_size, 2)
  if batch_size > count:
    raise ArgumentError('batch_size', batch_size, f'at most {count}, the images')
  batches = check_whole('batches', batches, 2)
  seed = check_whole('seed', seed, 0)
  chosen = _check_ranks(ranks, batch_size - 1)

  first, second = geometry.l2_normalize(first), geometry.l2_normalize(second)
  shares = np.stack(
    [
      _same_class_by_rank(first[rows], second[rows], classes.codes[rows])
      for rows in _batches(np.random.default_rng(seed), count, batch_size, batches)
    ]
  )
  bound, exact_bound = _bounds(classes, batch_size - 1)
  at = chosen - 1
  return FalseNegativeAudit(
    ranks=chosen,
    same_class=np.mean(shares, axis=0)[at],
    standard_error=np.std(shares, axis=0, ddof=1)[at] / np.sqrt(batches),
    chance=float(classes.shares @ (classes.counts - 1) / (count - 1)),
    bound=bound[at],
    exact_bound=exact_bound[at],
  )


def _batches(
  rng: np.random.Generator, count: int, batch_size: int, batches: int
) -> Iterator[np.ndarray]:
  per_pass = count // batch_size
  for index in range(batches):
    if index % per_pass == 0:
      order = rng.permutation(count)
    start = index % per_pass * batch_size
    yield order[start : start + batch_size]


def _same_class_by_rank(
  anchors: np.ndarray, candidates: np.ndarray, codes: np.ndarray
) -> np.ndarray:
  """The share of anchors whose negative at each rank is of their class: `float64 [rank]`."""
  distances = -(anchors @ candidates.T)
  np.fill_diagonal(distances, np.inf)  # the positive comes last
  order = np.argsort(distances, axis=1, kind='stable')[:, :-1]
  return np.mean(codes[order] == codes[:, None], axis=0)


def _bounds(classes: Classes, negatives: int) -> tuple[np.ndarray, np.ndarray]:
  """P(at least r negatives of the anchor's class) for each rank r: drawn with, without replacement.

  From SciPy, all ranks at once; both are averages over the classes of anchors.
  """
  from scipy.stats import binom, hypergeom

  images = len(classes.codes)
  hits = np.arange(negatives + 1)
  bound, exact_bound = np.zeros(negatives), np.zeros(negatives)
  for size, repeats in zip(*np.unique(classes.counts, return_counts=True), strict=True):
    share = size / images
    bound += repeats * share * binom.sf(hits[:-1], negatives, share)
    masses = hypergeom.pmf(hits, images - 1, size - 1, negatives)
    exact_bound += repeats * share * np.cumsum(masses[::-1])[::-1][1:]
  return np.minimum(bound, 1), np.minimum(exact_bound, 1)


def _as_features(name: str, values: Any) -> np.ndarray:
  try:
    return arguments.as_features(values, ndim=2)
  except ArgumentError as error:
    raise ArgumentError(name, error.found, error.allowed) from None


def _check_ranks(ranks: Sequence[int] | None, most: int) -> np.ndarray:
  if ranks is None:
    return np.arange(1, most + 1)
  chosen = np.array([check_whole('ranks', rank) for rank in ranks], np.int64)
  if not len(chosen):
    raise ArgumentError('ranks', 'none', 'at least one rank')
  if chosen.max() > most:
    raise ArgumentError('ranks', chosen.max(), f'at most {most}, the negatives')
  return chosen
