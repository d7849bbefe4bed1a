"""MoCo v2: contrast the other view with a queue of embeddings of a moving-average encoder."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import losses
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Batch, Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.online_target import OnlineTargetMethod
from ssl_jax.methods.base.queue import push, with_queue


@dataclasses.dataclass(frozen=True)
class MoCoV2(OnlineTargetMethod):
  """The mean over both directions of `losses.info_nce` against a queue of targets.

  The paper compares the first view with the second only, and normalizes batches of one GPU,
  shuffled between them; here both directions count, as in the later reimplementations, and
  statistics are those of the whole batch of one view. The projector is linear, ReLU, linear,
  without batch norm, and starts as PyTorch's layers do, as in the released code. The queue holds
  both views' targets of earlier batches, newest first, in the order of the global batch; at the
  start random directions.
  Source: He et al., CVPR 2020; Chen et al., arXiv 2003.04297.
  """

  name: ClassVar[str] = 'moco_v2'
  projector_hidden_norm: ClassVar[bool] = False

  projector_hidden: int = redefault(OnlineTargetMethod, 'projector_hidden', 2048)
  projector_out: int = redefault(OnlineTargetMethod, 'projector_out', 128)
  projector_init: str = redefault(OnlineTargetMethod, 'projector_init', 'torch_default')
  predictor_layers: int = redefault(OnlineTargetMethod, 'predictor_layers', 0)
  base_momentum: float = redefault(OnlineTargetMethod, 'base_momentum', 0.999)
  momentum_schedule: str = redefault(OnlineTargetMethod, 'momentum_schedule', 'constant')
  temperature: float = redefault(ContrastiveMethod, 'temperature', 0.2)
  queue_size: int = hyperparameter(65536, 'embeddings in the queue, two an image', at_least=1)
  block_size: int = redefault(ContrastiveMethod, 'block_size', 0)

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    fits = self.queue_size >= 2 * batch_size
    self.require('queue_size', fits, f'at least {2 * batch_size}, both views of a batch')

  def init(self, key: chex.PRNGKey, images: chex.Array) -> Variables:
    projector = self.networks()['projector']
    return with_queue(super().init(key, images), key, self.queue_size, projector)

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    embeddings, new_state = super().embed(variables, batch, step, key)
    targets = jnp.stack(embeddings.target, axis=1)
    queue = push(variables['method_state']['queue'], targets.reshape(-1, targets.shape[-1]))
    return embeddings, {**new_state, 'method_state': {**new_state['method_state'], 'queue': queue}}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del step
    loss = lambda prediction, target: losses.info_nce(
      prediction,
      target,
      negatives=variables['method_state']['queue'],
      temperature=self.temperature,
      block_size=self.block_size or None,
    )
    total, metrics = pairs.cross_view_sum(loss, embeddings)
    return total / 2, metrics
