"""DCL: SimCLR whose denominator has no positive."""

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


@dataclasses.dataclass(frozen=True)
class DCL(ContrastiveMethod):
  """Decoupled contrastive learning; with `weight_temperature` its weighted form, DCLW.

  Source: Yeh et al., ECCV 2022.
  """

  name: ClassVar[str] = 'dcl'

  temperature: float = redefault(ContrastiveMethod, 'temperature', 0.1)
  weight_temperature: float = hyperparameter(
    0.0, 'temperature of the weights of positives (DCLW: 0.5); 0 weighs all alike', at_least=0
  )

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda a, b: losses.decoupled_contrastive(
      a,
      b,
      temperature=self.temperature,
      weight_temperature=self.weight_temperature or None,
      **self.in_groups,
    )
    return pairs.all_pairs_mean(loss, embeddings)
