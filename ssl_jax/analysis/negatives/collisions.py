"""Collisions: the distribution of the number of negatives of the anchor's own class."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.analysis.negatives import coverage_series
from ssl_jax.analysis.negatives.class_draws import ClassDraws

# Counts whose probability is below this part of the likeliest one's change no digit.
_NEGLIGIBLE = 1e-22


def collision_probability(
  num_negatives: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The probability τ that at least one negative is of the anchor's class.

  `1 - sum_c p_c (1 - p_c)^K` for independent draws; without replacement
  `1 - sum_c n_c/M C(M - n_c, K) / C(M - 1, K)`.

  Source: Arora et al., ICML 2019, and Nozawa and Sato, NeurIPS 2021.

  >>> print(f'{collision_probability(31, [0.1] * 10):.3f}')
  0.962

  Args:
    num_negatives: K, the negatives of an anchor.
    class_probs: `float [class]` with sum 1: draws are independent.
    class_counts: `int [class]`, images a class, in place of `class_probs`: draws are without
      replacement.

  Returns:
    The probability.

  Raises:
    ValueError: `num_negatives` is not whole, negative or beyond the other images; otherwise as
      `coverage_probability`.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  negatives = draws.check_draws('num_negatives', num_negatives, fewer=1)
  return min(math.fsum(-draws.repeats * draws.shares * np.expm1(_log_alone(draws, negatives))), 1.0)


def no_collision_probability(
  num_negatives: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The probability 1 - τ that no negative is of the anchor's class, however small it is.

  Source: as `collision_probability`, whose arguments and errors it shares. The released code
  accumulates 1 - τ, which ends at 1e-16.

  >>> print(f'{no_collision_probability(511, [0.1] * 10):.3e}')
  4.149e-24

  Returns:
    The probability.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  negatives = draws.check_draws('num_negatives', num_negatives, fewer=1)
  return min(math.fsum(draws.repeats * draws.shares * np.exp(_log_alone(draws, negatives))), 1.0)


def expected_collisions(
  num_negatives: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The mean number of negatives of the anchor's class.

  `K sum_c p_c^2` for independent draws, `K sum_c n_c (n_c - 1) / (M (M - 1))` without replacement.

  Source: elementary; arguments and errors are those of `collision_probability`.

  >>> print(f'{expected_collisions(255, [0.1] * 10):.1f}')
  25.5

  Returns:
    The mean of Col.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  negatives = draws.check_draws('num_negatives', num_negatives, fewer=1)
  others = draws.weights if draws.replacement else draws.weights - 1
  rest = 1.0 if draws.replacement else max(draws.total - 1, 1.0)
  return negatives * math.fsum(draws.repeats * draws.shares * others / rest)


def expected_log_collisions(
  num_negatives: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """E ln(1 + Col), for Col the number of negatives of the anchor's class: the collision term.

  Given the anchor's class, Col is binomial, or hypergeometric without replacement.

  Source: Nozawa and Sato, NeurIPS 2021. Arguments and errors are those of `collision_probability`.

  >>> print(f'{expected_log_collisions(31, [0.1] * 10):.6f}')
  1.316887

  Returns:
    The expectation, in nats.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  negatives = draws.check_draws('num_negatives', num_negatives, fewer=1)
  terms = [collision_mean(draws, weight, negatives, np.log1p) for weight in draws.weights]
  return math.fsum(draws.repeats * draws.shares * terms)


def no_collision_coverage_probability(
  num_negatives: int, class_probs: Any = None, *, class_counts: Any = None
) -> float:
  """The probability that all classes occur, the anchor's own with the anchor only.

  The denominator of a CURL-style bound on the supervised loss. It lies between (1-τ) υ and 1-τ for
  classes of equal probability.

  Source: reconstructed; Nozawa and Sato, NeurIPS 2021, divide by 1-τ, which is no bound while some
  class is missing. Arguments and errors are those of `collision_probability`.

  >>> print(f'{no_collision_coverage_probability(31, [0.1] * 10):.6f}')
  0.029796

  Returns:
    The probability.
  """
  draws = ClassDraws.of(class_probs, class_counts)
  negatives = draws.check_draws('num_negatives', num_negatives, fewer=1)
  classes = draws.num_classes
  if draws.missing or negatives < classes - 1:
    return 0.0
  if classes == 1:
    return 0.0 if negatives else 1.0
  if negatives <= classes:
    return _tight(draws, negatives)
  if not draws.replacement and negatives > draws.total - draws.weights[0]:
    return 0.0
  if not draws.replacement and negatives == draws.total - draws.weights[0]:
    # Only an anchor of a rarest class is left out of what must be drawn whole.
    ways = math.comb(int(draws.total) - 1, negatives)
    return float(draws.repeats[0] * draws.shares[0]) / ways if ways < 2**1000 else 0.0
  return min(math.exp(coverage_series.log_distinct_anchor(draws, negatives)), 1.0)


def _tight(draws: ClassDraws, negatives: int) -> float:
  """Every other class is drawn once, or one of them twice."""
  classes = draws.num_classes
  if draws.replacement:
    logs = [*np.log(np.arange(1, classes + 1)), *(draws.repeats * np.log(draws.weights))]
    both = math.exp(math.fsum(logs))
    return both * (classes - 1) / 2 if negatives == classes else both
  ways = classes * math.prod(
    int(size) ** int(repeat) for size, repeat in zip(draws.weights, draws.repeats, strict=True)
  )
  total = int(draws.total)
  if negatives < classes:
    return ways / (total * math.comb(total - 1, negatives))
  # One of the other classes gives two images: (n - 1) / 2 in place of 1, summed over anchors.
  ways = ways // classes * (classes - 1) * (total - classes)
  return ways / (2 * total * math.comb(total - 1, negatives))


def _log_alone(draws: ClassDraws, negatives: int) -> np.ndarray:
  """log P(no negative is of the anchor's class), for each distinct weight."""
  if draws.replacement:
    with np.errstate(divide='ignore', invalid='ignore'):  # a class of probability 1
      logs = negatives * np.log1p(-draws.weights)
    return logs if negatives else np.zeros_like(draws.weights)
  logs = np.zeros(len(draws.weights))
  for index, size in enumerate(draws.weights.astype(np.int64)):
    own, others = int(size) - 1, int(draws.total) - 1
    if negatives > others - own:
      logs[index] = -math.inf
      continue
    # C(others - own, K) / C(others, K) is symmetric in own and K: the shorter product.
    few, many = sorted((own, negatives))
    logs[index] = math.fsum(np.log1p(-many / (others - np.arange(few))))
  return logs


def collision_mean(
  draws: ClassDraws, weight: float, negatives: int, of: Callable[[np.ndarray], np.ndarray]
) -> float:
  """The mean of a function of Col, not negative, given an anchor of a class of this weight."""
  if not negatives:
    return float(of(np.zeros(1))[0])
  if draws.replacement:
    if weight >= 1:
      return float(of(np.full(1, float(negatives)))[0])
    low, high, odds = 0, negatives, weight / (1 - weight)
    mode = int((negatives + 1) * weight)
    rise = lambda k: (negatives - k) / (k + 1) * odds
  else:
    own, others = int(weight) - 1, int(draws.total) - 1
    low, high = max(0, negatives - (others - own)), min(own, negatives)
    mode = int((negatives + 1) * (own + 1) / (others + 2))
    rise = lambda k: (own - k) * (negatives - k) / ((k + 1) * (others - own - negatives + k + 1))
  mode = min(max(mode, low), high)
  upper = _ratios(rise, mode, high, 1)
  lower = _ratios(lambda k: 1 / rise(k - 1), mode, low, -1)
  counts = np.concatenate([mode + np.arange(len(upper)), mode - 1 - np.arange(len(lower) - 1)])
  masses = np.concatenate([upper, lower[1:]])
  # The masses are relative to the likeliest count's; that they sum to 1 makes them absolute.
  return math.fsum(masses * of(counts.astype(np.float64))) / math.fsum(masses)


def _ratios(
  step: Callable[[np.ndarray], np.ndarray], start: int, end: int, direction: int
) -> np.ndarray:
  """Masses from `start` to `end` over that at `start`, until they are negligible."""
  masses, block = [np.ones(1)], 64
  at = start
  while at != end and masses[-1][-1] > _NEGLIGIBLE:
    stop = min(at + block, end) if direction > 0 else max(at - block, end)
    ratios = step(np.arange(at, stop, direction, dtype=np.float64))
    masses.append(masses[-1][-1] * np.cumprod(ratios))
    at, block = stop, 2 * block
  return np.concatenate(masses)
