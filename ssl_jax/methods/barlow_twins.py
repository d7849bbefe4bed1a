"""Barlow Twins: the cross-correlation of two views becomes the identity matrix."""

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
class BarlowTwins(ProjectedMethod):
  """Three layers of projector and `losses.barlow_twins`; each view has its own batch statistics.

  Source: Zbontar et al., ICML 2021.
  """

  name: ClassVar[str] = 'barlow_twins'
  projector_bias: ClassVar[bool] = False

  projector_layers: int = redefault(ProjectedMethod, 'projector_layers', 3)
  projector_hidden: int = redefault(ProjectedMethod, 'projector_hidden', 8192)
  projector_out: int = redefault(ProjectedMethod, 'projector_out', 8192)
  batch_norm_per_view: bool = redefault(ProjectedMethod, 'batch_norm_per_view', True)
  redundancy_weight: float = hyperparameter(
    0.005, 'weight of the squared off-diagonal correlations', at_least=0
  )
  loss_scale: float = hyperparameter(
    1.0, 'factor on the loss; the released LARS recipe has 0.024', above=0
  )

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda a, b: losses.barlow_twins(
      a, b, redundancy_weight=self.redundancy_weight, scale=self.loss_scale
    )
    value, metrics = pairs.all_pairs_mean(loss, embeddings)
    return value, {**metrics, 'positive_similarity': pairs.mean_cosine(embeddings)}
