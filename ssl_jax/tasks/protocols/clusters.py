"""Clusters of test features against classes, and false negatives by rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import analysis, evaluation
from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, Result, higher, plain, protocol, share

_MOST_ROWS = 20_000
_FEWEST_AUDITED = 3
_AUDITED_ANCHORS = 25_600


@protocol(
  'clustering',
  help='k-means: accuracy, NMI, ARI, silhouette',
  settings=('evaluate.kmeans_restarts',),
  classes_of='test',
)
def clustering(context: EvalContext) -> Measurement:
  """k-means with as many clusters as classes, of normalized test features."""
  labels = context.labels('test')[:_MOST_ROWS]
  found = evaluation.clustering(
    np.asarray(context.features('test')[:_MOST_ROWS]),
    labels,
    restarts=context.settings.kmeans_restarts,
    seed=context.seed,
  )
  scores = {
    'accuracy': share(found.accuracy),
    'NMI': higher(found.nmi),
    'ARI': higher(found.ari),
    'silhouette_of_clusters': higher(found.silhouette),
  }
  reason = 'every class has a single test image' if found.clusters == len(labels) else ''
  scores = {name: score._replace(reason=reason) for name, score in scores.items()}
  if not reason and np.isnan(found.silhouette):
    reason = 'k-means found a single cluster, or one for each image'
    scores['silhouette_of_clusters'] = higher(np.nan)._replace(reason=reason)
  return Measurement(scores)


@protocol(
  'granularity',
  help='k-means with C/2 to 10 C clusters of C classes: homogeneity, completeness',
  settings=('evaluate.kmeans_restarts',),
  classes_of='test',
)
def granularity(context: EvalContext) -> Measurement:
  """Under- and over-clustering: from half as many clusters as classes to ten times as many."""
  labels = context.labels('test')[:_MOST_ROWS]
  found = analysis.cluster_granularity(
    np.asarray(context.features('test')[:_MOST_ROWS]),
    labels,
    restarts=context.settings.kmeans_restarts,
    seed=context.seed,
  )
  scores = {}
  for row in found.rows:
    for name in ('purity', 'homogeneity', 'completeness'):
      scores[f'{name}, {row.clusters} clusters'] = higher(getattr(row, name))
    scores[f'NMI, {row.clusters} clusters'] = higher(row.nmi)
  scores['mean cosine, same class'] = plain(found.same_class_cosine)
  scores['mean cosine, other class'] = plain(found.different_class_cosine)
  most = 10 * len(np.unique(labels))
  note = f'{most:,} clusters and others beyond the {len(labels):,} test images are left out'
  details = {'rows': [dataclasses.asdict(row) for row in found.rows]}
  return Measurement(scores, {}, details, (note,) if most > len(labels) else ())


def draw_false_negatives(results: Mapping[str, Result]) -> Iterator[Figure]:
  """The curves of all encoders in one picture."""
  curves = {}
  for who, one in results.items():
    audit = one.measurement.plot_data['audit']
    curves[who] = figures.RankCurve(
      audit.ranks, audit.same_class, audit.standard_error, audit.chance, audit.exact_bound
    )
  yield Figure(
    'False negatives by rank',
    'How often the negative of a rank, 1 being the most similar, is of the class of the anchor. '
    'A good encoder ranks its own class first, up to the bound (of these batches, drawn without '
    'replacement); an ignorant one stays at chance.',
    figures.rank_curves(curves),
  )


@protocol(
  'false_negatives',
  help='share of the same class by rank of the negative, against the binomial bound',
  settings=('evaluate.false_negative_batch_size',),
  classes_of='test',
  draw=draw_false_negatives,
)
def false_negatives(context: EvalContext) -> Measurement:
  """P(same class | rank of the negative), two views of test images in batches of the run's size."""
  labels = context.labels('test')
  wanted = context.settings.false_negative_batch_size or context.batch_size
  if context.settings.false_negative_batch_size and wanted > len(labels):
    allowed = f'at most {len(labels)}, the test images'
    raise ArgumentError('--evaluate.false_negative_batch_size', wanted, allowed)
  if len(labels) < _FEWEST_AUDITED:
    raise ArgumentError('test images', len(labels), f'at least {_FEWEST_AUDITED}')
  batch = max(_FEWEST_AUDITED, min(wanted, len(labels), _MOST_ROWS))
  views = context.view_features('test', 2)[:_MOST_ROWS]
  found = analysis.false_negative_audit(
    views[:, 0],
    views[:, 1],
    labels[:_MOST_ROWS],
    batch_size=batch,
    batches=max(2, min(100, _AUDITED_ANCHORS // batch)),
    seed=context.seed,
  )
  ranks = {rank: at for at, rank in enumerate(found.ranks.tolist())}
  shown = [rank for rank in (1, 2, 5, 10, 20, 50, 100, 200) if rank in ranks]
  scores = {f'P(same class | rank {rank})': plain(found.same_class[ranks[rank]]) for rank in shown}
  scores |= {f'bound at rank {rank}': plain(found.exact_bound[ranks[rank]]) for rank in shown}
  scores['P(same class), any rank'] = plain(found.chance)
  why = 'all test images' if batch < wanted else 'the fewest that can be ranked'
  notes = () if batch == wanted else (f'batches of {batch:,}, {why}, not {wanted:,} as the run',)
  return Measurement(scores, {'audit': found}, {'batch_size': batch}, notes)
