"""The mean classifier: class means of the training features as weights, nothing trained."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.neighbors.knn import check_temperature

_HELD = 2**22  # features, or scores of test rows, held in float64 at once


@dataclasses.dataclass(frozen=True)
class MeanClassifier:
  """What `mean_classifier` measures; z is a test row, m_c the mean of the training rows of class c.

  Attributes:
    accuracy: the share of test rows whose class has the largest z.m_c.
    supervised_loss: the mean of -z.m_y / t + ln sum_c exp(z.m_c / t), in nats.
    predictions: `int32 [test]`, the classes with the largest z.m_c; of equal ones the lowest.
    centroid_accuracy: that of the nearest centroid by cosine: the largest z.m_c / |m_c|.
  """

  accuracy: float
  supervised_loss: float
  predictions: np.ndarray
  centroid_accuracy: float


def mean_classifier(
  train: Any,
  train_labels: Any,
  test: Any,
  test_labels: Any,
  *,
  normalize: bool = True,
  temperature: float = 0.5,
) -> MeanClassifier:
  """The accuracy and the supervised loss of the mean classifier.

  The means of unit features are not brought to unit length again: the length of m_c says how
  closely its class lies together, and is part of the classifier and of the loss.

  Source: Nozawa and Sato, NeurIPS 2021 (negative samples and the coupon collector), whose features
  are those behind the projection head: `train` one pass of augmented training images, `test` the
  test images un-augmented. `negative_sample_bounds` measures the same loss on augmented test
  images, against means of many views.

  >>> train, labels = [[1.0, 0], [0, 1], [0, 1]], np.array([0, 0, 1])
  >>> found = mean_classifier(train, labels, [[3.0, 4]], np.array([1]))
  >>> print(found.accuracy, found.predictions, round(found.supervised_loss, 4))
  1.0 [1] 0.5981

  Args:
    train: `[train, dim]`, numbers of any dtype; reckoned with in float64.
    train_labels: `int [train]`, from 0; a number without rows is no class.
    test: `[test, dim]`.
    test_labels: `int [test]`, each of them the label of a training row.
    normalize: whether rows are brought to unit length first; zero rows stay zero.
    temperature: t > 0.

  Returns:
    The figures, see `MeanClassifier`.

  Raises:
    ValueError: shapes do not fit, labels are absent, a test label has no training row, a feature is
      not finite, or `temperature` is not positive.
  """
  train = check_rows('train', train)
  test = check_rows('test', test, like=('training rows', train.shape[1]))
  train_labels = check_labels('train_labels', train_labels, 'train', len(train))
  labels = check_labels('test_labels', test_labels, 'test', len(test))
  check_temperature('temperature', temperature)
  classes, codes, counts = np.unique(train_labels, return_inverse=True, return_counts=True)
  if len(strangers := np.setdiff1d(labels, classes)):
    raise ArgumentError('test_labels', strangers[0], 'labels of training rows')

  means = np.zeros((len(classes), train.shape[1]))
  step = max(1, _HELD // max(means.shape))
  for start in range(0, len(train), step):
    part = slice(start, start + step)
    np.add.at(means, codes[part], _rows(train[part], normalize))
  means /= counts[:, None]
  directions = _rows(means, True)

  truth = np.searchsorted(classes, labels)
  predictions = np.empty(len(test), np.int32)
  loss, near = 0.0, 0
  for start in range(0, len(test), step):
    part = slice(start, start + step)
    rows = _rows(test[part], normalize)
    scores = rows @ means.T
    best = np.argmax(scores, axis=1)
    predictions[part] = classes[best]
    own = scores[np.arange(len(rows)), truth[part]]
    top = scores[np.arange(len(rows)), best]
    others = np.log(np.sum(np.exp((scores - top[:, None]) / temperature), axis=1))
    loss += float(np.sum(others + (top - own) / temperature))
    near += int(np.sum(np.argmax(rows @ directions.T, axis=1) == truth[part]))
  return MeanClassifier(
    accuracy=float(np.mean(predictions == labels)),
    supervised_loss=loss / len(test),
    predictions=predictions,
    centroid_accuracy=near / len(test),
  )


def _rows(rows: np.ndarray, normalize: bool) -> np.ndarray:
  rows = rows.astype(np.float64)
  if not normalize:
    return rows
  norms = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(norms > 0, norms, 1)
