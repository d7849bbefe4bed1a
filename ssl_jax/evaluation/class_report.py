"""Accuracy class by class, and of the classes with many, some and few training images."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis.arguments import as_int64
from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.evaluation.arguments import check_labels

_RULES = ('imagenet_lt', 'thirds')
_MANY, _FEW = 100, 20


@dataclasses.dataclass(frozen=True)
class ClassReport:
  """What `class_report` measures; accuracies are from 0 to 1.

  Attributes:
    accuracy: over all images.
    macro_accuracy: the mean of the classes' accuracies; on a balanced test set, `accuracy`.
    per_class: `float64 [class]`; NaN for a class without test images.
    class_std: the standard deviation of the classes' accuracies (of all classes, not a sample).
    confusion: `int64 [class, class]`, images by their label (row) and the first guess (column).
    classes_without_test: left out of every mean over classes.
    many: the mean accuracy of the classes with many training images; None without `train_counts`,
      or where there is no such class.
    medium: of those between.
    few: of those with few.
    num_many: the classes with test images behind `many`.
    num_medium: behind `medium`.
    num_few: behind `few`.
  """

  accuracy: float
  macro_accuracy: float
  per_class: np.ndarray
  class_std: float
  confusion: np.ndarray
  classes_without_test: int
  many: float | None = None
  medium: float | None = None
  few: float | None = None
  num_many: int = 0
  num_medium: int = 0
  num_few: int = 0


def class_report(
  predictions: Any,
  labels: Any,
  *,
  train_counts: Any = None,
  rule: str = 'imagenet_lt',
  top: int | None = None,
  num_classes: int | None = None,
) -> ClassReport:
  """How accuracy is spread over classes: the report of long-tailed training.

  With `train_counts`, classes are put into three groups. By the rule 'imagenet_lt', many is more
  than 100 training images, few is less than 20, and medium is 20 to 100. By 'thirds', classes are
  ranked by their number of images, the lower class first where it is the same, and cut into three;
  of ten classes, many has four.

  Source: the groups of ImageNet-LT are those of Liu et al., CVPR 2019; thirds by rank are in use
  for CIFAR-LT, whose classes do not fit them (our choice where the sizes differ).

  >>> report = class_report([0, 0, 1, 1], [0, 0, 0, 1], train_counts=[500, 10])
  >>> print(report.accuracy, round(report.macro_accuracy, 4), report.few, report.medium)
  0.75 0.8333 1.0 None

  Args:
    predictions: `int [n]`, classes from 0; or `int [n, guess]`, the best guess first.
    labels: `int [n]`, classes from 0.
    train_counts: `int [class]`, training images a class; sets the number of classes.
    rule: 'imagenet_lt' or 'thirds'.
    top: how many of the guesses count; an image is right if its label is among them. By default the
      first alone.
    num_classes: by default that of `train_counts`, or the largest label or prediction plus one.

  Returns:
    The report, see `ClassReport`.

  Raises:
    ValueError: labels or predictions are absent, do not fit each other or reach beyond the classes,
      or `train_counts`, `rule`, `top` or `num_classes` is out of range.
  """
  guesses = _check_guesses(predictions)
  labels = check_labels('labels', labels, 'predictions', len(guesses))
  top = 1 if top is None else check_whole('top', top)
  if top > guesses.shape[1]:
    raise ArgumentError('top', top, f'at most {guesses.shape[1]}, guesses an image')
  check_choice('rule', rule, _RULES)
  counts = None if train_counts is None else _check_counts(train_counts)
  classes = _count_classes(guesses, labels, counts, num_classes)

  right = np.any(guesses[:, :top] == labels[:, None], axis=1)
  tested = np.bincount(labels, minlength=classes)
  with np.errstate(invalid='ignore'):
    per_class = np.bincount(labels, weights=right, minlength=classes) / tested
  confusion = np.zeros((classes, classes), np.int64)
  np.add.at(confusion, (labels, guesses[:, 0]), 1)
  present = per_class[tested > 0]
  groups: dict[str, Any] = {}
  if counts is not None:
    for name, group in zip(('many', 'medium', 'few'), _groups(counts, rule), strict=True):
      shares = per_class[group & (tested > 0)]
      groups[name] = float(np.mean(shares)) if len(shares) else None
      groups[f'num_{name}'] = len(shares)
  return ClassReport(
    accuracy=float(np.mean(right)),
    macro_accuracy=float(np.mean(present)),
    per_class=per_class,
    class_std=float(np.std(present)),
    confusion=confusion,
    classes_without_test=classes - len(present),
    **groups,
  )


def _groups(counts: np.ndarray, rule: str) -> list[np.ndarray]:
  """Masks of the classes with many, medium and few images."""
  if rule == 'imagenet_lt':
    many, few = counts > _MANY, counts < _FEW
    return [many, ~many & ~few, few]
  order = np.argsort(-counts, kind='stable')
  return [np.isin(np.arange(len(counts)), third) for third in np.array_split(order, 3)]


def _check_guesses(predictions: Any) -> np.ndarray:
  if predictions is None:
    raise ArgumentError('predictions', 'None', 'one class for each image')
  guesses = np.asarray(predictions)
  if (
    guesses.ndim not in (1, 2) or 0 in guesses.shape or not np.issubdtype(guesses.dtype, np.integer)
  ):
    raise ArgumentError(
      'predictions',
      f'{guesses.dtype} of shape {guesses.shape}',
      'integers of shape [n] or [n, guess], neither of them 0',
    )
  if guesses.min() < 0:
    raise ArgumentError('predictions', guesses.min(), '0 or greater')
  return as_int64('predictions', guesses).reshape(len(guesses), -1)


def _check_counts(train_counts: Any) -> np.ndarray:
  counts = np.asarray(train_counts)
  if counts.ndim != 1 or not len(counts) or not np.issubdtype(counts.dtype, np.integer):
    raise ArgumentError(
      'train_counts', f'{counts.dtype} of shape {counts.shape}', 'integers [class]'
    )
  if counts.min() < 0:
    raise ArgumentError('train_counts', counts.min(), '0 or greater')
  return as_int64('train_counts', counts)


def _count_classes(
  guesses: np.ndarray, labels: np.ndarray, counts: np.ndarray | None, num_classes: int | None
) -> int:
  largest = {'predictions': int(guesses.max()), 'labels': int(labels.max())}
  classes = max(largest.values()) + 1 if counts is None else len(counts)
  if num_classes is not None:
    if counts is not None and num_classes != classes:
      raise ArgumentError('num_classes', num_classes, f'{classes} as in train_counts')
    classes = check_whole('num_classes', num_classes)
  for name, value in largest.items():
    if value >= classes:
      raise ArgumentError(name, value, f'below {classes}, the number of classes')
  return classes
