"""ICCL: a similarity loss that fades into a feature-level clustering loss."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.iccl.assignments import check_views
from ssl_jax.losses.iccl.feature_clustering import (
  assign,
  assignment_metrics,
  match,
  row_temperature,
  uniformity,
)
from ssl_jax.losses.iccl.principal_axes import fit_pca, project
from ssl_jax.losses.normalize import l2_normalize

SIMILARITIES = ('byol', 'simsiam')


def similarity_clustering(
  predictions: Sequence[chex.Array],
  targets: Sequence[chex.Array],
  *,
  fade: chex.Numeric,
  uniformity_weight: float = 5.0,
  prediction_temperature: float | jax.Array = 0.1,
  target_temperature: float | jax.Array = 0.07,
  adaptive_temperature: str = 'off',
  uniformity_gradient_scale: float = 1.0,
  similarity: str = 'byol',
  similarity_weight_after: float = 0.0,
  partition: bool = True,
  assignments: str = 'softmax',
  center: chex.Array | None = None,
  sinkhorn_iterations: int = 3,
  pca_dim: int | None = None,
  pca_rows: chex.Array | None = None,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss of ICCL, `s (ρ L_uni + L_ce) + (1 - s) L_sim`, of two views.

  A prediction is compared with the target of the other view. `L_sim` is their similarity loss,
  `L_ce` the mean of `feature_cross_entropy` over both directions, `L_uni` the `feature_uniformity`
  of both predictions. The fade s goes from 0 to 1 during training, see `fade_weight`. Images meet
  only in the softmax over features, which act as clusters, and in its mean over the batch.

  Source: the released code of Ge et al., IEEE TIP 2023; the text of the paper was not available.
  The defaults are its ImageNet recipe, where the gradient of the uniformity is divided by the
  number of devices: `uniformity_gradient_scale=1 / 8` repeats that of 8. The recipe for Imagenette
  has `similarity='simsiam'`, `adaptive_temperature='free'`, `uniformity_weight=1`,
  `pca_dim=512`. The RCC variant has `partition=False, uniformity_weight=0, similarity='simsiam'`.

  >>> import jax.numpy as jnp
  >>> from ssl_jax.losses.schedules import fade_weight
  >>> views = jnp.eye(4), jnp.eye(4)
  >>> loss, metrics = similarity_clustering(
  ...   views, views, fade=fade_weight(0.55), prediction_temperature=0.5
  ... )
  >>> print(f'{loss:.3f} {metrics["cross_entropy"]:.3f} {metrics["used_features"]:.3f}')
  0.170 0.341 4.000

  Args:
    predictions: two arrays `[batch, dim]`, one a view, any float dtype; carry the gradient.
    targets: two arrays `[batch, dim]` of the target network, in the same order of views; their
      gradient is stopped.
    fade: s between 0 and 1; may be a traced scalar.
    uniformity_weight: ρ >= 0.
    prediction_temperature: τ₁ > 0, see `feature_cross_entropy`; may be a traced scalar.
    target_temperature: τ₂ > 0; may be a traced scalar.
    adaptive_temperature: 'off', 'clip' or 'free'.
    uniformity_gradient_scale: >= 0; multiplies the gradient of the uniformity, not its value.
    similarity: 'byol' is the sum of both directions of `2 - 2 cos`, from 0 to 8; 'simsiam' the mean
      of both directions of `-cos`, from -1 to 1. The scale matters during the fade.
    similarity_weight_after: w >= 0, adds `w s L_sim`: 1 keeps the similarity loss throughout.
    partition: False leaves the log-partition of the cross-entropy out.
    assignments: of the targets: 'softmax', 'sinkhorn' or 'centered'.
    center: `[dim]`, with 'centered' only.
    sinkhorn_iterations: at least 1.
    pca_dim: clusters are features on this many principal axes of the targets, see
      `fit_pca`; None leaves the features as they are. `L_sim` is computed without it.
    pca_rows: `[rows, dim]`, a queue of targets to take the axes from; None takes `targets`.
    mask: bool `[batch]`, False for images that are padding: loss, metrics and gradient are those
      without them, whatever they hold; NaN if all are.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which means are taken.

  Returns:
    The loss, and scalars: its parts `similarity_loss`, `cross_entropy` (without the partition where
    that is left out) and `feature_uniformity`, whatever their weight; `fade`; `positive_similarity`
    (mean cosine of prediction and target); `used_features` (exp of the entropy of the mean
    prediction); `assignment_norm` and `target_entropy` (means over the targets' assignments).

  Raises:
    ValueError: not two views, shapes differ, a number is outside its range, or a choice is unknown.
  """
  predictions = _check_pair('predictions', predictions)
  targets = _check_pair('targets', targets)
  arguments.check_embeddings(predictions=predictions[0], targets=targets[0])
  arguments.check_fraction('fade', fade, traced=True)
  arguments.check_number('uniformity_weight', uniformity_weight, at_least=0)
  arguments.check_number('uniformity_gradient_scale', uniformity_gradient_scale, at_least=0)
  arguments.check_number('similarity_weight_after', similarity_weight_after, at_least=0)
  check_choice('similarity', similarity, SIMILARITIES)
  mask = arguments.check_mask(mask, jnp.shape(predictions[0])[0])
  predictions, targets = (
    tuple(row_means.without_padding(view, mask) for view in views)
    for views in (predictions, targets)
  )
  # Each beside the prediction that it is compared with: that of the other view.
  crossed = tuple(jax.lax.stop_gradient(target) for target in reversed(targets))

  rows = [l2_normalize(prediction) for prediction in predictions]
  cosines = [jnp.sum(p * l2_normalize(q), axis=-1) for p, q in zip(rows, crossed, strict=True)]
  if pca_dim is not None:
    _check_pca(pca_dim, pca_rows, assignments, width=rows[0].shape[1])
    if pca_rows is None:
      pca = fit_pca(targets, dim=pca_dim, mask=mask, axis_name=axis_name)
    else:
      pca = fit_pca((pca_rows,), dim=pca_dim, axis_name=axis_name)
    rows = [project(prediction, pca) for prediction in predictions]
    crossed = tuple(project(target, pca) for target in crossed)
  elif pca_rows is not None:
    raise ArgumentError('pca_rows', 'an array', 'None unless pca_dim is given')

  assigned, log_probs, matched = [], [], []
  for row, target in zip(rows, crossed, strict=True):
    soft = assign(
      target, assignments, target_temperature, center, sinkhorn_iterations, mask, axis_name
    )
    logits = row / row_temperature(soft, prediction_temperature, adaptive_temperature)
    assigned.append(soft)
    log_probs.append(jax.nn.log_softmax(logits))
    matched.append(match(logits, soft))
  term = 'cross_entropy' if partition else 'attract'
  means = row_means.means(
    {
      'positive_similarity': jnp.stack(cosines),
      'cross_entropy': jnp.stack([match[term] for match in matched]),
      **assignment_metrics(jnp.stack(assigned)),
    },
    mask,
    axis_name,
  )
  cosine = means['positive_similarity']
  similarity_loss = 4 - 4 * cosine if similarity == 'byol' else -cosine
  kl_to_uniform, used_features = uniformity(
    jnp.stack(log_probs), uniformity_gradient_scale, mask, axis_name
  )

  fade = jnp.asarray(fade, similarity_loss.dtype)
  clustering = float(uniformity_weight) * kl_to_uniform + means['cross_entropy']
  similarity_weight = (1 - fade) + float(similarity_weight_after) * fade
  loss = fade * clustering + similarity_weight * similarity_loss
  metrics = {
    **means,
    'similarity_loss': similarity_loss,
    'feature_uniformity': kl_to_uniform,
    'used_features': used_features,
    'fade': fade,
  }
  return loss, jax.lax.stop_gradient(metrics)


def _check_pair(name: str, arrays: Sequence[chex.Array]) -> tuple[chex.Array, ...]:
  views = check_views(name, arrays)
  if len(views) != 2:
    raise ArgumentError(name, f'{len(views)} arrays', 'two, one a view')
  return views


def _check_pca(pca_dim: int, pca_rows: chex.Array | None, assignments: str, width: int) -> None:
  check_whole('pca_dim', pca_dim)
  if pca_dim > width:
    raise ArgumentError('pca_dim', pca_dim, f'at most {width}, the width of embeddings')
  if assignments == 'centered':
    raise ArgumentError(
      'pca_dim',
      f"{pca_dim} with assignments='centered'",
      'None: the axes differ at every step, and the center would not follow',
    )
  if pca_rows is not None:
    arguments.check_embeddings(pca_rows=pca_rows)
    if jnp.shape(pca_rows)[1] != width:
      raise ArgumentError(
        'pca_rows', f'shape {jnp.shape(pca_rows)}', f'[rows, {width}], the width of embeddings'
      )
