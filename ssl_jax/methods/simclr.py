"""SimCLR: classify the other view of an image among the views of all other images."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables


@dataclasses.dataclass(frozen=True)
class SimCLR(ContrastiveMethod):
  """NT-Xent over projected embeddings of both views.

  The authors' projector has a further batch norm at the end: `projector_norm`. In the study of
  Nozawa and Sato (NeurIPS 2021) negatives come from groups of K + 1 images: `group_size`, with
  `batch_norm_per_view`. Source: Chen et al., ICML 2020.
  """

  name: ClassVar[str] = 'simclr'

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda a, b: losses.nt_xent(a, b, temperature=self.temperature, **self.in_groups)
    return pairs.all_pairs_mean(loss, embeddings)
