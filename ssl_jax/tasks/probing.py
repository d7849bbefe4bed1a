"""What the encoder knows at some point of a run: features without augmentation, and their nearest-
neighbour accuracy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ssl_jax import evaluation, views
from ssl_jax.data import Source
from ssl_jax.tasks.assembly import Assembly
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.state import TrainState

_BATCH = 256


class Probe:
  """Features and kNN of any state of a run, with one compiled encoder for all of them."""

  def __init__(self, assembly: Assembly) -> None:
    self._assembly = assembly
    self._batch_size = -(-_BATCH // assembly.mesh.size) * assembly.mesh.size
    same = mesh_lib.replicated(assembly.mesh)
    self._encode = jax.jit(self._features_of_batch, out_shardings=same)

  @property
  def possible(self) -> bool:
    """Whether there are labels to measure accuracy with."""
    dataset = self._assembly.dataset
    labelled = lambda source: source is not None and source.labels is not None and len(source) > 0
    return labelled(dataset.train) and labelled(dataset.test)

  @property
  def k(self) -> int:
    """Neighbours that vote: `knn.k`, or the size of a smaller bank."""
    return min(self._assembly.config.knn.k, len(self._assembly.dataset.train))

  def features(self, state: TrainState, images: np.ndarray | Source) -> np.ndarray:
    """Features by the online encoder with running statistics: float32 [n, dim].

    Args:
      state: of the run.
      images: uint8 [n, height, width, 3], or a source of such.
    """
    variables = state.variables
    rows = mesh_lib.split(self._assembly.mesh)
    apply = lambda batch: self._encode(variables, mesh_lib.put(batch, rows))
    return evaluation.extract(apply, images, batch_size=self._batch_size)

  def knn(self, state: TrainState) -> float:
    """Accuracy in [0, 1] on the test images, the training images voting."""
    dataset = self._assembly.dataset
    assert dataset.test is not None
    return self._accuracy(self.features(state, dataset.train), self.features(state, dataset.test))

  def knn_of_pixels(self) -> float:
    """The same protocol on the normalised pixels that the encoder is given."""
    dataset, recipe = self._assembly.dataset, self._assembly.recipe
    plain = jax.jit(lambda images: views.plain(recipe, images).reshape(len(images), -1))
    pixels = lambda source: evaluation.extract(plain, source, batch_size=self._batch_size)
    assert dataset.test is not None
    return self._accuracy(pixels(dataset.train), pixels(dataset.test))

  def _accuracy(self, bank: np.ndarray, queries: np.ndarray) -> float:
    dataset = self._assembly.dataset
    assert dataset.test is not None
    return evaluation.knn_accuracy(
      bank,
      dataset.train.labels,
      queries,
      dataset.test.labels,
      k=self.k,
      temperature=self._assembly.config.knn.temperature,
    )

  def _features_of_batch(self, variables: Any, images: jax.Array) -> jax.Array:
    return self._assembly.method.features(variables, views.plain(self._assembly.recipe, images))
