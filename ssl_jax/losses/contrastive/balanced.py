"""Contrastive losses with separate weights for attraction and repulsion; DCL."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import UNLABELED, ArgumentError
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive import tile
from ssl_jax.losses.contrastive.terms import compose, has_label, pair_terms


def balanced_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  attract_weight: float | jax.Array = 1.0,
  repel_weight: float | jax.Array = 1.0,
  positive_in_denominator: float = 1.0,
  negative_weights: chex.Array | None = None,
  log_offset: float = 0.0,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NT-Xent with weights on its parts: `-α s⁺/τ + λ log(κ exp(s⁺/τ) + Σ_j w_j exp(s_ij/τ)) + c`.

  The mean over the 2 * batch anchors; the sum is over both views of all other images. With
  α = λ = κ = 1 this is `nt_xent`, with κ = 0 `decoupled_contrastive`. Only the ratio λ/α matters to
  an optimizer that ignores the loss's scale. With κ > 0 and λκ > α a positive whose softmax weight
  exceeds α/(λκ) is pushed away, which κ = 0 never does.

  Source: the balanced contrastive loss of Lee, TMLR 2025; its formula is reconstructed as a
  superset of the readings of that paper.

  >>> import jax.numpy as jnp
  >>> loss, _ = balanced_contrastive(jnp.eye(3), jnp.eye(3), repel_weight=2.0)  # -2 + 2 log(e² + 4)
  >>> print(f'{loss:.6f}')
  2.865306

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    attract_weight: α >= 0; may be a traced scalar.
    repel_weight: λ >= 0; may be a traced scalar.
    positive_in_denominator: κ >= 0.
    negative_weights: `[batch]`, w >= 0 of each image where it is a negative, such as
      `class_balancing_weights`; no gradient is taken of them. An image of weight 0 is no negative,
      also to the metrics. None weighs all alike.
    log_offset: c.
    group_size: see `nt_xent`.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`; `negative_weights` are then those of the local images.

  Returns:
    The loss and the metrics of `nt_xent`; `attract`, `repel` and c add up to the loss.

  Raises:
    ValueError: shapes differ, fewer than 2 images, a number outside its range, `group_size` not a
      divisor of the batch, or `block_size` not a whole number above 0.
  """
  arguments.check_number('attract_weight', attract_weight, at_least=0, traced=True)
  arguments.check_number('repel_weight', repel_weight, at_least=0, traced=True)
  arguments.check_number('positive_in_denominator', positive_in_denominator, at_least=0)
  arguments.check_number('log_offset', log_offset)
  arguments.check_views(view1, view2)
  metadata = {}
  if negative_weights is not None:
    arguments.check_per_image('negative_weights', negative_weights, view1.shape[-2])
    dtype = jnp.promote_types(jnp.result_type(view1), jnp.float32)
    metadata['log_weight'] = jnp.log(jax.lax.stop_gradient(jnp.asarray(negative_weights, dtype)))
  terms = pair_terms(
    view1,
    view2,
    temperature=temperature,
    mask=mask,
    metadata=metadata,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  return compose(
    terms,
    attract_weight=attract_weight,
    repel_weight=repel_weight,
    positive_in_denominator=float(positive_in_denominator),
    log_offset=float(log_offset),
    axis_name=axis_name,
  )


def class_balancing_weights(labels: chex.Array, class_probabilities: chex.Array) -> jax.Array:
  """Weights 1 / (K π_y) that make every class count alike among the negatives: an oracle.

  Source: Lee, TMLR 2025, reconstructed (the prior-balanced form of its repelling bound).

  >>> import jax.numpy as jnp
  >>> class_balancing_weights(jnp.array([0, 0, 1]), jnp.array([2 / 3, 1 / 3]))
  Array([0.75, 0.75, 1.5 ], dtype=float32)

  Args:
    labels: `[batch]`, whole numbers from 0 to K - 1, or -1 for an image without a label: its weight
      is 1, the mean over images.
    class_probabilities: `[K]`, π, positive; they are divided by their sum, so counts serve as well.

  Returns:
    `[batch]` weights for `balanced_contrastive(negative_weights=...)`.

  Raises:
    ValueError: labels are not whole numbers from -1 to K - 1 in one dimension, or a probability is
      not positive.
  """
  arguments.check_per_image('labels', labels, jnp.size(labels), whole=True)
  num_classes = jnp.size(class_probabilities)
  if not isinstance(class_probabilities, jax.core.Tracer):
    concrete = np.asarray(class_probabilities, np.float64)
    arguments.check_per_image('class_probabilities', concrete, num_classes)
    if not (concrete > 0).all():
      raise ArgumentError('class_probabilities', f'{concrete.min():g}', '> 0')
  if not isinstance(labels, jax.core.Tracer) and jnp.size(labels):
    for label in (np.min(labels), np.max(labels)):
      if not UNLABELED <= label < num_classes:
        raise ArgumentError('labels', label, f'from 0 to {num_classes - 1}, or {UNLABELED}')
  probabilities = jnp.asarray(class_probabilities) * 1.0  # counts may be whole numbers
  labels = jnp.asarray(labels)
  weights = jnp.sum(probabilities) / (num_classes * probabilities[labels])
  return jnp.where(has_label(labels), weights, 1)


def decoupled_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.1,
  mask: chex.Array | None = None,
  weight_temperature: float | None = None,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NT-Xent without the positive in its denominator: `-w s⁺/τ + log Σ_j exp(s_ij/τ)`.

  The sum is over both views of all other images; the mean is over the 2 * batch anchors. DCL has
  w = 1. DCLW has `w_i = 2 - batch * softmax_i(s⁺/σ)` over the images of the batch, which carries no
  gradient: the less alike its views, the harder a pair is pulled.

  Source: Yeh et al., ECCV 2022.

  >>> import jax.numpy as jnp
  >>> loss, _ = decoupled_contrastive(jnp.eye(3), jnp.eye(3), temperature=0.5)   # -2 + log(4)
  >>> print(f'{loss:.6f}')
  -0.613706

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    weight_temperature: σ > 0 of DCLW, whose authors have 0.5; None is DCL.
    group_size: see `nt_xent`; the softmax of DCLW stays over the whole batch.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss and the metrics of `nt_xent`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, a temperature not positive, `group_size` not a
      divisor of the batch, or `block_size` not a whole number above 0.
  """
  if weight_temperature is not None:
    arguments.check_number('weight_temperature', weight_temperature, above=0)
  terms = pair_terms(
    view1,
    view2,
    temperature=temperature,
    mask=mask,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  weights: float | jax.Array = 1.0
  if weight_temperature is not None:
    cosines = jax.lax.stop_gradient(terms.positives * terms.temperature)
    log_odds = cosines / weight_temperature
    if terms.mask is not None:
      log_odds = jnp.where(terms.mask, log_odds, -jnp.inf)
    largest = collectives.largest(jnp.max(log_odds), axis_name)
    odds = jnp.exp(log_odds - tile.finite(largest))
    # Both views of an image are anchors with one positive similarity: the mean is over images.
    weights = 2 - odds / row_means.means({'odds': odds}, terms.mask, axis_name)['odds']
  return compose(terms, attract_weight=weights, positive_in_denominator=0.0, axis_name=axis_name)
