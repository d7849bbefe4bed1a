"""SupCon: all images of a class are positives. An upper reference, as it uses labels."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.arguments import redefault
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables, hyperparameter


@dataclasses.dataclass(frozen=True)
class SupCon(ContrastiveMethod):
  """SimCLR's networks and `losses.supervised_contrastive`; of images labeled -1 NT-Xent's pairs.

  Source: Khosla et al., NeurIPS 2020.
  """

  name: ClassVar[str] = 'supcon'
  needs_labels: ClassVar[bool] = True

  temperature: float = redefault(ContrastiveMethod, 'temperature', 0.1)
  positives: str = hyperparameter(
    'class',
    'views that attract; class: all of the class, view: the other view of the image, the rest of '
    'its class neither attracts nor repels (NSCL)',
    choices=('class', 'view'),
  )

  def validate(self) -> None:
    super().validate()
    self.require('group_size', self.group_size == 0, '0: positives come from the whole batch')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    labels = embeddings.context['labels']

    def loss(view1: jax.Array, view2: jax.Array) -> tuple[jax.Array, Metrics]:
      settings: dict[str, Any] = {'temperature': self.temperature, **self.in_blocks}
      if self.positives == 'class':
        return losses.supervised_contrastive(view1, view2, labels, **settings)
      return losses.negatives_supervised_contrastive(view1, view2, labels, **settings)

    return pairs.all_pairs_mean(loss, embeddings)
