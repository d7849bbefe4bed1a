"""The base class of contrastive methods: temperature, groups of negatives and blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssl_jax.methods.base.method import hyperparameter
from ssl_jax.methods.base.projected import ProjectedMethod


@dataclasses.dataclass(frozen=True)
class ContrastiveMethod(ProjectedMethod):
  """A projected method with a temperature and a matrix of similarities."""

  temperature: float = hyperparameter(
    0.5, 'temperature that divides the cosines; low stresses hard negatives', above=0
  )
  group_size: int = hyperparameter(
    0, 'images that negatives are taken from; 0 is the whole batch', at_least=0
  )
  block_size: int = hyperparameter(
    0, 'embeddings compared at a time, to bound memory; 0 is all', at_least=0
  )

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    size = self.group_size or batch_size
    self.require('group_size', batch_size % size == 0, f'a divisor of the batch, {batch_size}')

  @property
  def in_groups(self) -> dict[str, Any]:
    """`group_size` and `block_size` as losses take them."""
    return {'group_size': self.group_size or None, **self.in_blocks}

  @property
  def in_blocks(self) -> dict[str, Any]:
    return {'block_size': self.block_size or None}
