"""SupCon: all images of a class are positives. An upper reference, as it uses labels."""

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
from ssl_jax.methods.base.method import Variables


@dataclasses.dataclass(frozen=True)
class SupCon(ContrastiveMethod):
  """SimCLR's networks and `losses.supervised_contrastive`. Source: Khosla et al., NeurIPS 2020."""

  name: ClassVar[str] = 'supcon'
  needs_labels: ClassVar[bool] = True

  temperature: float = redefault(ContrastiveMethod, 'temperature', 0.1)

  def validate(self) -> None:
    super().validate()
    self.require('group_size', self.group_size == 0, '0: positives come from the whole batch')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    labels = embeddings.context['labels']
    loss = lambda a, b: losses.supervised_contrastive(
      a, b, labels, temperature=self.temperature, **self.in_blocks
    )
    return pairs.all_pairs_mean(loss, embeddings)
