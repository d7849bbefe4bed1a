"""BYOL: regress the target network's embedding of the other view."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.method import Variables
from ssl_jax.methods.base.online_target import OnlineTargetMethod


@dataclasses.dataclass(frozen=True)
class BYOL(OnlineTargetMethod):
  """The sum over both directions of 2 - 2 cos(prediction, target), in [0, 8].

  Source: Grill et al., NeurIPS 2020.
  """

  name: ClassVar[str] = 'byol'

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    return pairs.cross_view_sum(losses.cosine_regression, embeddings)
