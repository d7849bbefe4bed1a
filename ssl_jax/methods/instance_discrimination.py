"""Instance discrimination with a number of negatives that is independent of the batch size."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables, hyperparameter


@dataclasses.dataclass(frozen=True)
class InstanceDiscrimination(ContrastiveMethod):
  """SimCLR's networks and `losses.instance_contrastive`, one direction: view 1 is the anchor.

  Every anchor draws its own negatives among the other images of the batch, so batch size, learning
  rate and number of updates stay what they are while K changes. Bao et al. train un-normalized at
  temperature 1. Source: Nozawa and Sato, NeurIPS 2021; Bao et al., ICML 2022.
  """

  name: ClassVar[str] = 'instance_discrimination'

  num_negatives: int = hyperparameter(
    0, 'negatives drawn for each anchor; 0 takes all other images', at_least=0
  )
  replacement: bool = hyperparameter(False, 'draw negatives with replacement')
  normalize: bool = hyperparameter(True, 'compare cosines rather than inner products')

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    most = (self.group_size or batch_size) - 1
    fits = self.replacement or self.num_negatives <= most
    self.require('num_negatives', fits, f'at most {most}, the other images of its group')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    settings: dict[str, Any] = {}
    if self.num_negatives:
      settings = {
        'num_negatives': self.num_negatives,
        'key': embeddings.context['key'],
        'replacement': self.replacement,
      }
    loss = lambda a, b: losses.instance_contrastive(
      a, b, temperature=self.temperature, normalize=self.normalize, **self.in_groups, **settings
    )
    return pairs.all_pairs_mean(loss, embeddings)
