"""What explains the score, measured while it comes about, on a fixed set of test images."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import analysis, evaluation, losses, methods, views
from ssl_jax.config.flags import UsageError
from ssl_jax.data import ArraySource, Source
from ssl_jax.tasks.protocols.prototypes import SHARPNESS
from ssl_jax.tasks.run import frozen_encoder
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training import TrainState
from ssl_jax.training import mesh as mesh_lib

# The meters that a curve says something of; the evaluation has all.
_CROWDING = ('crowding_ratio', 'scatter_ratio', 'nearest_neighbor_error', 'silhouette')


class OnlineMeters:
  """The meters that `--meters.names` lists, of any state of a run.

  Raises:
    UsageError: there are no labeled test images to measure.
  """

  def __init__(self, experiment: Experiment) -> None:
    self._experiment, self._settings = experiment, experiment.config.meters
    self._rows = np.arange(0)
    if not self.wanted:
      return
    test = experiment.dataset.test
    if test is None or not len(test) or test.labels is None:
      raise UsageError(
        f'--meters.names: found {",".join(self._settings.names)}, must be empty: '
        'the data has no labeled test images'
      )
    self._rows = np.arange(min(len(test), self._settings.images))

  @property
  def wanted(self) -> bool:
    """Whether there is anything to measure."""
    return bool(self._settings.names)

  def measure(self, state: TrainState) -> dict[str, float]:
    """Metrics by name, `meter_` first; a collective of all processes."""
    test, settings = self._experiment.dataset.test, self._settings
    shown: ArraySource = test.subset(self._rows)
    assert shown.labels is not None
    encoder = frozen_encoder.of_state(self._experiment, state)
    plain = encoder.features(shown, 'encoder')
    flat = encoder.view_features(shown, 'encoder', settings.views)
    views = flat.reshape(len(flat), settings.views, -1)
    found: dict[str, float] = {}
    for name in settings.names:
      match name:
        case 'crowding':
          meters = dataclasses.asdict(analysis.crowding(plain, shown.labels, normalize=True))
          found |= {key: meters[key] for key in _CROWDING}
        case 'spectrum':
          spectrum = analysis.spectrum(plain)
          found |= {'rank_me': spectrum.rank_me, 'effective_rank': spectrum.effective_rank}
        case 'hypersphere':
          uniformity = [analysis.uniformity(views[:, view]) for view in range(settings.views)]
          found['alignment'] = analysis.alignment(views)
          found['uniformity'] = float(np.mean(uniformity))
        case 'bias':
          bias = analysis.prototype_bias(views, shown.labels)
          found |= {
            'bias_squared': bias.squared,
            'bias_unbiased': bias.squared_unbiased,
            'bias_share': bias.share,
            'augmentation_variance': bias.augmentation_variance,
          }
        case 'bound_chain':
          chain = dataclasses.asdict(analysis.bound_chain(views, shown.labels, SHARPNESS))
          found |= {f'chain_{key}': value for key, value in chain.items()}
    return {f'meter_{key}': float(value) for key, value in found.items()}


_BATCH = 256
_MOST_MEASURED = 2000


class FeatureExtractor:
  """Features and kNN of any state of a run, with one compiled encoder for all of them."""

  def __init__(self, assembly: Experiment) -> None:
    self._experiment = assembly
    self._batch_size = -(-_BATCH // assembly.mesh.size) * assembly.mesh.size
    same = mesh_lib.replicated(assembly.mesh)
    self._encode = jax.jit(self._features_of_batch, out_shardings=same)

  @property
  def possible(self) -> bool:
    """Whether there are labels to measure accuracy with."""
    dataset = self._experiment.dataset
    labeled = lambda source: source is not None and source.labels is not None and len(source) > 0
    return labeled(dataset.train) and labeled(dataset.test)

  @property
  def k(self) -> int:
    """Neighbors that vote: `knn.k`, or the size of a smaller bank."""
    return min(self._experiment.config.knn.k, len(self._experiment.dataset.train))

  def features(self, state: TrainState, images: np.ndarray | Source) -> np.ndarray:
    """Features by the online encoder with running statistics: float32 [n, dim].

    Args:
      state: of the run.
      images: uint8 [n, height, width, 3], or a source of such.
    """
    variables = state.variables
    rows = mesh_lib.split(self._experiment.mesh)
    apply = lambda batch: self._encode(variables, mesh_lib.put(batch, rows))
    return evaluation.extract(apply, images, batch_size=self._batch_size)

  def knn(self, state: TrainState) -> float:
    """Accuracy in [0, 1] on the test images, the training images voting."""
    dataset = self._experiment.dataset
    assert dataset.test is not None
    return self._accuracy(self.features(state, dataset.train), self.features(state, dataset.test))

  def knn_of_pixels(self) -> float:
    """The same protocol on the normalized pixels that the encoder is given."""
    dataset, recipe = self._experiment.dataset, self._experiment.recipe
    plain = jax.jit(lambda images: views.unaugmented(recipe, images).reshape(len(images), -1))
    pixels = lambda source: evaluation.extract(plain, source, batch_size=self._batch_size)
    assert dataset.test is not None
    return self._accuracy(pixels(dataset.train), pixels(dataset.test))

  def meters(self, state: TrainState) -> dict[str, float]:
    """What explains the accuracy, of the normalized features of the test images.

    Returns:
      `crowding_ratio` (variance within classes over squared distance between them, lower is
      better), `uniformity` (log-mean of exp(-2 d²) over pairs, lower is more even) and
      `feature_std` (spread per dimension: 1 fills the sphere, 0 is collapse). Of at most 2,000
      images, the first of them.
    """
    test = self._experiment.dataset.test
    assert test is not None and test.labels is not None
    shown = np.arange(min(len(test), _MOST_MEASURED))
    features, labels = self.features(state, test[shown]), test.labels[shown]
    counts = np.bincount(labels)
    crowded = np.count_nonzero(counts) > 1 and counts.max() > 1
    ratio = analysis.crowding(features, labels, normalize=True).crowding_ratio if crowded else None
    log_mean, _ = losses.uniformity(jnp.asarray(features))
    spread = methods.feature_std([jnp.asarray(features)])
    found = {'uniformity': float(log_mean), 'feature_std': float(spread)}
    return {'crowding_ratio': float('nan') if ratio is None else ratio, **found}

  def _accuracy(self, bank: np.ndarray, queries: np.ndarray) -> float:
    dataset = self._experiment.dataset
    assert dataset.test is not None
    return evaluation.knn_accuracy(
      bank,
      dataset.train.labels,
      queries,
      dataset.test.labels,
      k=self.k,
      temperature=self._experiment.config.knn.temperature,
    )

  def _features_of_batch(self, variables: Any, images: jax.Array) -> jax.Array:
    return self._experiment.method.features(
      variables, views.unaugmented(self._experiment.recipe, images)
    )
