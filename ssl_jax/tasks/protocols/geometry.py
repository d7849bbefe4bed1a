"""Geometry of the feature space: crowding, spectrum, alignment and uniformity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import analysis
from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import VIEW_SETTINGS, EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, Result, higher, lower, plain, protocol

_MOST_ROWS = 20_000
_LOWER = (
  'crowding_ratio',
  'scatter_ratio',
  'distance_ratio',
  'intra_class_variance',
  'nearest_neighbor_error',
)
_HIGHER = ('five_nn_accuracy', 'silhouette_of_classes')
_DRAWN = ('crowding_ratio', 'scatter_ratio', 'distance_ratio', 'nearest_neighbor_error')


def draw_crowding(results: Mapping[str, Result]) -> Iterator[Figure]:
  """Bars, one panel a metric."""
  metrics = {
    name.replace('_', ' '): {
      who: one.measurement.plot_data['drawn'][name] for who, one in results.items()
    }
    for name in _DRAWN
  }
  yield Figure(
    'Crowding',
    'Spread within classes against distance between them, of normalized features of test images: '
    'lower is better in every panel.',
    figures.metric_bars(metrics, better=dict.fromkeys(metrics, 'lower')),
  )


@protocol(
  'crowding',
  help='spread within classes against distance between them (DSA)',
  classes_of='test',
  online=('crowding_ratio', 'scatter_ratio', 'nearest_neighbor_error', 'silhouette_of_classes'),
  draw=draw_crowding,
)
def crowding(context: EvalContext) -> Measurement:
  """The crowding problem of DSA, of normalized test features; first of all the crowding ratio."""
  features, labels = _some(context)
  found = dataclasses.asdict(analysis.crowding(features, labels, normalize=True))
  # That of clusters is another number, of the protocol `clustering`.
  found['silhouette_of_classes'] = found.pop('silhouette')
  raw = dataclasses.asdict(analysis.crowding(features, labels))
  scores = {
    name: lower(value) if name in _LOWER else higher(value) if name in _HIGHER else plain(value)
    for name, value in sorted(found.items(), key=lambda item: item[0] != 'crowding_ratio')
  }
  scores['crowding_ratio, not normalized'] = lower(raw['crowding_ratio'])
  for name, score in scores.items():
    if not np.isfinite(score.value):
      scores[name] = score._replace(reason='the features of the classes coincide')
  return Measurement(scores, {'drawn': {name: found[name] for name in _DRAWN}}, {'raw': raw})


@protocol('spectrum', help='RankMe, effective rank', online=('rank_me', 'effective_rank'))
def spectrum(context: EvalContext) -> Measurement:
  """Rank metrics of the features."""
  source = context.source('test')
  if len(source) < 2:
    raise ArgumentError('test images', len(source), 'at least 2 to have a spread')
  features = np.asarray(context.features('test')[: min(len(source), _MOST_ROWS)])
  found = analysis.spectrum(features)
  return Measurement(
    {
      'rank_me': higher(found.rank_me),
      'effective_rank': higher(found.effective_rank),
      'participation_ratio': plain(found.participation_ratio),
      'top_share': plain(found.top_share),
      'dimensions': plain(features.shape[1]),
    }
  )


@protocol(
  'hypersphere',
  help='alignment and uniformity',
  settings=VIEW_SETTINGS,
  online=('alignment', 'uniformity_views'),
)
def hypersphere(context: EvalContext) -> Measurement:
  """Wang and Isola's alignment and uniformity of augmented views; both lower is better."""
  views = context.augmented_features()
  # `uniformity` alone is that of unaugmented features, in result.json.
  uniformity = lower(np.nan)._replace(reason='it compares two test images, and there is one')
  if len(views) > 1:
    by_view = [analysis.uniformity(views[:, view]) for view in range(views.shape[1])]
    uniformity = lower(float(np.mean(by_view)))
  return Measurement(
    {'alignment': lower(analysis.alignment(views)), 'uniformity_views': uniformity}
  )


def _some(context: EvalContext) -> tuple[np.ndarray, np.ndarray]:
  """Test features that all pairs can be compared of."""
  features, labels = context.features('test'), context.labels('test')
  return np.asarray(features[:_MOST_ROWS]), labels[:_MOST_ROWS]
