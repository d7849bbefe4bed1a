"""MoCo v3: BYOL's networks, and a contrastive loss of predictions and targets within the batch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.online_target import OnlineTargetMethod


@dataclasses.dataclass(frozen=True)
class MoCoV3(OnlineTargetMethod):
  """2 τ times the sum over both directions of `losses.info_nce`, with the batch's negatives.

  Both heads end in a batch norm without gain and bias, and their layers have no bias.
  Source: Chen et al., ICCV 2021, algorithm 1.
  """

  name: ClassVar[str] = 'moco_v3'
  projector_last_norm: ClassVar[bool] = True
  predictor_last_norm: ClassVar[bool] = True
  last_norm_affine: ClassVar[bool] = False
  projector_bias: ClassVar[bool] = False
  predictor_bias: ClassVar[bool] = False

  predictor_init: str = redefault(OnlineTargetMethod, 'predictor_init', 'kaiming_normal')
  temperature: float = hyperparameter(
    1.0, 'temperature that divides the cosines; 1 for ResNets, 0.2 for ViTs', above=0
  )
  block_size: int = redefault(ContrastiveMethod, 'block_size', 0)

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda prediction, target: losses.info_nce(
      prediction, target, temperature=self.temperature, block_size=self.block_size or None
    )
    total, metrics = pairs.cross_view_sum(loss, embeddings)
    return 2 * self.temperature * total, metrics
