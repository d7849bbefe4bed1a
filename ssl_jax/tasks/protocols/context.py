"""The features of one encoder on one data set, computed once for all protocols."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.config import Config
from ssl_jax.data import ArraySource, Dataset
from ssl_jax.tasks.protocols.feature_cache import FeatureCache, fingerprint
from ssl_jax.tasks.run.frozen_encoder import FrozenEncoder

# The flags that the augmented views of test images depend on.
VIEW_SETTINGS = ('evaluate.views', 'evaluate.augmented_images')


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
    self.seed, self.batch_size = config.seed, config.data.batch_size
    self._cache = cache
    self._in_memory: dict[str, np.ndarray] = {}

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
      raise ValueError(f'{split} images: found none, must be at least 1; see --data.test_fraction')
    return source

  def labels(self, split: str) -> np.ndarray:
    """int32 [n].

    Raises:
      ValueError: the images carry none.
    """
    labels = self.source(split).labels
    if labels is None:
      raise ValueError(f'labels of the {split} images: found none, must be one an image')
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
    of = f'{self._encoder_digest(layer)} {fingerprint(source)} {more}'
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
    for start in range(0, len(features), 65_536):
      bad = ~np.isfinite(features[start : start + 65_536]).all(axis=1)
      if bad.any():
        raise ValueError(
          f'features: found NaN or infinite values in {int(bad.sum()):,} rows of {name}, '
          f'the first is {start + int(np.argmax(bad))}, must be finite'
        )
    return features
