"""Measurements of the encoder during training: kNN accuracy, and protocols as metrics."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ssl_jax import analysis, methods
from ssl_jax.arguments import ArgumentError
from ssl_jax.config.flags import UsageError, flags_of
from ssl_jax.data import Source
from ssl_jax.reporting import read_metrics
from ssl_jax.tasks.protocols import PROTOCOLS, TRAINED, chosen_protocols
from ssl_jax.tasks.protocols.context import EvalContext, NonFiniteFeaturesError, labeled_only
from ssl_jax.tasks.protocols.neighbors import knn_grid
from ssl_jax.tasks.run import frozen_encoder
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.tasks.run.frozen_encoder import PIXELS
from ssl_jax.training import TrainState, multihost

# `representation` compares all pairs of images.
_MOST_IMAGES = 2000


class OnlineEvaluation:
  """Measures any state of a run by the functions of `--task=evaluate`.

  Features are computed by all devices, so with several processes all of them must call a method.

  Args:
    experiment: the run.
    log: takes a line about each measurement that features with NaN make impossible.

  Attributes:
    reason: why a number means nothing on these images and is NaN, by its name.

  Raises:
    UsageError: metrics are asked for, and there are no labeled test images to measure, or only of
      one class.
  """

  def __init__(
    self, experiment: Experiment, log: Callable[[str], None] = lambda line: None
  ) -> None:
    self._experiment, self._log = experiment, log
    self._labeled = labeled_only(experiment.dataset)
    self.reason: dict[str, str] = {}
    if self.measures_representation and not self.measures_knn:
      self.reason['knn'] = 'the labeled training images are of a single class'
    settings = experiment.config.online_metrics
    self._protocols = [PROTOCOLS[name] for name in chosen_protocols(settings.names)]
    if not self._protocols:
      return
    test, lacking = experiment.dataset.test, ''
    if not _is_labeled(self._labeled.test):
      lacking = 'the data has no labeled test images'
    elif any(one.classes_of for one in self._protocols) and _classes(test, settings.images) < 2:
      lacking = 'the test images that are measured are of a single class'
    if lacking:
      found = ','.join(settings.names)
      raise UsageError(f'--online_metrics.names: found {found}, must be empty: {lacking}')

  @property
  def measures_knn(self) -> bool:
    """Whether kNN is asked for, and there are labels of two classes to measure it with."""
    return self.measures_representation and _classes(self._labeled.train) > 1

  @property
  def measures_representation(self) -> bool:
    """Whether kNN is asked for, and there are labels."""
    labeled = _is_labeled(self._labeled.train) and _is_labeled(self._labeled.test)
    return labeled and 'knn' in self._experiment.config.protocols

  @property
  def measures_metrics(self) -> bool:
    """Whether there are protocols to log as metrics."""
    return bool(self._protocols)

  @property
  def starts_from_given_weights(self) -> bool:
    """Whether training starts from other weights than random ones."""
    return bool(self._experiment.config.model.init_from)

  @property
  def k(self) -> int:
    """Neighbors that vote: the first of `knn.k`, at most the number of labeled training images."""
    return min(self._experiment.config.knn.k[0], len(self._labeled.train))

  @property
  def temperature(self) -> float:
    """Of the vote: the first of `knn.temperature`."""
    return self._experiment.config.knn.temperature[0]

  def features(self, state: TrainState, images: Source) -> np.ndarray:
    """Features of un-augmented images by the online encoder: float32 [n, dim]."""
    return frozen_encoder.of_state(self._experiment, state).features(images, 'encoder')

  def knn(self, state: TrainState, layer: str = 'encoder') -> float:
    """Accuracy in [0, 1] on the labeled test images, the labeled training images voting; NaN where
    features are not finite.

    Args:
      state: of the run.
      layer: of the features; `frozen_encoder.PIXELS` measures the images themselves.
    """
    try:
      context = self._context(state).labeled
      found = knn_grid(context, (self.k,), (self.temperature,), layer=layer)
    except NonFiniteFeaturesError as error:
      self._leave_out(['knn'], error)
      return math.nan
    self._forget(['knn'])
    return float(found.top1[0, 0])

  def metrics(self, state: TrainState) -> dict[str, float]:
    """The online scores of the protocols in `--online_metrics.names`, each named `PROTOCOL/SCORE`.

    They are of the first `online_metrics.images` test images, in `online_metrics.views` views each.
    """
    settings = self._experiment.config.online_metrics
    context = self._context(state, settings.images, settings.views)
    found: dict[str, float] = {}
    for protocol in self._protocols:
      names = {name: f'{protocol.name}/{name}' for name in protocol.online}
      try:
        scores = protocol.measure(context).scores
      except NonFiniteFeaturesError as error:
        self._leave_out(names.values(), error)
        found |= dict.fromkeys(names.values(), math.nan)
        continue
      self._forget(names.values())
      found |= {metric: scores[name].value for name, metric in names.items()}
    return found

  def representation(self, state: TrainState) -> dict[str, float]:
    """Numbers of the normalized features of the first 2,000 un-augmented test images.

    Returns:
      `crowding_ratio` (variance within classes over squared distance between them, lower is
      better; of the labeled images; NaN without two classes and two images of one), `uniformity`
      (log-mean of exp(-2 d²) over pairs, lower is more uniform; NaN of one image) and `feature_std`
      (spread per dimension: 1 fills the sphere, 0 is collapse). All are NaN where features are not
      finite. `reason` says why a number is NaN.
    """
    context = self._context(state, _MOST_IMAGES)
    found = dict.fromkeys(('crowding_ratio', 'uniformity', 'feature_std'), math.nan)
    try:
      features = context.features('test')
    except NonFiniteFeaturesError as error:
      self._leave_out(found, error)
      return found
    self._forget(found)
    labels = context.labels('test')
    known = labels >= 0
    try:
      crowding = analysis.crowding(features[known], labels[known], normalize=True)
      found['crowding_ratio'] = crowding.crowding_ratio
    except ArgumentError as error:
      self.reason['crowding_ratio'] = str(error)
    if math.isinf(found['crowding_ratio']):
      self.reason['crowding_ratio'] = 'the features of the classes coincide'
    if len(features) > 1:
      found['uniformity'] = analysis.uniformity(features)
    else:
      self.reason['uniformity'] = 'it compares two test images, and there is one'
    found['feature_std'] = float(methods.feature_std([jnp.asarray(features)]))
    return found

  def _forget(self, names: Iterable[str]) -> None:
    """Drops the reasons of an earlier state of the run."""
    for name in names:
      self.reason.pop(name, None)

  def _leave_out(self, names: Iterable[str], error: NonFiniteFeaturesError) -> None:
    names = list(names)
    self.reason |= dict.fromkeys(names, str(error))
    self._log(f'warning   not measured: {", ".join(names)}: {error}')

  def _context(self, state: TrainState, images: int = 0, views: int = 0) -> EvalContext:
    """The encoder of a state, with the first so many test images, or all for 0."""
    config, dataset = self._experiment.config, self._experiment.dataset
    settings = dataclasses.replace(config.evaluate, layer='encoder')
    if images and dataset.test is not None and images < len(dataset.test):
      dataset = dataclasses.replace(dataset, test=dataset.test.subset(np.arange(images)))
    if views:
      settings = dataclasses.replace(settings, views=views, augmented_images=max(images, 2))
    return EvalContext(
      TRAINED,
      frozen_encoder.of_state(self._experiment, state),
      dataset,
      dataclasses.replace(config, evaluate=settings),
    )


def _classes(source: Source, first: int | None = None) -> int:
  """How many classes the labels of a source, or of its first images, are of."""
  if source.labels is None:
    return 0
  labels = source.labels[:first]
  return len(np.unique(labels[labels >= 0]))


def _is_labeled(source: Source | None) -> bool:
  return source is not None and source.labels is not None and len(source) > 0


class Baselines(NamedTuple):
  """The kNN accuracies that training must exceed, by name, and the metrics of the untrained
  encoder's features; each empty where it is not measured."""

  knn: dict[str, float]
  representation: dict[str, float]


def measure_baselines(
  online: OnlineEvaluation,
  initial: TrainState,
  measured: pathlib.Path | None,
  write: Callable[[int, dict[str, float]], None],
  given: TrainState | None = None,
) -> Baselines:
  """Measures the untrained encoder and the pixels by the protocol of the trained encoder.

  Args:
    online: of the run.
    initial: its state at step 0.
    measured: its `metrics.jsonl`, where an earlier process measured the same data; or None.
    write: takes a step and its metrics, of what is measured for the first time.
    given: the state that training starts from where it is another one, with given weights.
  """
  baselines = Baselines({}, {})
  if online.measures_representation:
    knn = _knn_baselines(online, initial, given, measured) if online.measures_knn else {}
    baselines = Baselines(knn, online.representation(initial))
    if knn and measured is None:
      write(0, {f'knn_{name}': value for name, value in knn.items()})
  if online.measures_metrics and measured is None:
    with flags_of('', settings=()):
      write(0, online.metrics(initial))
  return baselines


def _knn_baselines(
  online: OnlineEvaluation,
  initial: TrainState,
  given: TrainState | None,
  measured: pathlib.Path | None,
) -> dict[str, float]:
  """kNN of the untrained encoder, of given weights and of pixels, read from `measured` where it has
  them."""
  names = {'knn_random_init': 'random_init', 'knn_pixels': 'pixels'}
  if online.starts_from_given_weights:
    names['knn_init_from'] = 'init_from'
  rows = read_metrics(measured) if measured is not None and measured.exists() else []
  known = [row for row in rows if row['step'] == 0 and names.keys() <= row.keys()]
  # Measuring is a collective of all processes, and only the first is sure to see the file.
  if multihost.broadcast(len(known)):
    # The last, where they were measured again because the data had changed.
    return {short: known[-1][name] for name, short in names.items()} if known else {}
  found = {'random_init': online.knn(initial), 'pixels': online.knn(initial, PIXELS)}
  return found if given is None else {**found, 'init_from': online.knn(given)}
