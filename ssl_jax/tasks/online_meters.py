"""What explains the score, measured while it comes about, on a fixed set of test images."""

from __future__ import annotations

import dataclasses

import numpy as np

from ssl_jax import analysis
from ssl_jax.data import ArraySource
from ssl_jax.flag_parsing import UsageError
from ssl_jax.tasks import encoders
from ssl_jax.tasks.assembly import Assembly
from ssl_jax.tasks.protocols.prototypes import SHARPNESS
from ssl_jax.training import TrainState

# The meters that a curve says something of; the evaluation has all.
_CROWDING = ('crowding_ratio', 'scatter_ratio', 'nearest_neighbor_error', 'silhouette')


class OnlineMeters:
  """The meters that `--meters.names` lists, of any state of a run.

  Raises:
    UsageError: there are no labelled test images to measure.
  """

  def __init__(self, parts: Assembly) -> None:
    self._parts, self._settings = parts, parts.config.meters
    self._rows = np.arange(0)
    if not self.wanted:
      return
    test = parts.dataset.test
    if test is None or not len(test) or test.labels is None:
      raise UsageError(
        f'--meters.names: found {",".join(self._settings.names)}, must be empty: '
        'the data has no labelled test images'
      )
    self._rows = np.arange(min(len(test), self._settings.images))

  @property
  def wanted(self) -> bool:
    """Whether there is anything to measure."""
    return bool(self._settings.names)

  def measure(self, state: TrainState) -> dict[str, float]:
    """Metrics by name, `meter_` first; a collective of all processes."""
    test, settings = self._parts.dataset.test, self._settings
    shown: ArraySource = test.subset(self._rows)
    assert shown.labels is not None
    encoder = encoders.of_state(self._parts, state)
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
