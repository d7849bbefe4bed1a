"""Nearest-neighbor accuracy: no classifier is trained."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from ssl_jax import evaluation
from ssl_jax.arguments import ArgumentError
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, plain, protocol, share
from ssl_jax.training import mesh as mesh_lib

EUCLIDEAN_K = ICCL_K = 5


def knn_grid(
  context: EvalContext,
  ks: Sequence[int],
  temperatures: Sequence[float],
  *,
  layer: str = '',
) -> evaluation.KnnGrid:
  """Accuracy on the test images for every k and temperature, the training images voting.

  Training logs one of these, `evaluate` reports all.

  Args:
    context: the encoder and the images.
    ks: numbers of neighbors, at most the number of training images.
    temperatures: above 0.
    layer: of the features; '' takes `evaluate.layer`.

  Raises:
    ValueError: a split has no images or no labels, a k is out of range, a feature is not finite.
  """
  mesh = context.encoder.mesh
  several = mesh.size > 1 and jax.process_count() == 1
  return evaluation.knn_grid(
    context.features('train', layer=layer),
    context.labels('train'),
    context.features('test', layer=layer),
    context.labels('test'),
    ks=ks,
    temperatures=temperatures,
    bank_chunk_size=context.settings.bank_chunk_rows,
    sharding=mesh_lib.split(mesh) if several else None,
  )


@protocol(
  'knn',
  help='weighted kNN over lists of k and temperature',
  settings=('knn.k', 'knn.temperature', 'evaluate.bank_chunk_rows'),
  classes_of='train',
)
def knn(context: EvalContext) -> Measurement:
  """Weighted kNN (Wu et al., CVPR 2018) for every k and temperature, from one search."""
  count, ks = len(context.labels('train')), context.knn.k
  if max(ks) > count:
    if context.is_given('knn.k'):
      raise ArgumentError('knn.k', max(ks), f'at most {count}, the labeled training images')
    ks = tuple(dict.fromkeys(min(k, count) for k in ks))
  grid = knn_grid(context, ks, context.knn.temperature)
  scores = {}
  for k, temperature, top1, top5 in grid.rows():
    name = f'k={k}, T={temperature:g}'
    scores[name] = share(top1)
    if top5 is not None:
      scores[f'{name}, top-5'] = share(top5)
  return Measurement(scores, notes=_lowered(max(context.knn.k), max(ks), 'labeled training'))


@protocol(
  'knn_euclidean',
  help='5-NN by Euclidean distance, majority vote (DSA)',
  settings=('evaluate.bank_chunk_rows',),
  classes_of='train',
)
def knn_euclidean(context: EvalContext) -> Measurement:
  """DSA's 5-NN: Euclidean, majority of five, features as they are."""
  k = min(EUCLIDEAN_K, len(context.labels('train')))
  predictions = evaluation.euclidean_knn_predict(
    context.features('train'),
    context.labels('train'),
    context.features('test'),
    k=k,
    bank_chunk_size=context.settings.bank_chunk_rows,
  )
  return Measurement(
    {'accuracy': share(np.mean(predictions == context.labels('test')))},
    notes=_lowered(EUCLIDEAN_K, k, 'labeled training'),
  )


@protocol(
  'iccl_knn5',
  help="ICCL's KNN-5 within the test images",
  classes_of='test',
  aliases=('knn_online',),
)
def iccl_knn5(context: EvalContext) -> Measurement:
  """ICCL's KNN-5 within the test images, for parity of logs; it ends at 80 %."""
  labels = context.labels('test')
  k = min(ICCL_K, len(labels))
  value = evaluation.iccl_knn5(context.features('test'), labels, k=k)
  return Measurement(
    {f'share of own class (at most {1 - 1 / k:.2g})': plain(value)},
    notes=_lowered(ICCL_K, k, 'labeled test'),
  )


def _lowered(wanted: int, taken: int, images: str) -> tuple[str, ...]:
  """The note that k, `wanted` by default, is lowered to the number of images."""
  line = f'k is at most {taken}, the number of {images} images, not {wanted}'
  return (line,) if taken < wanted else ()
