"""Coverage, collisions and bounds of a number of negatives, computed from class sizes alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from ssl_jax import analysis
from ssl_jax.reporting import Probability, Table

WANTED = (0.5, 0.9, 0.99)
TOLERANCES = (0.05, 0.01, 0.001)


@dataclasses.dataclass(frozen=True)
class ClassSizes:
  """Images of each class, `int64 [class]`, all above 0, and the name of the image set."""

  name: str
  counts: np.ndarray

  @property
  def probs(self) -> np.ndarray:
    return self.counts / self.counts.sum()

  @property
  def classes(self) -> int:
    return len(self.counts)

  @property
  def images(self) -> int:
    return int(self.counts.sum())

  def coverage(self, batch: int) -> float | None:
    """υ of a batch cut from the shuffled images; None if the batch is larger than the set."""
    if batch > self.images:
      return None
    return analysis.coverage_probability(batch, class_counts=self.counts)

  def collisions(self, batch: int) -> float | None:
    """The mean number of negatives of the anchor's class in such a batch."""
    if batch > self.images:
      return None
    return analysis.expected_collisions(batch - 1, class_counts=self.counts)


def batch_sizes(sizes: ClassSizes, marked: int) -> list[int]:
  """Powers of 2 from the first that can cover all classes, six of them, and the marked batch."""
  first = 2 ** max(1, math.ceil(math.log2(sizes.classes)))
  grid = {first * 2**index for index in range(6)} | {marked}
  return sorted(size for size in grid if size <= sizes.images) or [marked]


def coupon_table(sizes: ClassSizes) -> Table:
  """T1: the draws until every class was drawn."""
  mean = analysis.expected_draws(sizes.probs)
  rows = [
    ('classes', sizes.classes),
    ('images', sizes.images),
    ('expected draws', mean),
    ('rounded up', math.ceil(mean)),
    ('standard deviation', analysis.draws_standard_deviation(sizes.probs)),
    *(
      (f'draws for coverage {wanted}', analysis.smallest_num_draws(wanted, sizes.probs))
      for wanted in WANTED
    ),
    *(
      (
        f'the same, without replacement, {wanted}',
        analysis.smallest_num_draws(wanted, class_counts=sizes.counts),
      )
      for wanted in WANTED
    ),
  ]
  return Table(
    'T1. Draws until every class is seen',
    f'The coupon collector on the class sizes of {sizes.name}. A draw is an image with its label; '
    'the anchor of a batch counts as one. Draws are independent unless stated.',
    ('quantity', 'value'),
    rows,
  )


def batch_table(sizes: ClassSizes, batches: list[int], marked: int, mark: str) -> Table:
  """T2 without features: coverage, collisions and safe deputies of each batch."""
  columns: list[list] = []
  for batch in batches:
    negatives, probs = batch - 1, sizes.probs
    counts = {'class_counts': sizes.counts} if batch <= sizes.images else None
    exact = lambda function, number, counts=counts: function(number, **counts) if counts else None
    columns.append(
      [
        Probability(analysis.coverage_probability(batch, probs)),
        _probability(exact(analysis.coverage_probability, batch)),
        Probability(analysis.collision_probability(negatives, probs)),
        _probability(exact(analysis.collision_probability, negatives)),
        analysis.no_collision_probability(negatives, probs),
        Probability(analysis.no_collision_coverage_probability(negatives, probs)),
        analysis.expected_collisions(negatives, probs),
        analysis.expected_log_collisions(negatives, probs),
        exact(analysis.expected_log_collisions, negatives),
        *(safe_rank(negatives, float(probs.max()), level) for level in TOLERANCES),
      ]
    )
  names = (
    'coverage, independent draws',
    'coverage, without replacement',
    'collision, independent draws',
    'collision, without replacement',
    'no collision',
    'no collision and coverage',
    'negatives of own class',
    'E ln(1+Col), independent draws',
    'E ln(1+Col), without replacement',
    *(f'deputy rank, risk {level:g}' for level in TOLERANCES),
  )
  return Table(
    'T2. Batches, from class sizes alone',
    'Columns are K+1, images an anchor is compared with, itself among them. Coverage: every class '
    'occurs. Collision: a negative is of the class of the anchor. Deputy rank: the hardest '
    'negative that is of the class of the anchor with no more than that risk, at worst, for an '
    'anchor of the commonest class.',
    ('K+1', *(heading(batch, marked, mark) for batch in batches)),
    [(name, *values) for name, values in zip(names, zip(*columns, strict=True), strict=True)],
  )


def minima_table(sizes: ClassSizes, batches: list[int], marked: int, mark: str) -> Table:
  """T3 without features: four bounds at the minimum of the contrastive loss."""
  columns: list[list] = []
  for batch in batches:
    least = analysis.contrastive_loss_minimum(batch - 1, sizes.classes)
    bounds = analysis.supervised_loss_bounds(least, batch - 1, sizes.probs)
    columns.append(
      [least, bounds.arora, bounds.nozawa_sato, bounds.ash, bounds.bao, bounds.bao_lower]
    )
  names = (
    'contrastive loss, minimum',
    'Arora et al.',
    'Nozawa and Sato',
    'Ash et al.',
    'Bao et al.',
    'Bao et al., from below',
  )
  smallest = analysis.supervised_loss_minimum(sizes.classes)
  return Table(
    'T3. Bounds of the supervised loss, at the minimum',
    f'Features of length 1, no temperature, positives of the class of the anchor, K negatives. The '
    f'supervised loss of such features is {smallest:.4f}, that of chance '
    f'{math.log(sizes.classes):.4f}; a bound above chance is vacuous. The minimum is that of '
    'equally probable classes.',
    ('K+1', *(heading(batch, marked, mark) for batch in batches)),
    [(name, *values) for name, values in zip(names, zip(*columns, strict=True), strict=True)],
  )


def sentences(sizes: ClassSizes, batch: int) -> list[str]:
  """Sentences on the batch, the queue and the deputy."""
  negatives, classes = batch - 1, sizes.classes
  lines = [in_words(sizes, batch)]
  needed = [analysis.smallest_num_draws(wanted, sizes.probs) for wanted in WANTED]
  chances = _listed(f'{wanted:g}' for wanted in WANTED)
  lines.append(
    f'To see all {classes:,} classes with a probability of {chances}, an anchor must be compared '
    f'with {_listed(f"{number:,}" for number in needed)} images, itself among them.'
  )
  queues = [max(number - batch, 0) for number in needed]
  lines.append(
    f'Beside batches of {batch:,} that takes a queue of {_listed(f"{q:,}" for q in queues)}.'
    if any(queues)
    else f'Batches of {batch:,} need no queue for that.'
  )
  ranks = [safe_rank(negatives, float(sizes.probs.max()), level) for level in TOLERANCES]
  known = [
    f'{rank:,} (risk {level:g})' for rank, level in zip(ranks, TOLERANCES, strict=True) if rank
  ]
  lines.append(
    f'The hardest of {negatives:,} negatives that is safe to push away as a deputy has rank '
    f'{_listed(known)}.'
    if known
    else f'None of {negatives:,} negatives is safe to push away as a deputy.'
  )
  return lines


def in_words(sizes: ClassSizes, batch: int) -> str:
  """'With 255 negatives a batch covers all 10 classes with probability ...'"""
  coverage, collisions = sizes.coverage(batch), sizes.collisions(batch)
  if coverage is None or collisions is None:
    return f'There are {sizes.images:,} images only, fewer than a batch of {batch:,}.'
  start = f'With {batch - 1:,} negatives a batch '
  if batch < sizes.classes:
    covers = f'cannot cover all {sizes.classes:,} classes, which takes {sizes.classes:,} images'
  else:
    missing = analysis.missing_class_probability(batch, class_counts=sizes.counts)
    chance = f'{coverage:.4g}' if missing >= 1e-4 else f'1 - {missing:.2g}' if missing else '1'
    covers = f'covers all {sizes.classes:,} classes with probability {chance}'
  return f'{start}{covers}, and an anchor has {collisions:.3g} negatives of its own class.'


def heading(batch: int, marked: int, mark: str) -> str:
  """The name of a column."""
  return f'{batch:,} ({mark})' if batch == marked else f'{batch:,}'


def safe_rank(negatives: int, prob: float, tolerance: float) -> int | None:
  """`smallest_safe_rank`, or None where no rank is as safe."""
  if not negatives or prob**negatives > tolerance:
    return None
  return analysis.smallest_safe_rank(negatives, prob, tolerance)


def _listed(words: Iterable[str]) -> str:
  """'a, b or c'"""
  *most, last = words
  return f'{", ".join(most)} or {last}' if most else last


def _probability(value: float | None) -> Probability | None:
  return None if value is None else Probability(value)
