"""SimSiam: predict the other view's projection, whose gradient is stopped."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.method import Variables
from ssl_jax.methods.base.online_target import OnlineTargetMethod


@dataclasses.dataclass(frozen=True)
class SimSiam(OnlineTargetMethod):
  """The mean over both directions of -cos(prediction, stopped projection).

  The projector ends in a batch norm, without gain and bias as in the released code; the predictor
  is a bottleneck. Source: Chen and He, CVPR 2021.
  """

  name: ClassVar[str] = 'simsiam'
  target_network: ClassVar[str] = 'stop_gradient'
  averaged_networks: ClassVar[tuple[str, ...]] = ()
  projector_last_norm: ClassVar[bool] = True
  last_norm_affine: ClassVar[bool] = False

  projector_layers: int = redefault(OnlineTargetMethod, 'projector_layers', 3)
  projector_hidden: int = redefault(OnlineTargetMethod, 'projector_hidden', 2048)
  projector_out: int = redefault(OnlineTargetMethod, 'projector_out', 2048)
  projector_init: str = redefault(OnlineTargetMethod, 'projector_init', 'torch_default')
  predictor_hidden: int = redefault(OnlineTargetMethod, 'predictor_hidden', 512)
  predictor_init: str = redefault(OnlineTargetMethod, 'predictor_init', 'torch_default')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    total, metrics = pairs.cross_view_sum(losses.negative_cosine, embeddings)
    return total / 2, metrics
