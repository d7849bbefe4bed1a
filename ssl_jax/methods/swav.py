"""SwAV: predict from one crop to which prototype another crop of the image was assigned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import losses, models
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.projected import ProjectedMethod
from ssl_jax.models import Network


@dataclasses.dataclass(frozen=True)
class SwAV(ProjectedMethod):
  """Swapped prediction of Sinkhorn assignments over prototypes, meant for local crops.

  Each of the two views is assigned to prototypes so that all are used equally over the batch; every
  other crop predicts the assignment by a softmax of its cosines with the prototypes, and the mean
  cross-entropy over all (crop, view) is the loss. Prototypes are directions: their length has no
  effect. Source: Caron et al., NeurIPS 2020; without its queue for small batches.
  """

  name: ClassVar[str] = 'swav'

  projector_hidden: int = redefault(ProjectedMethod, 'projector_hidden', 2048)
  num_prototypes: int = hyperparameter(
    3000, 'number of prototypes; about ten times the classes expected', at_least=2
  )
  temperature: float = hyperparameter(0.1, 'temperature of the predicted assignments', above=0)
  epsilon: float = hyperparameter(
    0.05, 'entropy regularization of the Sinkhorn assignments; small is sharp', above=0
  )
  sinkhorn_iterations: int = hyperparameter(
    3, 'Sinkhorn iterations, which equalize the use of prototypes', at_least=1
  )
  freeze_prototypes_fraction: float = hyperparameter(
    0.0, 'share of the run in which prototypes are constant', at_least=0, below=1
  )

  def networks(self) -> Mapping[str, Network]:
    networks = dict(super().networks())
    # Never applied as a network: the loss takes the cosines with its normalized kernel.
    prototypes = models.mlp(
      self.projector_out,
      (self.num_prototypes,),
      norms=(False,),
      biases=(False,),
      dtype=networks['projector'].dtype,
    )
    return {**networks, 'prototypes': prototypes}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    kernel = variables['params']['prototypes']['linear1']['kernel']
    if self.freeze_prototypes_fraction:
      moves = self.run_progress(step) >= self.freeze_prototypes_fraction
      kernel = jnp.where(moves, kernel, jax.lax.stop_gradient(kernel))
    prototypes = losses.l2_normalize(kernel.T)
    cosines = [
      jnp.matmul(losses.l2_normalize(view), prototypes.T, precision=jax.lax.Precision.HIGHEST)
      for view in embeddings.online
    ]
    assigned = [
      losses.sinkhorn_assignments(
        view, epsilon=self.epsilon, iterations=self.sinkhorn_iterations, normalize=False
      )
      for view in cosines[: len(embeddings.target)]
    ]
    predicted = [jax.nn.log_softmax(view / self.temperature) for view in cosines]
    cross_entropies = [
      -jnp.mean(jnp.sum(target * prediction, axis=-1))
      for index, target in enumerate(assigned)
      for other, prediction in enumerate(predicted)
      if index != other
    ]
    loss = jnp.mean(jnp.stack(cross_entropies))
    share = jnp.mean(jnp.stack(assigned), axis=(0, 1))
    entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-12)))
    confidence = jnp.mean(jnp.stack([jnp.max(target, axis=-1) for target in assigned]))
    metrics = {
      'used_prototypes': jnp.exp(entropy),
      'assignment_confidence': confidence,
      'positive_similarity': pairs.mean_cosine(embeddings),
    }
    return loss, jax.lax.stop_gradient(metrics)
