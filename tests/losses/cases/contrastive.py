"""Cases of the losses that contrast a positive with negatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import losses
from tests.losses.cases import Batch, Case, Matrix, one_against_two_views, one_view, two_views

# In eighths, which no float dtype rounds.
QUEUE = np.round(8 * np.random.default_rng(7).normal(size=(10, 6))) / 8


def _views(loss: Callable[..., Any], **chosen: Any) -> Callable[..., Any]:
  return lambda batch, **options: loss(batch.view1, batch.view2, **(chosen | options))


def _labeled(loss: Callable[..., Any], **chosen: Any) -> Callable[..., Any]:
  return lambda batch, **options: loss(batch.view1, batch.view2, batch.labels, **(chosen | options))


def _queued(batch: Batch, **options: Any) -> Any:
  negatives = QUEUE[:, : batch.view1.shape[-1]].astype(batch.view1.dtype)
  return losses.info_nce(batch.view1, batch.target2, **({'negatives': negatives} | options))


def _weighted(batch: Batch, **options: Any) -> Any:
  chosen = {'negative_weights': batch.weights, 'repel_weight': 0.7}
  return losses.balanced_contrastive(batch.view1, batch.view2, **(chosen | options))


def _class_balanced(batch: Batch, **options: Any) -> Any:
  weights = losses.class_balancing_weights(batch.labels, np.array([4.0, 3.0, 2.0, 1.0]))
  return losses.balanced_contrastive(
    batch.view1, batch.view2, **({'negative_weights': weights} | options)
  )


def _sampled(**chosen: Any) -> Callable[..., Any]:
  def call(batch: Batch, **options: Any) -> Any:
    key = jax.random.key(3)
    return losses.instance_contrastive(
      batch.view1, batch.view2, **({'key': key} | chosen | options)
    )

  return call


def is_real(batch: Batch) -> Any:
  """A mask that goes with the rows, of which it leaves at least two."""
  return (batch.weights > 0.7) | (batch.labels == 0)


def _all_views(loss: Callable[..., Any], **chosen: Any) -> Callable[..., Any]:
  def call(batch: Batch, **options: Any) -> Any:
    views = jnp.stack([batch.view1, batch.view2, batch.target1, batch.target2])
    return loss(views, **({'mask': is_real(batch)} | chosen | options))

  return call


def _partly_labeled(batch: Batch, **options: Any) -> Any:
  chosen = {'labels': jnp.where(batch.labels == 2, -1, batch.labels), 'mask': is_real(batch)}
  return losses.supervised_contrastive(batch.view1, **(chosen | options))


def _long_queue(batch: Batch, **options: Any) -> Any:
  return losses.info_nce(batch.view1, batch.view2, negatives=batch.target1, **options)


def _sampled_of_real(batch: Batch, **options: Any) -> Any:
  chosen = {'num_negatives': 2, 'replacement': True, 'mask': is_real(batch)}
  return _sampled(**chosen)(batch, **options)


NUM_DRAWN = 32


CASES: dict[str, Case] = {
  'nt_xent': Case(
    _views(losses.nt_xent), ('nt_xent',), blocks=True, representative=True, matrix=Matrix(two_views)
  ),
  'nt_xent_groups': Case(
    _views(losses.nt_xent, group_size=8),
    ('nt_xent',),
    blocks=True,
    permutable=False,
    minimum=8,
  ),
  # Four views, and some of the images are padding.
  'nt_xent_views_masked': Case(
    _all_views(losses.nt_xent),
    ('nt_xent',),
    blocks=True,
    stopped=('weights',),
    derived=True,
    representative=True,
  ),
  'decoupled_contrastive_views_masked': Case(
    _all_views(losses.decoupled_contrastive, weight_temperature=0.5),
    ('decoupled_contrastive',),
    blocks=True,
    stopped=('weights',),
    derived=True,
    smooth=False,
  ),
  'generalized_contrastive_views_masked': Case(
    _all_views(losses.generalized_contrastive),
    ('generalized_contrastive',),
    blocks=True,
    stopped=('weights',),
    derived=True,
  ),
  'info_nce_views_masked': Case(
    _all_views(losses.info_nce), ('info_nce',), blocks=True, stopped=('weights',), derived=True
  ),
  'alignment_views_masked': Case(
    _all_views(losses.alignment), ('alignment',), stopped=('weights',), one_image=True, derived=True
  ),
  'supervised_contrastive_one_view': Case(
    _partly_labeled, ('supervised_contrastive',), blocks=True, stopped=('weights',), derived=True
  ),
  'info_nce': Case(
    _views(losses.info_nce),
    ('info_nce',),
    blocks=True,
    matrix=Matrix(one_view),
  ),
  'info_nce_queue': Case(
    _queued,
    ('info_nce',),
    blocks=True,
    representative=True,
    matrix=Matrix(one_view, 'info_nce, queue', _long_queue),
    one_image=True,
  ),
  'decoupled_contrastive': Case(
    _views(losses.decoupled_contrastive),
    ('decoupled_contrastive',),
    blocks=True,
    matrix=Matrix(two_views),
  ),
  # The weights are constants to the gradient, which numeric derivatives do not know.
  'decoupled_contrastive_weighted': Case(
    _views(losses.decoupled_contrastive, weight_temperature=0.5),
    ('decoupled_contrastive',),
    blocks=True,
    smooth=False,
    matrix=Matrix(two_views, 'decoupled_contrastive, weighted'),
  ),
  'balanced_contrastive': Case(
    _views(
      losses.balanced_contrastive,
      attract_weight=0.8,
      repel_weight=2.0,
      positive_in_denominator=0.5,
      log_offset=-1.0,
    ),
    ('balanced_contrastive',),
    blocks=True,
  ),
  'balanced_contrastive_weighted': Case(
    _weighted,
    ('balanced_contrastive',),
    blocks=True,
    stopped=('weights',),
    matrix=Matrix(two_views, 'balanced_contrastive, weights'),
  ),
  'balanced_contrastive_class_prior': Case(
    _class_balanced, ('balanced_contrastive', 'class_balancing_weights'), blocks=True
  ),
  'debiased_contrastive': Case(
    _views(losses.debiased_contrastive),
    ('debiased_contrastive',),
    blocks=True,
    matrix=Matrix(two_views),
  ),
  'hard_negative_contrastive': Case(
    _views(losses.hard_negative_contrastive, hardness=1.5),
    ('hard_negative_contrastive',),
    blocks=True,
    matrix=Matrix(two_views),
  ),
  'generalized_contrastive': Case(
    _views(losses.generalized_contrastive),
    ('generalized_contrastive',),
    blocks=True,
    matrix=Matrix(two_views),
  ),
  'supervised_contrastive': Case(
    _labeled(losses.supervised_contrastive, base_temperature=0.07),
    ('supervised_contrastive',),
    blocks=True,
    representative=True,
    matrix=Matrix(two_views),
  ),
  'negatives_supervised_contrastive': Case(
    _labeled(losses.negatives_supervised_contrastive),
    ('negatives_supervised_contrastive',),
    blocks=True,
    matrix=Matrix(two_views),
  ),
  'negatives_supervised_contrastive_decoupled': Case(
    _labeled(losses.negatives_supervised_contrastive, positive_in_denominator=0.0),
    ('negatives_supervised_contrastive',),
    blocks=True,
  ),
  'instance_contrastive': Case(
    _views(losses.instance_contrastive),
    ('instance_contrastive',),
    blocks=True,
    matrix=Matrix(one_view),
  ),
  'instance_contrastive_sampled': Case(
    _sampled(num_negatives=3),
    ('instance_contrastive',),
    blocks=True,
    permutable=False,
    minimum=4,
    matrix=Matrix(
      one_against_two_views,
      f'instance_contrastive, {NUM_DRAWN} drawn',
      _sampled(num_negatives=NUM_DRAWN),
    ),
  ),
  'instance_contrastive_groups': Case(
    _views(losses.instance_contrastive, group_size=8),
    ('instance_contrastive',),
    blocks=True,
    permutable=False,
    minimum=8,
  ),
  'instance_contrastive_groups_sampled': Case(
    _sampled(num_negatives=3, group_size=8),
    ('instance_contrastive',),
    blocks=True,
    permutable=False,
    minimum=8,
    representative=True,
  ),
  'instance_contrastive_replaced': Case(
    _sampled(num_negatives=5, replacement=True, normalize=False, temperature=1.0),
    ('instance_contrastive',),
    blocks=True,
    scale_free=False,
    permutable=False,
    matrix=Matrix(
      one_against_two_views,
      f'instance_contrastive, {NUM_DRAWN} drawn again',
      _sampled(num_negatives=NUM_DRAWN, replacement=True),
    ),
  ),
  'instance_contrastive_sampled_masked': Case(
    _sampled_of_real,
    ('instance_contrastive',),
    blocks=True,
    permutable=False,
    stopped=('weights',),
    derived=True,
  ),
  'uniformity_masked': Case(
    lambda batch, **options: losses.uniformity(batch.view1, **{'mask': is_real(batch), **options}),
    ('uniformity',),
    blocks=True,
    stopped=('weights',),
    derived=True,
  ),
  'alignment': Case(_views(losses.alignment), ('alignment',), representative=True, one_image=True),
  'alignment_exponent_1': Case(
    _views(losses.alignment, exponent=1.0), ('alignment',), one_image=True
  ),
  'uniformity': Case(
    lambda batch, **options: losses.uniformity(batch.view1, **options),
    ('uniformity',),
    blocks=True,
    matrix=Matrix(one_view),
  ),
}
