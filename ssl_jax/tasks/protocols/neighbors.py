"""Training-free accuracy: what the nearest training images log."""

from __future__ import annotations

import numpy as np

from ssl_jax import evaluation
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.measurement import Measurement, plain, share
from ssl_jax.training import mesh as mesh_lib

EUCLIDEAN_K = 5


def knn(context: EvalContext) -> Measurement:
  """Weighted kNN (Wu et al., CVPR 2018) for every k and temperature, from one search."""
  settings = context.settings
  bank, labels = context.features('train'), context.labels('train')
  queries, wanted = context.features('test'), context.labels('test')
  grid = evaluation.knn_grid(
    bank,
    labels,
    queries,
    wanted,
    ks=settings.knn_k,
    temperatures=settings.knn_temperatures,
    bank_chunk_size=settings.chunk_rows,
    sharding=mesh_lib.split(context.encoder.mesh) if context.encoder.mesh.size > 1 else None,
  )
  scores = {}
  for k, temperature, top1, top5 in grid.rows():
    name = f'k={k}, T={temperature:g}'
    scores[name] = share(top1)
    if top5 is not None:
      scores[f'{name}, top-5'] = share(top5)
  return Measurement(scores)


def knn_euclidean(context: EvalContext) -> Measurement:
  """DSA's 5-NN: Euclidean, majority of five, features as they are."""
  predictions = evaluation.euclidean_knn_predict(
    context.features('train'),
    context.labels('train'),
    context.features('test'),
    k=EUCLIDEAN_K,
    bank_chunk_size=context.settings.chunk_rows,
  )
  return Measurement({'accuracy': share(np.mean(predictions == context.labels('test')))})


def knn_online(context: EvalContext) -> Measurement:
  """ICCL's KNN-5 within the test images, for parity of logs; it ends at 80 %."""
  value = evaluation.iccl_knn5(context.features('test'), context.labels('test'))
  return Measurement({'share of own class (at most 0.8)': plain(value)})
