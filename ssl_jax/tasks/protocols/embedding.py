"""t-SNE map of test features, and their nearest training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import evaluation
from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, Result, protocol

_POINTS = 1000
_FEWEST = 3
_QUERIES, _NEIGHBORS, _MOST_BANK = 8, 8, 10_000


def draw_embedding(results: Mapping[str, Result]) -> Iterator[Figure]:
  """The maps side by side, then the neighbors of each."""
  labels = [one.measurement.plot_data['labels'] for one in results.values()]
  same = all(np.array_equal(one, labels[0]) for one in labels)
  # One legend for all, unless they are of different images.
  groups = [results] if same else [{who: one} for who, one in results.items()]
  for group in groups:
    who, first = next(iter(group.items()))
    class_names = first.context.dataset.class_names
    of = first.measurement.plot_data['labels']
    yield Figure(
      'Maps of test features' if same else f'Map of test features, {who}',
      't-SNE, started from PCA with a fixed seed'
      + (f'; colors are classes.{figures.class_key(class_names)}' if of is not None else '.'),
      figures.tsne_panels(
        {name: one.measurement.plot_data['features'] for name, one in group.items()},
        of,
        class_names,
      ),
    )
  for who, one in results.items():
    plot_data = one.measurement.plot_data
    caption = 'Left: test images. Right: the most similar training images.'
    if plot_data['hits'] is not None:
      caption += ' A solid blue frame is the same class, a dashed orange one another.'
    yield Figure(
      f'Neighbors, {who}',
      caption,
      figures.neighbor_grid(
        plot_data['queries'], plot_data['found'], plot_data['hits'], half=len(results) > 1
      ),
      photographic=True,
      half=len(results) > 1,
    )


@protocol('embedding', help='t-SNE and a grid of nearest neighbors', draw=draw_embedding)
def embedding(context: EvalContext) -> Measurement:
  """Figures without scores: t-SNE of test features, and neighbors among training images."""
  source, train = context.source('test'), context.source('train')
  rng = np.random.default_rng(0)
  rows = np.sort(rng.permutation(len(source))[:_POINTS])
  features = np.asarray(context.features('test')[rows])
  if len(rows) < _FEWEST:
    raise ArgumentError('test images', len(rows), f'at least {_FEWEST}')
  bank_rows = np.sort(rng.permutation(len(train))[:_MOST_BANK])
  shown = rng.permutation(len(rows))[:_QUERIES]
  nearest, _ = evaluation.nearest_neighbors(
    np.asarray(context.features('train')[bank_rows]),
    features[shown],
    min(_NEIGHBORS, len(bank_rows)),
  )
  found = bank_rows[nearest]
  hits = None
  if source.labels is not None and train.labels is not None:
    hits = figures.same_class(train.labels[found], source.labels[rows[shown]])
  images = train[found.ravel()].reshape(*found.shape, *train.images.shape[1:])
  labels = None if source.labels is None else source.labels[rows]
  plot_data = {
    'features': features,
    'labels': labels,
    'queries': source[rows[shown]],
    'found': images,
    'hits': hits,
  }
  lowered = figures.perplexity(len(rows))
  note = f't-SNE of {len(rows)} images has perplexity {lowered:.3g} instead of 30'
  notes = (note,) if lowered < figures.PERPLEXITY else ()
  return Measurement({}, plot_data, notes=notes)
