"""Parts of a data set: long-tailed, and held out."""

import math

import numpy as np

from ssl_jax.arguments import ArgumentError, check_number
from ssl_jax.data.dataset import UNLABELED


def long_tail_counts(num_images: int, num_classes: int, imbalance_factor: float) -> np.ndarray:
  """The number of images of each class in an exponentially long-tailed subset.

  n_k = floor(num_images * imbalance_factor ** (k / (num_classes - 1))), the long-tailed CIFAR of
  Cui et al., CVPR 2019: class 0 keeps everything, the last class the given fraction (0.01: 100
  times less).

  Args:
    num_images: images of the largest class.
    num_classes: at least 2.
    imbalance_factor: above 0, at most 1.

  Returns:
    int64 [num_classes].

  Raises:
    ValueError: an argument is out of range, or a class would keep no image.
  """
  check_number('imbalance_factor', imbalance_factor, above=0, at_most=1)
  if num_classes < 2:
    raise ArgumentError(
      'imbalance_factor', f'{imbalance_factor} on {num_classes} class', '1, or on 2 classes or more'
    )
  # A product such as 2900 * 0.01 falls just short of the integer it stands for.
  counts = [
    math.floor(num_images * imbalance_factor ** (k / (num_classes - 1)) + 1e-9)
    for k in range(num_classes)
  ]
  if counts[-1] < 1:
    raise ArgumentError(
      'imbalance_factor',
      f'{imbalance_factor}, which leaves the last class without an image',
      f'from {1 / num_images:.3g} to 1 with {num_images} images a class',
    )
  return np.asarray(counts)


def long_tail_indices(labels: np.ndarray | None, imbalance_factor: float) -> np.ndarray:
  """The images of the long-tailed subset: the first n_k of class k, in stored order.

  A class that has fewer than n_k images keeps them all, and so do the unlabeled images (-1): their
  classes, and so their long tail, are not known.

  Args:
    labels: int [n], or None, which is an error.
    imbalance_factor: as in `long_tail_counts`, with the largest class as `num_images`.

  Returns:
    int64 [m], ascending.

  Raises:
    ValueError: there are no labels, or `long_tail_counts` refuses.
  """
  if labels is None or not (labels != UNLABELED).any():
    raise ArgumentError(
      'imbalance_factor', f'{imbalance_factor} on images without labels', '1 (off)'
    )
  classes, sizes = np.unique(labels[labels != UNLABELED], return_counts=True)
  counts = long_tail_counts(int(sizes.max()), len(classes), imbalance_factor)
  kept = [
    np.flatnonzero(labels == label)[:count] for label, count in zip(classes, counts, strict=True)
  ]
  return np.sort(np.concatenate([*kept, np.flatnonzero(labels == UNLABELED)]))


def held_out(labels: np.ndarray | None, length: int, fraction: float, seed: int) -> np.ndarray:
  """Which images form the test set: the same fraction of every class, drawn by `seed`.

  Args:
    labels: int [length], or None.
    length: number of images.
    fraction: at least 0, below 1.
    seed: at least 0.

  Returns:
    bool [length]. In each class (in the whole, without labels) round(fraction * size) are true, and
    no unlabeled image (-1) is.
  """
  bits = np.random.PCG64([seed, length]).random_raw(length)
  groups = np.zeros(length, np.int32) if labels is None else labels
  mask = np.zeros(length, bool)
  for group in np.unique(groups[groups != UNLABELED]):
    members = np.flatnonzero(groups == group)
    ranked = members[np.argsort(bits[members], kind='stable')]
    mask[ranked[: math.floor(fraction * len(members) + 0.5)]] = True
  return mask
