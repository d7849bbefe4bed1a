"""Distributions of drawn labels: independent with probabilities, or from classes of known sizes."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole

_ROUNDING = 1e-9
_MOST_IMAGES = 2**53  # that float64 counts exactly


@dataclasses.dataclass(frozen=True)
class ClassDraws:
  """Labels of images drawn one after the other; classes of equal weight are counted together."""

  weights: np.ndarray  # float64 [distinct], above 0: the probability, or the size, of a class
  repeats: np.ndarray  # float64 [distinct]: how many classes have it
  total: float  # the sum over classes: 1, or the number of images
  missing: int  # classes of weight 0
  replacement: bool

  @classmethod
  def of(cls, class_probs: Any, class_counts: Any) -> 'ClassDraws':
    """Draws with replacement from `class_probs`, or without from `class_counts`.

    Raises:
      ValueError: none or both are given, or they are no probabilities, or no class sizes.
    """
    if (class_probs is None) == (class_counts is None):
      found = 'neither' if class_probs is None else 'both'
      raise ArgumentError('class_probs', f'{found} of class_probs and class_counts', 'exactly one')
    if class_counts is not None:
      counts = check_counts(class_counts)
      return cls._grouped(counts.astype(np.float64), float(counts.sum()), replacement=False)
    probs = check_probs(class_probs)
    return cls._grouped(probs / math.fsum(probs), 1.0, replacement=True)

  @classmethod
  def _grouped(cls, weights: np.ndarray, total: float, *, replacement: bool) -> 'ClassDraws':
    distinct, repeats = np.unique(weights, return_counts=True)
    some = distinct > 0
    missing = int(repeats[~some].sum())
    return cls(distinct[some], repeats[some].astype(np.float64), total, missing, replacement)

  @property
  def num_classes(self) -> int:
    """Classes that can be drawn."""
    return int(self.repeats.sum())

  @property
  def shares(self) -> np.ndarray:
    """The probability of a class, for each distinct weight: `float64 [distinct]`."""
    return self.weights / self.total

  def check_draws(self, name: str, value: Any, *, fewer: int = 0) -> int:
    """A whole number of draws that there are images for, `fewer` of which are drawn already.

    Raises:
      ValueError: it is not whole, negative, or beyond the images.
    """
    number = check_whole(name, value, 0)
    if not self.replacement and number > self.total - fewer:
      of = 'images' if not fewer else 'other images'
      raise ArgumentError(
        name,
        number,
        f'at most {self.total - fewer:.0f}, the number of {of} to draw from without replacement',
      )
    return number


def check_probs(class_probs: Any) -> np.ndarray:
  """Probabilities of classes: `float64 [class]`, not negative, with sum 1.

  Raises:
    ValueError: naming what is wrong with them.
  """
  try:
    probs = np.asarray(class_probs, np.float64)
  except (TypeError, ValueError):
    raise ArgumentError('class_probs', repr(class_probs), 'numbers') from None
  if probs.ndim != 1 or not len(probs):
    raise ArgumentError('class_probs', f'shape {probs.shape}', '[class], at least one')
  bad = np.flatnonzero(~(probs >= 0))
  if len(bad):
    raise ArgumentError(
      'class_probs', f'{probs[bad[0]]} for class {bad[0]}', 'a number from 0 to 1'
    )
  total = math.fsum(probs)
  if not abs(total - 1) <= _ROUNDING:
    raise ArgumentError('class_probs', f'a sum of {total:.12g}', '1')
  return probs


def check_counts(class_counts: Any) -> np.ndarray:
  """Sizes of classes: `int64 [class]`, not negative, not all 0.

  Raises:
    ValueError: naming what is wrong with them.
  """
  counts = np.asarray(class_counts)
  if counts.ndim != 1 or not len(counts):
    raise ArgumentError('class_counts', f'shape {counts.shape}', '[class], at least one')
  if not np.issubdtype(counts.dtype, np.integer):
    raise ArgumentError('class_counts', counts.dtype, 'whole numbers')
  if counts.min() < 0:
    bad = int(np.argmin(counts))
    raise ArgumentError('class_counts', f'{counts[bad]} for class {bad}', '0 or greater')
  if not counts.any():
    raise ArgumentError('class_counts', 'no image in any class', 'at least one')
  total = float(counts.sum(dtype=np.float64))
  if total > _MOST_IMAGES:
    raise ArgumentError('class_counts', f'{total:.3g} images', 'at most 2^53 in all')
  return counts.astype(np.int64)
