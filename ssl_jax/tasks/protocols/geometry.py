"""Meters of the feature space, from features alone; labels measure and never train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import analysis
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.measurement import Measurement, Taken, higher, lower, plain

_MOST_ROWS = 20_000
_LOWER = (
  'crowding_ratio',
  'scatter_ratio',
  'distance_ratio',
  'intra_class_variance',
  'nearest_neighbor_error',
)
_HIGHER = ('five_nn_accuracy', 'silhouette')
_DRAWN = ('crowding_ratio', 'scatter_ratio', 'distance_ratio', 'nearest_neighbor_error')


def crowding(context: EvalContext) -> Measurement:
  """The crowding problem of DSA, of normalized test features; first of all the crowding ratio."""
  features, labels = _some(context)
  found = dataclasses.asdict(analysis.crowding(features, labels, normalize=True))
  raw = dataclasses.asdict(analysis.crowding(features, labels))
  scores = {
    name: lower(value) if name in _LOWER else higher(value) if name in _HIGHER else plain(value)
    for name, value in sorted(found.items(), key=lambda item: item[0] != 'crowding_ratio')
  }
  scores['crowding_ratio, not normalized'] = lower(raw['crowding_ratio'])
  return Measurement(scores, {'drawn': {name: found[name] for name in _DRAWN}}, {'raw': raw})


def draw_crowding(taken: Mapping[str, Taken]) -> Iterator[Figure]:
  """Bars, one panel a meter."""
  meters = {
    name.replace('_', ' '): {
      who: one.measurement.plot_data['drawn'][name] for who, one in taken.items()
    }
    for name in _DRAWN
  }
  yield Figure(
    'Crowding',
    'Spread within classes against distance between them, of normalized features of test images: '
    'lower is better in every panel.',
    figures.meter_bars(meters, better=dict.fromkeys(meters, 'lower')),
  )


def spectrum(context: EvalContext) -> Measurement:
  """How many directions the features use."""
  source = context.source('test')
  features = np.asarray(context.features('test')[: min(len(source), _MOST_ROWS)])
  found = analysis.spectrum(features)
  return Measurement(
    {
      'RankMe': higher(found.rank_me),
      'effective rank': higher(found.effective_rank),
      'participation ratio': plain(found.participation_ratio),
      'share of the first direction': plain(found.top_share),
      'dimensions': plain(features.shape[1]),
    }
  )


def hypersphere(context: EvalContext) -> Measurement:
  """Wang and Isola's alignment and uniformity of augmented views; both lower is better."""
  settings = context.settings
  views = context.view_features('test', settings.views, most=settings.view_images)
  by_view = [analysis.uniformity(views[:, view]) for view in range(views.shape[1])]
  uniformity = float(np.mean(by_view))
  return Measurement(
    {'alignment': lower(analysis.alignment(views)), 'uniformity': lower(uniformity)}
  )


def _some(context: EvalContext) -> tuple[np.ndarray, np.ndarray]:
  """Test features that all pairs can be compared of."""
  features, labels = context.features('test'), context.labels('test')
  return np.asarray(features[:_MOST_ROWS]), labels[:_MOST_ROWS]
