"""What views of images log about class prototypes: bias, the chain of bounds, similarities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from ssl_jax import analysis
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.measurement import Measurement, Taken, higher, lower, plain

# The balanced contrastive loss at temperature 0.5, as the chain is recommended to be logged.
SHARPNESS = 2.0


def bias(context: EvalContext) -> Measurement:
  """Prototype representation bias: four norms, an unbiased estimate, and the share that collapse
  cannot lower."""
  found = dataclasses.asdict(analysis.prototype_bias(*context.augmented_features()))
  macro = found.pop('macro')
  alone = found.pop('single_image_classes')
  judged = ('squared', 'l2', 'unit_l2', 'cosine', 'squared_unbiased', 'share')
  scores = {name: lower(value) if name in judged else plain(value) for name, value in found.items()}
  scores |= {f'macro {name}': lower(macro[name]) for name in ('squared', 'squared_unbiased')}
  return Measurement(scores, {}, {'macro': macro, 'single_image_classes': alone})


def bound_chain(context: EvalContext) -> Measurement:
  """Every step from the supervised objective to the balanced contrastive loss."""
  found = dataclasses.asdict(analysis.bound_chain(*context.augmented_features(), SHARPNESS))
  return Measurement({name: plain(value) for name, value in found.items()})


def similarities(context: EvalContext) -> Measurement:
  """Cosines of views of one image, of images of one class, and of different classes."""
  views, labels = context.augmented_features()
  found = analysis.similarity_histograms(views, labels)
  kinds = ('same_image', 'same_class', 'other_class')
  densities = found.densities()
  means = {kind: getattr(found, f'{kind}_mean') for kind in kinds}
  scores = {f'mean cosine, {kind.replace("_", " ")}': plain(means[kind]) for kind in kinds}
  scores['same class minus other class'] = higher(means['same_class'] - means['other_class'])
  words = {kind.replace('_', ' '): densities[kind] for kind in kinds}
  return Measurement(scores, {'edges': found.edges, 'densities': words})


def draw_similarities(taken: Mapping[str, Taken]) -> Iterator[Figure]:
  """Histograms, a panel an encoder."""
  edges = next(iter(taken.values())).measurement.plot_data['edges']
  runs = {who: one.measurement.plot_data['densities'] for who, one in taken.items()}
  yield Figure(
    'Similarities',
    'Cosine of two views of the same image, of two images of the same class, and of images of '
    'different classes. A good encoder keeps the last apart from the other two.',
    figures.similarity_histograms_plot(edges, runs),
  )
