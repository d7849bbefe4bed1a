"""What a protocol measures: one encoder's features of one data set, made once and shared."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np

from ssl_jax.config import Evaluate
from ssl_jax.data import ArraySource, Dataset
from ssl_jax.tasks.protocols.feature_cache import FeatureCache, fingerprint
from ssl_jax.tasks.run.frozen_encoder import FrozenEncoder


class EvalContext:
  """An encoder and the images it is judged on.

  Args:
    name: what the encoder is called in tables.
    encoder: frozen.
    dataset: training and test images.
    settings: of the evaluation.
    cache: where features are kept.
    seed: of whatever a protocol draws.
    batch_size: images of one forward pass in training.
  """

  def __init__(
    self,
    name: str,
    encoder: FrozenEncoder,
    dataset: Dataset,
    settings: Evaluate,
    cache: FeatureCache,
    *,
    seed: int,
    batch_size: int,
  ) -> None:
    self.name, self.encoder, self.dataset = name, encoder, dataset
    self.settings, self.seed, self.batch_size = settings, seed, batch_size
    self._cache = cache

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
      self._digest(source, layer, whole),
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
      self._digest(source, layer, count),
      lambda: self.encoder.view_features(source, layer, count),
    )
    return flat.reshape(len(flat), count, -1)

  def augmented_features(self) -> tuple[np.ndarray, np.ndarray]:
    """Views of some test images and their labels, for the meters that need them."""
    found = self.view_features('test', self.settings.views, most=self.settings.view_images)
    return found, self.labels('test')[: len(found)]

  def _digest(self, source: ArraySource, layer: str, *more: Any) -> str:
    of = f'{self._encoder_digest(layer)} {fingerprint(source)} {more}'
    return hashlib.sha256(of.encode()).hexdigest()

  @functools.cache  # noqa: B019 - contexts live as long as the evaluation
  def _encoder_digest(self, layer: str) -> str:
    return self.encoder.digest(layer)

  def _finite(self, name: str, digest: str, make: Any) -> np.ndarray:
    whole = self._encoder_digest(list(self.encoder.networks)[-1])
    features = self._cache.get(name, whole, digest, make)
    for start in range(0, len(features), 65_536):
      bad = ~np.isfinite(features[start : start + 65_536]).all(axis=1)
      if bad.any():
        raise ValueError(
          f'features: found NaN or infinite values in {int(bad.sum()):,} rows of {name}, '
          f'the first is {start + int(np.argmax(bad))}, must be finite'
        )
    return features
