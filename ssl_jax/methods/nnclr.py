"""NNCLR: InfoNCE whose positive is the nearest neighbor of the other view in a queue."""

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
class NNCLR(OnlineTargetMethod):
  """The mean over both directions of `losses.info_nce(neighbor, predictions)`.

  The neighbor of a view is the most similar row of a queue of first views' projections, newest
  first, at the start random directions; it is contrasted with the predictions of the other view and
  of other images. Source: Dwibedi et al., ICCV 2021.
  """

  name: ClassVar[str] = 'nnclr'
  target_network: ClassVar[str] = 'stop_gradient'
  averaged_networks: ClassVar[tuple[str, ...]] = ()
  projector_last_norm: ClassVar[bool] = True

  projector_layers: int = redefault(OnlineTargetMethod, 'projector_layers', 3)
  projector_hidden: int = redefault(OnlineTargetMethod, 'projector_hidden', 2048)
  projector_out: int = redefault(OnlineTargetMethod, 'projector_out', 256)
  predictor_init: str = redefault(OnlineTargetMethod, 'predictor_init', 'kaiming_normal')
  temperature: float = redefault(ContrastiveMethod, 'temperature', 0.1)
  queue_size: int = hyperparameter(
    98304, 'embeddings in the queue that neighbors are taken from', at_least=1
  )
  block_size: int = redefault(ContrastiveMethod, 'block_size', 0)

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    fits = self.queue_size >= batch_size
    self.require('queue_size', fits, f'at least {batch_size}, one batch')

  def init(self, key: chex.PRNGKey, images: chex.Array) -> Variables:
    projector = self.networks()['projector']
    return with_queue(super().init(key, images), key, self.queue_size, projector)

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    embeddings, new_state = super().embed(variables, batch, step, key)
    queue = variables['method_state']['queue']
    neighbors = tuple(nearest(queue, projection) for projection in embeddings.target)
    method_state = {**new_state['method_state'], 'queue': push(queue, embeddings.target[0])}
    embeddings = dataclasses.replace(embeddings, target=neighbors)
    return embeddings, {**new_state, 'method_state': method_state}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    # The neighbor is the query: its negatives are the predictions of other images.
    loss = lambda prediction, neighbor: losses.info_nce(
      neighbor, prediction, temperature=self.temperature, block_size=self.block_size or None
    )
    total, metrics = pairs.cross_view_sum(loss, embeddings)
    return total / 2, metrics


def nearest(queue: jax.Array, rows: jax.Array) -> jax.Array:
  """For each of `rows` the row of `queue`, unit vectors, with the greatest cosine."""
  similarities = jnp.matmul(losses.l2_normalize(rows), queue.T, precision=jax.lax.Precision.HIGHEST)
  return queue[jnp.argmax(similarities, axis=1)]
