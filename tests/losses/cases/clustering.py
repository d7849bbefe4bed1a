"""Cases of the similarity loss that fades into clustering, and of its parts."""

from typing import Any

import jax.numpy as jnp

from ssl_jax.losses.iccl.assignments import update_center
from ssl_jax.losses.iccl.feature_clustering import feature_cross_entropy, feature_uniformity
from ssl_jax.losses.iccl.similarity_clustering import similarity_clustering
from ssl_jax.losses.schedules import fade_weight
from tests.losses.cases import Batch, Case, Result
from tests.losses.cases.contrastive import is_real

STOPPED = ('target1', 'target2')


def _iccl(batch: Batch, **options: Any) -> Result:
  predictions, targets = (batch.view1, batch.view2), (batch.target1, batch.target2)
  return similarity_clustering(predictions, targets, **{'fade': 0.4, **options})


def _faded(batch: Batch, **options: Any) -> Result:
  return _iccl(batch, **{'fade': fade_weight(0.55), **options})


def _imagenette(batch: Batch, **options: Any) -> Result:
  recipe = {
    'similarity': 'simsiam',
    'adaptive_temperature': 'free',
    'uniformity_weight': 1.0,
    'pca_dim': batch.view1.shape[1] - 1,
  }
  return _iccl(batch, **{**recipe, **options})


def _without_partition(batch: Batch, **options: Any) -> Result:
  recipe = {'similarity': 'simsiam', 'partition': False, 'uniformity_weight': 0.0}
  return _iccl(batch, **{**recipe, 'similarity_weight_after': 1.0, **options})


def _sinkhorn(batch: Batch, **options: Any) -> Result:
  return _iccl(batch, **{'assignments': 'sinkhorn', 'adaptive_temperature': 'clip', **options})


def _centered(batch: Batch, **options: Any) -> Result:
  targets = (batch.target1, batch.target2)
  start = jnp.zeros(batch.target1.shape[1])
  rows = {'axis_name': options.get('axis_name'), 'mask': options.get('mask')}
  center = update_center(start, targets, **rows)
  recipe = {'assignments': 'centered', 'center': center, 'uniformity_gradient_scale': 1 / 8}
  return _iccl(batch, **{**recipe, **options})


def _masked(batch: Batch, **options: Any) -> Result:
  return _imagenette(batch, **{'mask': is_real(batch), 'assignments': 'sinkhorn', **options})


def _cross_entropy(batch: Batch, **options: Any) -> Result:
  return feature_cross_entropy(batch.view1, batch.target2, **options)


def _uniformity(batch: Batch, **options: Any) -> Result:
  return feature_uniformity((batch.view1, batch.view2), **options)


CASES: dict[str, Case] = {
  'similarity_clustering': Case(
    _faded,
    ('similarity_clustering', 'fade_weight', 'softmax_assignments'),
    stopped=STOPPED,
    one_image=True,
  ),
  'similarity_clustering_imagenette': Case(
    _imagenette,
    ('similarity_clustering', 'fit_pca', 'project'),
    stopped=STOPPED,
    representative=True,
  ),
  'similarity_clustering_without_partition': Case(
    _without_partition, ('similarity_clustering',), stopped=STOPPED
  ),
  'similarity_clustering_sinkhorn': Case(
    _sinkhorn,
    ('similarity_clustering', 'sinkhorn_assignments'),
    stopped=STOPPED,
    representative=True,
  ),
  'similarity_clustering_centered': Case(
    _centered,
    ('similarity_clustering', 'centered_assignments', 'update_center'),
    scale_free=False,  # targets are not normalized
    stopped=STOPPED,
    smooth=False,  # the gradient of the uniformity is scaled: that is not the derivative
  ),
  'similarity_clustering_masked': Case(
    _masked, ('similarity_clustering',), stopped=(*STOPPED, 'weights'), derived=True
  ),
  'feature_cross_entropy': Case(
    _cross_entropy, ('feature_cross_entropy',), stopped=('target2',), one_image=True
  ),
  'feature_uniformity': Case(_uniformity, ('feature_uniformity',), one_image=True),
}
