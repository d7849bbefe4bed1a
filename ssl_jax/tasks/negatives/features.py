"""Features of augmented views after encoder and head, for the study of negative samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssl_jax.analysis.features.geometry import l2_normalize
from ssl_jax.evaluation import PRESETS, LinearProbeResult, linear_probe, mean_classifier
from ssl_jax.tasks.protocols import feature_cache
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.feature_cache import FeatureCache
from ssl_jax.tasks.run import frozen_encoder
from ssl_jax.tasks.run.stored import StoredRun


class ViewFeatures(NamedTuple):
  """Unit features of views after the projection head, and their means, which are not normalized.

  Attributes:
    train_views: float32 [train, 2, dim], one pass over the training images.
    train_means: float32 [train, dim].
    test_means: float32 [test, dim].
    test_views: float32 [epoch, test, 2, dim].
    test_unaugmented: float32 [test, dim], of the un-augmented images.
  """

  train_views: np.ndarray
  train_means: np.ndarray
  test_means: np.ndarray
  test_views: np.ndarray
  test_unaugmented: np.ndarray

  def class_means(self, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean of the training images of each class: `float64 [class, dim]`."""
    return _means(self.train_means, labels, classes)

  def mean_accuracy(self, train: np.ndarray, test: np.ndarray) -> float:
    """Test accuracy of the class means of one augmented training pass, by inner product."""
    return mean_classifier(self.train_views[:, 0], train, self.test_unaugmented, test).accuracy


class HeadFeatures:
  """Features of a run after its head, from the cache of the evaluation where it has them.

  Args:
    run: whose encoder and head are frozen, with running statistics.
    passes: of two views each, whose features are averaged.
    log: takes a line about each set of features.
  """

  def __init__(self, run: StoredRun, passes: int, log: Callable[[str], None]) -> None:
    encoder = frozen_encoder.of_run(run)
    # Layers after the head, such as a predictor or prototypes, are part of the loss.
    self._layer, self._passes = list(encoder.networks)[-1], passes
    self._context = EvalContext(
      'trained',
      encoder,
      run.experiment.dataset,
      run.experiment.config,
      FeatureCache(run.path / feature_cache.FOLDER, log),
    )

  def of_views(self, epochs: int) -> ViewFeatures:
    """The features of the bounds, with `epochs` passes of two views over the test images.

    Raises:
      ValueError: a feature is not finite.
    """
    behind = 2 * self._passes
    train = l2_normalize(self._views('train', behind))
    test = l2_normalize(self._views('test', behind + 2 * epochs))
    by_epoch = test[:, behind:].reshape(len(test), epochs, 2, -1).swapaxes(0, 1)
    return ViewFeatures(
      train[:, :2],
      train.mean(axis=1, dtype=np.float32),
      test[:, :behind].mean(axis=1, dtype=np.float32),
      np.ascontiguousarray(by_epoch),
      l2_normalize(self._context.features('test', layer=self._layer)),
    )

  def linear_accuracies(self) -> tuple[LinearProbeResult, LinearProbeResult]:
    """The paper's linear probes: with head on augmented views, without it on the images as they are
    (the paper: both on augmented images)."""
    context = self._context
    labels = context.labels('train'), context.labels('test')
    probe = lambda train, test, recipe: linear_probe(
      train,
      labels[0],
      test,
      labels[1],
      recipe=PRESETS[recipe],
      num_classes=context.classes,
      seed=context.seed,
    )
    return (
      probe(
        self._views('train', 2 * self._passes),
        context.features('test', layer=self._layer),
        'negatives',
      ),
      probe(
        context.features('train', layer='encoder'),
        context.features('test', layer='encoder'),
        'negatives_backbone',
      ),
    )

  def _views(self, split: str, count: int) -> np.ndarray:
    return self._context.view_features(split, count, layer=self._layer)


def _means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
  sums = np.zeros((classes, features.shape[-1]))
  np.add.at(sums, labels, features)
  return sums / np.bincount(labels, minlength=classes)[:, None]
