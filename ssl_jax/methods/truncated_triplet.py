"""The truncated triplet method: BYOL's networks, and repulsion from a deputy negative."""

import dataclasses
import functools
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

DEPUTIES = ('window', 'rank', 'median', 'hardest')


@dataclasses.dataclass(frozen=True)
class TruncatedTriplet(OnlineTargetMethod):
  """The sum over both directions of `losses.truncated_triplet`.

  Source: Wang et al., ICCV 2021; the defaults are those of the released code, except that negatives
  are all others of the batch unless `group_size` is given (there 196 or 104, one GPU's batch), and
  that images are not resized: `OnlineTargetMethod` says what the released code does.
  """

  name: ClassVar[str] = 'truncated_triplet'

  deputy: str = hyperparameter(
    'window',
    'negatives that repel: ranks rank_low to rank_high, rank, the median or the hardest',
    choices=DEPUTIES,
  )
  rank_low: int = hyperparameter(
    2, "first rank of deputy 'window'; the hardest negative is 1", at_least=1
  )
  rank_high: int = hyperparameter(10, "last rank of deputy 'window'", at_least=1)
  rank: int = hyperparameter(5, "rank of deputy 'rank', the hardest negative being 1", at_least=1)
  gamma: float = hyperparameter(2.0, 'weight of the positive distance', at_least=0)
  margin: float = hyperparameter(
    100.0, "hinge's margin; always active from (gamma + 1) * scale", at_least=0
  )
  scale: float = hyperparameter(2.0, 'scale of distances, which are -scale times cosines', above=0)
  group_size: int = redefault(ContrastiveMethod, 'group_size', 0)
  block_size: int = redefault(ContrastiveMethod, 'block_size', 0)

  def validate(self) -> None:
    super().validate()
    self.require('rank_high', self.rank_high >= self.rank_low, f'>= rank_low, {self.rank_low}')

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    size = self.group_size or batch_size
    self.require('group_size', batch_size % size == 0, f'a divisor of the batch, {batch_size}')
    where = f'the negatives of {size} images'
    if self.deputy == 'window':
      self.require('rank_high', self.rank_high < size, f'at most {size - 1}, {where}')
    if self.deputy == 'rank':
      self.require('rank', self.rank < size, f'at most {size - 1}, {where}')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = functools.partial(
      losses.truncated_triplet,
      deputy=self._deputy(),
      gamma=self.gamma,
      margin=self.margin,
      scale=self.scale,
      group_size=self.group_size or None,
      block_size=self.block_size or None,
    )
    return pairs.cross_view_sum(loss, embeddings)

  def _deputy(self) -> losses.Deputy:
    if self.deputy == 'window':
      return losses.RankWindow(self.rank_low, self.rank_high)
    if self.deputy == 'rank':
      return losses.RankWindow(self.rank, self.rank)
    return losses.MedianRank() if self.deputy == 'median' else losses.RankWindow(1, 1)
