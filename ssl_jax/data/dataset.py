"""Sources of images with labels, and data sets of a training and a test source."""

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ssl_jax.arguments import UNLABELED, ArgumentError


class Source(Protocol):
  """The interface of a source of images, in memory or streamed.

  `labels` is int32 [n], -1 where an image is unlabeled, or None when none has a label.
  `source[indices]` takes int [batch] and returns uint8 [batch, height, width, 3]; which images
  belong together in a batch, and when, is the business of `EpochSampler` alone, so that a source
  holds no position and needs no checkpoint.
  """

  @property
  def labels(self) -> np.ndarray | None: ...

  def __len__(self) -> int: ...

  def __getitem__(self, indices: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySource:
  """A source in memory.

  Args:
    images: uint8 [n, height, width, 3].
    labels: int32 [n], counted from 0, -1 where an image is unlabeled; None when none has a label.
    names: of the image files, relative to their folder, [n]; empty where there are no files.

  Raises:
    ValueError: an array has another type or shape.
  """

  images: np.ndarray
  labels: np.ndarray | None = None
  names: tuple[str, ...] = ()

  def __post_init__(self):
    images, labels = self.images, self.labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
      raise ArgumentError(
        'images', f'{images.dtype} {list(images.shape)}', 'uint8 [n, height, width, 3]'
      )
    if labels is not None and (labels.dtype != np.int32 or labels.shape != images.shape[:1]):
      raise ArgumentError(
        'labels', f'{labels.dtype} {list(labels.shape)}', f'int32 [{len(images)}], one an image'
      )
    if labels is not None and labels.size and labels.min() < UNLABELED:
      raise ArgumentError('labels', labels.min(), f'at least 0, or {UNLABELED} for unlabeled')
    if self.names and len(self.names) != len(images):
      raise ArgumentError('names', len(self.names), f'{len(images)}, one an image')

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, indices: np.ndarray) -> np.ndarray:
    return self.images[indices]

  @property
  def labeled(self) -> int:
    """The number of images with a label."""
    return 0 if self.labels is None else int((self.labels != UNLABELED).sum())

  def subset(self, indices: np.ndarray) -> 'ArraySource':
    """The images at `indices` (int [k] or bool [n]) with their labels and names, in that order."""
    labels = None if self.labels is None else self.labels[indices]
    names = tuple(np.asarray(self.names, object)[indices]) if self.names else ()
    return ArraySource(self.images[indices], labels, names)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """Training and test images of one size.

  Args:
    name: where the images come from, as the user wrote it.
    train: what is trained on.
    test: what is evaluated on; of length 0 when nothing is held out.
    class_names: the name of each label; empty when no image has a label.
  """

  name: str
  train: ArraySource
  test: ArraySource
  class_names: tuple[str, ...] = ()

  def class_counts(self) -> np.ndarray:
    """int64 [class]: the training images of each class; empty without labels."""
    labels = self.train.labels
    if labels is None:
      return np.zeros(0, np.int64)
    return np.bincount(labels[labels != UNLABELED], minlength=len(self.class_names))

  def describe(self) -> str:
    """One line for people: source, number of images, their size, classes."""
    height, width = self.train.images.shape[1:3]
    number = len(self.class_names)
    classes = f'{number} class{"es" * (number > 1)}' if number else 'no labels'
    return (
      f'{self.name}: {len(self.train):,} training and {len(self.test):,} test images'
      f' of {width}x{height} pixels, {classes}'
    )


def require_distinct_names(where: str, names: Sequence[str]) -> None:
  """Requires that no two classes have one name, in whatever form its accents are stored.

  Raises:
    ValueError: naming the first that is there again.
  """
  seen: set[str] = set()
  for name in names:
    composed = unicodedata.normalize('NFC', name)
    if composed in seen:
      raise ArgumentError(where, f'the class {name!r} twice', 'a name of its own for each class')
    seen.add(composed)
