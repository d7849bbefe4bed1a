"""Rules that choose the deputy of all negatives by rank: a window, the median, or all.

Rank 1 is the most similar (hardest) negative. Ties may fall in any order: values are unaffected.
"""

import dataclasses
from typing import Any

from ssl_jax.arguments import ArgumentError, check_whole


@dataclasses.dataclass(frozen=True)
class RankWindow:
  """The mean over the negatives of rank `low` to `high`, both included and counted from 1.

  `RankWindow(1, 1)` is the hardest negative, `RankWindow(k, k)` the paper's rank-k, and
  `RankWindow(2, 2 * k + 1)` its smoothed-rank-k. The released code, hence the default of
  `truncated_triplet`, has 2 to 10 (nine values, which no k gives).

  Raises:
    ValueError: unless 1 <= low <= high.
  """

  low: int
  high: int

  def __post_init__(self) -> None:
    for name in ('low', 'high'):
      check_whole(f'deputy.{name}', getattr(self, name))
    if self.low > self.high:
      raise ArgumentError('deputy', self, 'of ranks 1 <= low <= high')

  def ranks(self, num_negatives: int) -> tuple[int, int]:
    """The window among `num_negatives`; ValueError where there are fewer than `high`."""
    if num_negatives < self.high:
      raise ArgumentError(
        'deputy',
        f'{self} with {num_negatives} negatives in a group of {num_negatives + 1}',
        f'of high <= {num_negatives}, or in a group of at least {self.high + 1}',
      )
    return self.low, self.high


@dataclasses.dataclass(frozen=True)
class MedianRank:
  """The median negative: rank ⌊(m - 1) / 2⌋ + 1 of m, of the two middle ones the more similar.

  This is the lower median of the distances, never the mean of two. It is the deputy of the first
  versions of the paper.
  """

  def ranks(self, num_negatives: int) -> tuple[int, int]:
    """The rank of the median among `num_negatives`, twice; ValueError where there is none."""
    if num_negatives < 1:
      raise ArgumentError('deputy', 'MedianRank() without negatives', 'in a group of at least 2')
    return self.rank(num_negatives), self.rank(num_negatives)

  def rank(self, num_negatives: Any) -> Any:
    """That of the median of some negatives, whose number may be traced."""
    return (num_negatives - 1) // 2 + 1


@dataclasses.dataclass(frozen=True)
class AllRanks:
  """The mean over all negatives: nothing is truncated."""

  def ranks(self, num_negatives: int) -> tuple[int, int]:
    """The window from 1 to `num_negatives`; ValueError where there are none."""
    if num_negatives < 1:
      raise ArgumentError('deputy', 'AllRanks() without negatives', 'in a group of at least 2')
    return 1, num_negatives


Deputy = RankWindow | MedianRank | AllRanks
