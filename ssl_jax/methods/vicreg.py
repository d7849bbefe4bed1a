"""VICReg: invariance of the views, variance and decorrelation of the dimensions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.projected import ProjectedMethod


@dataclasses.dataclass(frozen=True)
class VICReg(ProjectedMethod):
  """Three layers of projector and `losses.vicreg`; each view has its own batch statistics.

  Source: Bardes et al., ICLR 2022.
  """

  name: ClassVar[str] = 'vicreg'

  projector_layers: int = redefault(ProjectedMethod, 'projector_layers', 3)
  projector_hidden: int = redefault(ProjectedMethod, 'projector_hidden', 8192)
  projector_out: int = redefault(ProjectedMethod, 'projector_out', 8192)
  batch_norm_per_view: bool = redefault(ProjectedMethod, 'batch_norm_per_view', True)
  invariance_weight: float = hyperparameter(
    25.0, 'weight of the squared distance of the views', at_least=0
  )
  variance_weight: float = hyperparameter(
    25.0, 'weight of the hinge on the standard deviations', at_least=0
  )
  covariance_weight: float = hyperparameter(1.0, 'weight of the squared covariances', at_least=0)

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda a, b: losses.vicreg(
      a,
      b,
      invariance_weight=self.invariance_weight,
      variance_weight=self.variance_weight,
      covariance_weight=self.covariance_weight,
    )
    value, metrics = pairs.all_pairs_mean(loss, embeddings)
    return value, {**metrics, 'positive_similarity': pairs.mean_cosine(embeddings)}
