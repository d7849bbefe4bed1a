"""VICReg: views agree, dimensions keep their variance and lose their covariance."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
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

  projector_layers: int = hyperparameter(3, 'linear layers of the projector')
  projector_hidden: int = hyperparameter(8192, "its hidden width; 0 is the encoder's width")
  projector_out: int = hyperparameter(8192, 'width of the embeddings')
  batch_norm_per_view: bool = hyperparameter(True, 'batch statistics of each view on its own')
  invariance_weight: float = hyperparameter(25.0, 'of the squared distance of the views')
  variance_weight: float = hyperparameter(25.0, 'of the hinge on the standard deviations')
  covariance_weight: float = hyperparameter(1.0, 'of the squared covariances')

  def validate(self) -> None:
    super().validate()
    for field in ('invariance_weight', 'variance_weight', 'covariance_weight'):
      self.require(field, 0 <= getattr(self, field) < float('inf'), '>= 0')

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
