"""Retrieval: of persons between cameras, or of test images among themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np

from ssl_jax import data, evaluation
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, Result, higher, plain, protocol, share

_SHOWN = 8
_NEIGHBORS = 9
_MOST_GALLERY = 20_000


def draw_retrieval(results: Mapping[str, Result]) -> Iterator[Figure]:
  """A grid of queries and their nearest images, for the first encoder."""
  who, one = next(iter(results.items()))
  plot_data = one.measurement.plot_data
  if not plot_data:
    return
  yield Figure(
    'Retrieval',
    f'Left: queries, drawn at random. Right: what {who} ranks first. A solid blue frame is a hit, '
    'a dashed orange one a miss.',
    figures.neighbor_grid(plot_data['queries'], plot_data['found'], plot_data['hits']),
    photographic=True,
  )


@protocol(
  'retrieval',
  help='rank-1/5/10 and mAP, of persons or of the test images',
  settings=('evaluate.reid', 'evaluate.reid_flip'),
  draw=draw_retrieval,
)
def retrieval(context: EvalContext) -> Measurement:
  """Rank-1/5/10 and mAP: of persons with `--evaluate.reid` (SYSU-30k, Market-1501), else each
  test image asks for the others of its class."""
  if context.settings.reid:
    return _persons(context)
  context.labeled.require_classes('test')
  return _test_images(context.labeled)


def _test_images(context: EvalContext) -> Measurement:
  features = np.asarray(context.features('test')[:_MOST_GALLERY])
  labels = context.labels('test')[: len(features)]
  rows = np.arange(len(features))
  found = evaluation.retrieval_scores(features, labels, features, labels, query_rows=rows)
  source = context.source('test')
  shown = np.sort(np.random.default_rng(1).permutation(len(features))[:_SHOWN])
  nearest, _ = evaluation.nearest_neighbors(
    features, features[shown], min(_NEIGHBORS + 1, len(features))
  )
  # A query finds itself, first unless a copy of it stands before it.
  others = np.stack(
    [_without(row, own)[:_NEIGHBORS] for row, own in zip(nearest, shown, strict=True)]
  )
  plot_data = {
    'queries': source[shown],
    'found': source[others.ravel()].reshape(*others.shape, *source.images.shape[1:]),
    'hits': labels[others] == labels[shown][:, None],
  }
  return Measurement(_scores(found), plot_data if others.size else {}, _details(found))


def _without(row: np.ndarray, own: int) -> np.ndarray:
  kept = row[row != own]
  return kept if len(kept) < len(row) else row[:-1]


def _persons(context: EvalContext) -> Measurement:
  persons = _read_persons(context.settings.reid)
  released = context.settings.reid_flip

  def embed(images: np.ndarray, name: str) -> np.ndarray:
    mirrored = data.ArraySource(np.ascontiguousarray(images[:, :, ::-1]))
    both = [
      context.features_of(source, f'persons-{name}{suffix}', whole=True)
      for source, suffix in ((data.ArraySource(images), ''), (mirrored, '-flipped'))
    ]
    return evaluation.flip_ensemble(*both, released=released)

  queries, gallery = embed(persons.query, 'query'), embed(persons.gallery, 'gallery')
  found = evaluation.retrieval_scores(
    queries,
    persons.query_ids,
    gallery,
    persons.gallery_ids,
    query_cameras=persons.query_cameras,
    gallery_cameras=persons.gallery_cameras,
  )
  shown = np.sort(np.random.default_rng(1).permutation(len(queries))[:_SHOWN])
  nearest, _ = evaluation.nearest_neighbors(gallery, queries[shown], min(_NEIGHBORS, len(gallery)))
  plot_data = {
    'queries': persons.query[shown],
    'found': persons.gallery[nearest.ravel()].reshape(*nearest.shape, *persons.gallery.shape[1:]),
    'hits': persons.gallery_ids[nearest] == persons.query_ids[shown][:, None],
  }
  return Measurement(_scores(found), plot_data, _details(found))


@functools.lru_cache(maxsize=1)
def _read_persons(source: str) -> data.Reid:
  return data.load_reid(source)


def _scores(found: evaluation.RetrievalScores) -> dict:
  scores = {f'rank-{rank}': share(value) for rank, value in found.cmc.items()}
  scores['mAP'] = higher(found.mean_average_precision)._replace(percent=True)
  scores['mAP, trapezoid'] = higher(found.trapezoid_map)._replace(percent=True)
  if found.queries == found.queries_without_match:
    reason = 'no query has another image of its own in the gallery'
    scores = {name: score._replace(reason=reason) for name, score in scores.items()}
  scores['queries without a match'] = plain(found.queries_without_match)
  return scores


def _details(found: evaluation.RetrievalScores) -> dict:
  return {'queries': int(found.queries), 'queries_without_match': int(found.queries_without_match)}
