"""Coverage: the probability that draws include every class (coupon collector), exactly."""

import math
from typing import Any

import numpy as np

from ssl_jax.analysis.negatives import coverage_series
from ssl_jax.analysis.negatives.class_draws import ClassDraws
from ssl_jax.arguments import ArgumentError, check_number

# Coverages are right to about 14 digits: one that misses the wanted one by less has reached it.
_SLACK = 1e-13


def coverage_probability(
  num_draws: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The probability υ that every class is among the labels of so many draws.

  Right to about 14 digits from 1e-308 to 1, for any probabilities; grows with `num_draws`.

  Source: the coupon-collector model of Nozawa and Sato, NeurIPS 2021. Computed from a contour
  integral (reconstructed) in place of the released alternating sum, which is noise for 100 classes.

  >>> print(f'{coverage_probability(32, [0.1] * 10):.12f}')
  0.690975632447
  >>> print(f'{coverage_probability(3, class_counts=[3, 2, 1]):.1f}')
  0.3

  Args:
    num_draws: N = K+1, the anchor among them.
    class_probs: `float [class]` with sum 1: draws are independent.
    class_counts: `int [class]`, images a class, in place of `class_probs`: draws are without
      replacement, as when a batch is cut from a shuffled data set.

  Returns:
    The probability; 0 where a class has probability or count 0.

  Raises:
    ValueError: `num_draws` is not whole, negative or beyond the images; probabilities are negative
      or do not sum to 1; counts are negative or not whole; none or both of the two are given.
  """
  log_covered, log_missed = _logs(num_draws, class_probs, class_counts)
  return math.exp(log_covered) if log_missed is None else -math.expm1(log_missed)


def log_coverage_probability(
  num_draws: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The natural logarithm of `coverage_probability`, which may be far below what a float holds.

  Source: as `coverage_probability`, whose arguments and errors it shares.

  >>> print(f'{log_coverage_probability(1001, [0.001] * 1000):.6f}')
  -989.411493

  Returns:
    The logarithm, -inf where coverage is impossible.
  """
  log_covered, log_missed = _logs(num_draws, class_probs, class_counts)
  return log_covered if log_missed is None else math.log1p(-math.exp(log_missed))


def missing_class_probability(
  num_draws: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The probability 1 - υ that some class is missing, to about 14 digits however small it is.

  Source: as `coverage_probability`, whose arguments and errors it shares.

  >>> print(f'{missing_class_probability(512, [0.1] * 10):.3e}')
  3.734e-23

  Returns:
    The probability.
  """
  log_covered, log_missed = _logs(num_draws, class_probs, class_counts)
  return -math.expm1(log_covered) if log_missed is None else math.exp(log_missed)


def smallest_num_draws(
  coverage: float, class_probs: Any = None, *, class_counts: Any = None
) -> int:
  """The fewest draws that include every class with a given probability.

  Source: `coverage_probability`, inverted.

  >>> [smallest_num_draws(wanted, [0.1] * 10) for wanted in (0.5, 0.9, 0.99)]
  [27, 44, 66]

  Args:
    coverage: the wanted υ, from 0 to below 1; 1 is allowed without replacement. Reached means up
      to rounding of 1e-13.
    class_probs: `float [class]` with sum 1: draws are independent.
    class_counts: `int [class]`, images a class, in place of `class_probs`: draws are without
      replacement.

  Returns:
    N, the anchor among them.

  Raises:
    ValueError: `coverage` is out of its range or a class cannot be drawn; otherwise as
      `coverage_probability`.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  wanted = check_number('coverage', coverage, at_least=0, at_most=1)
  if wanted == 1 and draws.replacement and draws.num_classes > 1:
    raise ArgumentError('coverage', '1', 'below 1: no number of independent draws is sure')
  if wanted == 0:
    return 0
  if draws.missing:
    raise ArgumentError('coverage', coverage, f'0: {draws.missing} classes are never drawn')

  def reached(count: int) -> bool:
    log_covered, log_missed = _of_draws(draws, count)
    if log_missed is None:
      return log_covered >= math.log(wanted) - _SLACK
    return math.exp(log_missed) <= (1 - wanted) * (1 + _SLACK)

  most = 2**62 if draws.replacement else int(draws.total)
  middle = min(_poisson_guess(draws, wanted), most)
  reach = max(1, middle // 50)
  # The answer lies close to the guess; each step that misses doubles.
  if reached(middle):
    low, high = middle, middle
    while low > 0 and reached(low):
      low, high, reach = max(low - reach, 0), low, 2 * reach
  else:
    low, high = middle, middle
    while not reached(high):
      low, high, reach = high, min(high + reach, most), 2 * reach
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (low, middle) if reached(middle) else (middle, high)
  return high


def _logs(num_draws: int, class_probs: Any, class_counts: Any) -> tuple[float, float | None]:
  draws = ClassDraws.of(class_probs, class_counts)
  return _of_draws(draws, draws.check_draws('num_draws', num_draws))


def _of_draws(draws: ClassDraws, count: int) -> tuple[float, float | None]:
  """log υ and, where υ is above a half and known by what it lacks to 1, log(1 - υ)."""
  classes = draws.num_classes
  if draws.missing or count < classes:
    return -math.inf, None
  if classes == 1:
    return 0.0, -math.inf
  if not draws.replacement:
    last = draws.total - draws.weights[0]  # draws that can miss the rarest class
    if count > last:
      return 0.0, -math.inf
    if count == last:
      ways = math.log(math.comb(int(draws.total), count))
      log_missed = math.log(draws.repeats[0]) - ways
      if log_missed < -math.log(2):
        return math.log1p(-math.exp(log_missed)), log_missed
  if count <= classes + 1:
    log_covered = _tight(draws, count)
    return log_covered, None
  log_covered = coverage_series.log_coverage(draws, count)
  if log_covered < -math.log(2):
    return log_covered, None
  return log_covered, min(coverage_series.log_missing(draws, count), 0.0)


def _tight(draws: ClassDraws, count: int) -> float:
  """log υ where each class is drawn once, or all but one of them."""
  classes, spare = draws.num_classes, count - draws.num_classes
  if draws.replacement:
    # N! times the product of probabilities; the spare draw is of any class: their sum, over 2.
    logs = [*np.log(np.arange(1, count + 1)), *(draws.repeats * np.log(draws.weights))]
    return min(math.fsum(logs) - spare * math.log(2), 0.0)
  ways = math.prod(
    int(size) ** int(repeat) for size, repeat in zip(draws.weights, draws.repeats, strict=True)
  )
  if spare:
    ways *= int(draws.total) - classes
  choices = math.comb(int(draws.total), count) << spare
  ratio = ways / choices
  return math.log(ratio) if ratio > 1e-300 else math.log(ways) - math.log(choices)


def _poisson_guess(draws: ClassDraws, wanted: float) -> int:
  """The number of draws if classes came independently of each other, at a rate each."""
  shares, target = draws.shares, math.log(min(wanted, 1 - 1e-16))
  log_covered = lambda count: float(draws.repeats @ np.log1p(-np.exp(-shares * count)))
  low, high = 0.0, 1.0
  while log_covered(high) < target:
    low, high = high, 2 * high
  for _ in range(60):
    middle = 0.5 * (low + high)
    low, high = (middle, high) if log_covered(middle) < target else (low, middle)
  return max(round(high), draws.num_classes)
