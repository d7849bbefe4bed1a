"""Class prototypes and augmented views: prototype bias, the chain of bounds, similarities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import analysis
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import VIEW_SETTINGS, EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, Result, higher, lower, plain, protocol

# The balanced contrastive loss at temperature 0.5, as the chain is recommended to be logged.
SHARPNESS = 2.0


@protocol(
  'prototype_bias',
  help='prototype representation bias (balanced contrastive loss)',
  settings=VIEW_SETTINGS,
  classes_of='test',
  online=('squared', 'squared_unbiased', 'share', 'augmentation_variance'),
  aliases=('bias',),
)
def prototype_bias(context: EvalContext) -> Measurement:
  """Prototype representation bias: four norms, an unbiased estimate, and the share that collapse
  cannot lower."""
  found = dataclasses.asdict(analysis.prototype_bias(*context.labeled_views()))
  macro = found.pop('macro')
  alone = found.pop('single_image_classes')
  lower_is_better = ('squared', 'l2', 'unit_l2', 'cosine', 'squared_unbiased', 'share')
  scores = {
    name: lower(value) if name in lower_is_better else plain(value) for name, value in found.items()
  }
  scores |= {f'macro {name}': lower(macro[name]) for name in ('squared', 'squared_unbiased')}
  return Measurement(scores, {}, {'macro': macro, 'single_image_classes': alone})


@protocol(
  'bound_chain',
  help='the steps from the supervised objective to the contrastive loss',
  settings=VIEW_SETTINGS,
  classes_of='test',
  online=tuple(field.name for field in dataclasses.fields(analysis.BoundChain)),
)
def bound_chain(context: EvalContext) -> Measurement:
  """Every step from the supervised objective to the balanced contrastive loss."""
  found = dataclasses.asdict(analysis.bound_chain(*context.labeled_views(), SHARPNESS))
  return Measurement({name: plain(value) for name, value in found.items()})


def draw_similarities(results: Mapping[str, Result]) -> Iterator[Figure]:
  """Histograms, a panel an encoder."""
  edges = next(iter(results.values())).measurement.plot_data['edges']
  runs = {who: one.measurement.plot_data['densities'] for who, one in results.items()}
  yield Figure(
    'Similarities',
    'Cosine of two views of the same image, of two images of the same class, and of images of '
    'different classes. A good encoder keeps the last apart from the other two.',
    figures.similarity_histograms_plot(edges, runs),
  )


@protocol(
  'similarities',
  help='histograms of cosines: same image, same class, other class',
  settings=VIEW_SETTINGS,
  classes_of='test',
  draw=draw_similarities,
)
def similarities(context: EvalContext) -> Measurement:
  """Cosines of views of one image, of images of one class, and of different classes."""
  views, labels = context.labeled_views()
  found = analysis.similarity_histograms(views, labels)
  kinds = ('same_image', 'same_class', 'other_class')
  densities = found.densities()
  means = {kind: getattr(found, f'{kind}_mean') for kind in kinds}
  scores = {f'mean cosine of views, {kind.replace("_", " ")}': plain(means[kind]) for kind in kinds}
  scores['same class minus other class'] = higher(means['same_class'] - means['other_class'])
  for name, score in scores.items():
    if np.isnan(score.value):
      scores[name] = score._replace(reason='no two test images are of one class')
  words = {kind.replace('_', ' '): densities[kind] for kind in kinds}
  return Measurement(scores, {'edges': found.edges, 'densities': words})
