"""ICCL: a similarity loss that fades into a cross-entropy over features as clusters."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import losses
from ssl_jax.arguments import ArgumentError, redefault
from ssl_jax.methods.base.batch import Batch, Embeddings, Metrics, as_batch, flatten_views
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.online_target import OnlineTargetMethod
from ssl_jax.methods.base.queue import push, with_queue
from ssl_jax.models import KERNEL_INITS

TARGETS = ('ema', 'stop_gradient')
SIMILARITIES = ('auto', 'byol', 'simsiam')
VARIANTS = ('iccl', 'rcc')
ADAPTIVE = ('off', 'clip', 'free')


@dataclasses.dataclass(frozen=True)
class ICCL(OnlineTargetMethod):
  """`losses.similarity_clustering` on the networks of BYOL (target 'ema') or of SimSiam.

  A projector of three layers without bias and a predictor of two. With 'ema' the predictor has no
  bias either and the similarity loss is the sum of both directions; with 'stop_gradient' the
  projector ends in a batch norm without gain and bias, the predictor has biases (released: in its
  last layer alone; batch norm cancels the other), and the similarity loss is the mean. The released
  RCC has such biases and the mean with either target; the mean is then `similarity='simsiam'`.
  Statistics are those of the global batch. Exactly two views: the released code has no multi-crop.

  With `pca_queue` the principal axes are those of a queue of both views' targets, newest first, in
  the order of the global batch. A batch is pushed before the axes are taken, so it has a part in
  its own, as in the released RCC. The queue starts as random directions (there: of positive
  coordinates), which have a part until `pca_queue / (2 batch)` batches have come; the released
  configurations use the axes only from half of the run on.
  Source: the released code of Ge et al., IEEE TIP 2023; its recipe for ImageNet is the default.
  """

  name: ClassVar[str] = 'iccl'
  projector_bias: ClassVar[bool] = False

  target: str = hyperparameter('ema', 'network that predictions are compared with', choices=TARGETS)
  similarity: str = hyperparameter(
    'auto',
    'similarity loss; byol: the sum of both directions of 2 - 2 cos, simsiam: their mean of -cos, '
    'auto: byol with the target ema, simsiam with stop_gradient',
    choices=SIMILARITIES,
  )
  projector_layers: int = redefault(OnlineTargetMethod, 'projector_layers', 3)
  projector_out: int = hyperparameter(
    512, 'width of the embeddings: the number of clusters', at_least=1
  )
  projector_init: str = hyperparameter(
    'target',
    "start of the projector's weights; target: lecun_uniform with the target ema, torch_default "
    'with stop_gradient',
    choices=('target', *KERNEL_INITS),
  )
  predictor_init: str = hyperparameter(
    'projector',
    "start of the predictor's weights; projector: that of the projector",
    choices=('projector', *KERNEL_INITS),
  )
  fade_start: float = hyperparameter(
    0.5, 'share of the run after which clustering fades in', at_least=0, at_most=1
  )
  fade_end: float = hyperparameter(
    0.6, 'share of the run after which clustering is alone', at_least=0, at_most=1
  )
  similarity_weight_after: float = hyperparameter(
    0.0, 'weight of the similarity loss once it has faded', at_least=0
  )
  uniformity_weight: float = hyperparameter(
    5.0, 'weight of the KL divergence of the cluster sizes to uniform', at_least=0
  )
  uniformity_gradient_scale: float = hyperparameter(
    0.125,
    'factor on the gradient of the KL divergence: 1 / devices as released, probably 1/8',
    at_least=0,
  )
  prediction_temperature: float = hyperparameter(
    0.1, 'temperature of the predicted assignments', above=0
  )
  target_temperature: float = hyperparameter(
    0.07, "temperature of the targets' assignments", above=0
  )
  adaptive_temperature: str = hyperparameter(
    'off', "derive the prediction temperature from the target's assignment", choices=ADAPTIVE
  )
  variant: str = hyperparameter(
    'iccl',
    'form of the loss; rcc leaves out the partition of the cross-entropy and the KL divergence',
    choices=VARIANTS,
  )
  assignments: str = hyperparameter(
    'softmax',
    'assignments of the targets; sinkhorn is an ablation',
    choices=('softmax', 'sinkhorn'),
  )
  pca_dim: int = hyperparameter(
    0, 'principal axes of the targets to cluster on; 0 clusters on the features', at_least=0
  )
  pca_queue: int = hyperparameter(
    0,
    'embeddings of the targets that the axes are taken from; 0 takes those of the batch',
    at_least=0,
  )

  @property
  def target_network(self) -> str:  # type: ignore[override]
    return self.target

  @property
  def averaged_networks(self) -> tuple[str, ...]:  # type: ignore[override]
    return ('encoder', 'projector') if self.target == 'ema' else ()

  @property
  def projector_last_norm(self) -> bool:  # type: ignore[override]
    return self.target == 'stop_gradient'

  @property
  def last_norm_affine(self) -> bool:  # type: ignore[override]
    return self.target == 'ema'

  @property
  def predictor_bias(self) -> bool:  # type: ignore[override]
    return self.target == 'stop_gradient' or self.variant == 'rcc'

  @property
  def projector_kernel_init(self) -> str:
    if self.projector_init != 'target':
      return self.projector_init
    return 'lecun_uniform' if self.target == 'ema' else 'torch_default'

  @property
  def predictor_kernel_init(self) -> str:
    if self.predictor_init != 'projector':
      return self.predictor_init
    return self.projector_kernel_init

  def validate(self) -> None:
    super().validate()
    self.require('fade_end', self.fade_start <= self.fade_end, 'from fade_start to 1')
    fits = self.pca_dim <= self.projector_out
    self.require('pca_dim', fits, f'at most projector_out, {self.projector_out}')
    self.require('pca_queue', not self.pca_queue or self.pca_dim > 0, '0 unless pca_dim is > 0')

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    fits = not self.pca_queue or self.pca_queue >= 2 * batch_size
    self.require('pca_queue', fits, f'at least {2 * batch_size}, both views of a batch, or 0')

  def init(self, key: chex.PRNGKey, images: chex.Array) -> Variables:
    variables = super().init(key, images)
    if not self.pca_queue:
      return variables
    return with_queue(variables, key, self.pca_queue, self.networks()['projector'])

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    if as_batch(batch).local_crops is not None:
      raise ArgumentError('name', f'{self.name} with local crops', 'another method, or none')
    embeddings, new_state = super().embed(variables, batch, step, key)
    if not self.pca_queue:
      return embeddings, new_state
    queue = push(
      variables['method_state']['queue'], flatten_views(jnp.stack(embeddings.target, axis=1))
    )
    context = {**embeddings.context, 'pca_rows': queue}
    embeddings = dataclasses.replace(embeddings, context=context)
    return embeddings, {**new_state, 'method_state': {**new_state['method_state'], 'queue': queue}}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables
    plain = self.variant == 'iccl'
    return losses.similarity_clustering(
      embeddings.online,
      embeddings.target,
      fade=losses.fade_weight(self.run_progress(step), start=self.fade_start, end=self.fade_end),
      uniformity_weight=self.uniformity_weight if plain else 0.0,
      partition=plain,
      prediction_temperature=self.prediction_temperature,
      target_temperature=self.target_temperature,
      adaptive_temperature=self.adaptive_temperature,
      uniformity_gradient_scale=self.uniformity_gradient_scale,
      similarity=self._similarity(),
      similarity_weight_after=self.similarity_weight_after,
      assignments=self.assignments,
      pca_dim=self.pca_dim or None,
      pca_rows=embeddings.context['pca_rows'] if self.pca_queue else None,
    )

  def target_momentum(self, step: chex.Numeric) -> jax.Array:
    # The released code counts batches from 1, so that the last update leaves the target alone.
    return super().target_momentum(jnp.asarray(step) + 1)

  def _similarity(self) -> str:
    if self.similarity != 'auto':
      return self.similarity
    return 'byol' if self.target == 'ema' else 'simsiam'
