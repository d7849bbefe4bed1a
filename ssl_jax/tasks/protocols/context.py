"""The features of one encoder on one data set, computed once for all protocols."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.arguments import UNLABELED, ArgumentError
from ssl_jax.config import Config
from ssl_jax.data import ArraySource, Dataset, fingerprint_source
from ssl_jax.tasks.protocols.feature_cache import FeatureCache
from ssl_jax.tasks.run.frozen_encoder import FrozenEncoder

_READ = 65_536  # rows of features read at once

# The flags that the augmented views of test images depend on.
VIEW_SETTINGS = ('evaluate.views', 'evaluate.augmented_images')


class NonFiniteFeaturesError(ArgumentError):
  """Features of an encoder hold NaN or infinite values."""


class EvalContext:
  """An encoder, the images it is measured on, and the settings of protocols.

  Args:
    name: of the encoder in tables.
    encoder: with running statistics.
    dataset: training and test images.
    config: the settings of protocols, the seed of their draws, and the batch size of training.
    cache: of features on disk; None keeps them in memory, as long as the context.
  """

  def __init__(
    self,
    name: str,
    encoder: FrozenEncoder,
    dataset: Dataset,
    config: Config,
    cache: FeatureCache | None = None,
  ) -> None:
    self.name, self.encoder, self.dataset = name, encoder, dataset
    self.settings, self.knn = config.evaluate, config.knn
    self._config = config
    self.seed, self.batch_size = config.seed, config.data.batch_size
    self._cache = cache
    self._in_memory: dict[str, np.ndarray] = {}

  @functools.cached_property
  def labeled(self) -> EvalContext:
    """The same encoder on the labeled images alone; itself where all are labeled, or none."""
    found = labeled_only(self.dataset)
    if found is self.dataset:
      return self
    return EvalContext(self.name, self.encoder, found, self._config, self._cache)

  def is_given(self, flag: str) -> bool:
    """Whether the flag was given, and is therefore not adapted to few images."""
    return flag in self._config.given

  def require_classes(self, split: str) -> None:
    """Requires two classes among the labels of a split.

    Raises:
      ValueError: there is a single one, or no label.
    """
    labels = self.labels(split)
    if len(np.unique(labels)) < 2:
      raise ArgumentError(
        f'labels of the {split} images', 'a single class', 'at least 2 to be told apart'
      )

  @property
  def classes(self) -> int:
    """Classes there are names for, seen or not."""
    return len(self.dataset.class_names)

  def source(self, split: str) -> ArraySource:
    """The images of a split, `train` or `test`.

    Raises:
      ValueError: there are none.
    """
    source = getattr(self.dataset, split)
    if source is None or not len(source):
      raise ArgumentError(f'{split} images', 'none', 'at least 1; see --data.test_fraction')
    return source

  def labels(self, split: str) -> np.ndarray:
    """int32 [n]; -1 of an image without a label, which `labeled` leaves out.

    Raises:
      ValueError: the images carry none.
    """
    labels = self.source(split).labels
    if labels is None:
      raise ArgumentError(f'labels of the {split} images', 'none', 'one an image')
    return labels

  def features(self, split: str, *, layer: str = '') -> np.ndarray:
    """Of the un-augmented images of a split: float32 [n, dim], perhaps mapped from a file.

    Raises:
      ValueError: a feature is not finite.
    """
    return self.features_of(self.source(split), split, layer=layer)

  def features_of(
    self, source: ArraySource, name: str, *, layer: str = '', whole: bool = False
  ) -> np.ndarray:
    """The same of other images; `name` is a word for them, `whole` feeds them as they are."""
    layer = layer or self.settings.layer
    return self._finite(
      f'{self.name}-{name}-{layer}',
      lambda: self._digest(source, layer, whole),
      lambda: self.encoder.features(source, layer, whole=whole),
    )

  def view_features(
    self, split: str, count: int, *, most: int | None = None, layer: str = ''
  ) -> np.ndarray:
    """Of augmented views of the first `most` images: float32 [n, count, dim]."""
    layer = layer or self.settings.layer
    source = self.source(split)
    if most is not None and most < len(source):
      source = source.subset(np.arange(most))
    flat = self._finite(
      f'{self.name}-{split}-{count}-views-{layer}',
      lambda: self._digest(source, layer, count),
      lambda: self.encoder.view_features(source, layer, count),
    )
    return flat.reshape(len(flat), count, -1)

  def augmented_features(self) -> np.ndarray:
    """Of `evaluate.views` views of the first `evaluate.augmented_images` test images."""
    return self.view_features('test', self.settings.views, most=self.settings.augmented_images)

  def labeled_views(self) -> tuple[np.ndarray, np.ndarray]:
    """`augmented_features`, and the labels of their images."""
    found = self.augmented_features()
    return found, self.labels('test')[: len(found)]

  def _digest(self, source: ArraySource, layer: str, *more: Any) -> str:
    of = f'{self._encoder_digest(layer)} {fingerprint_source(source).images_sha256} {more}'
    return hashlib.sha256(of.encode()).hexdigest()

  @functools.cache  # noqa: B019 - contexts live as long as the evaluation
  def _encoder_digest(self, layer: str) -> str:
    return self.encoder.digest(layer)

  def _finite(
    self, name: str, digest: Callable[[], str], make: Callable[[], np.ndarray]
  ) -> np.ndarray:
    if self._cache is None:
      if name not in self._in_memory:
        self._in_memory[name] = make()
      features = self._in_memory[name]
    else:
      whole = self._encoder_digest(list(self.encoder.networks)[-1])
      features = self._cache.get(name, whole, digest(), make)
    bad = np.concatenate(
      [
        start + np.flatnonzero(~np.isfinite(features[start : start + _READ]).all(axis=1))
        for start in range(0, len(features), _READ)
      ]
    )
    if len(bad):
      raise NonFiniteFeaturesError(
        'features',
        f'NaN or infinite values in {len(bad):,} of {len(features):,} rows of {name}, the first '
        f'is row {bad[0]}',
        'finite',
      )
    return features


@functools.lru_cache(maxsize=2)  # one copy of the images for all contexts of a data set
def labeled_only(dataset: Dataset) -> Dataset:
  """The images with a label, 0 or greater; the data set itself where all have one, or none.

  A split without any labeled image keeps its images and has no labels.
  """
  found: dict[str, Any] = {}
  for split in ('train', 'test'):
    source = getattr(dataset, split)
    if source is None or source.labels is None:
      continue
    if not source.labeled:
      found[split] = ArraySource(source.images, None, source.names)
    elif source.labeled < len(source):
      found[split] = source.subset(np.flatnonzero(source.labels != UNLABELED))
  return dataclasses.replace(dataset, **found) if found else dataset


def describe_labels(dataset: Dataset) -> str:
  """How many images have a label, where some have none; '' otherwise."""
  counts = []
  for split, words in (('train', 'training'), ('test', 'test')):
    source = getattr(dataset, split)
    if source is not None and source.labels is not None:
      counts.append((source.labeled, len(source), words))
  if all(known == count for known, count, _ in counts):
    return ''
  return ', '.join(f'{known:,} of {count:,} {words} images' for known, count, words in counts)
