"""Mean and standard deviation of the number of draws until every class was drawn."""

import itertools
import math
from typing import Any

import numpy as np

from ssl_jax.analysis.negatives.class_draws import ClassDraws

_NODES = 32  # of a panel
_RATIO = 1.15  # of the end of a panel to its start


def expected_draws(class_probs: Any) -> float:
  """The mean number of independent draws until every class was drawn.

  C H_C for C classes of equal probability, and in general the integral over u from 0 of
  `1 - prod_c(1 - exp(-p_c u))`. Right to about 14 digits.

  Source: the coupon collector's problem; Table 3 of Nozawa and Sato, NeurIPS 2021. The quadrature
  is reconstructed: panels in geometric progression see every class, however rare.

  >>> print(f'{expected_draws([0.1] * 10):.4f}')
  29.2897

  Args:
    class_probs: `float [class]` with sum 1.

  Returns:
    The mean; infinite where a class has probability 0.

  Raises:
    ValueError: probabilities are negative or do not sum to 1.
  """
  draws = ClassDraws.of(class_probs, None)
  if draws.missing:
    return math.inf
  if len(draws.weights) == 1:
    return _harmonic_draws(draws.num_classes)
  return _moments(draws)[0]


def draws_standard_deviation(class_probs: Any) -> float:
  """The standard deviation of the number of independent draws until every class was drawn.

  Source: as `expected_draws`, whose argument and errors it shares.

  >>> print(f'{draws_standard_deviation([0.1] * 10):.4f}')
  11.2110

  Returns:
    The standard deviation; infinite where a class has probability 0.
  """
  draws = ClassDraws.of(class_probs, None)
  if draws.missing:
    return math.inf
  if len(draws.weights) == 1:
    count = draws.num_classes
    rest = np.arange(1, count, dtype=np.float64)
    return math.sqrt(math.fsum(count * (count - rest) / rest**2))
  mean, factorial = _moments(draws)
  return math.sqrt(factorial - mean - mean**2)


def _harmonic_draws(count: int) -> float:
  return math.fsum(count / np.arange(1, count + 1))


def _moments(draws: ClassDraws) -> tuple[float, float]:
  """E T and E T(T+1).

  Draws at the times of a Poisson process make classes independent; the time of draw T has mean E T
  and second moment E T(T+1).
  """
  rarest, commonest = draws.weights[0], draws.weights[-1]
  first = 0.5 / commonest
  last = (math.log(draws.num_classes) + 45) / rarest
  panels = math.ceil(math.log(last / first) / math.log(_RATIO))
  edges = np.concatenate([[0], first * _RATIO ** np.arange(panels + 1)])
  nodes, weights = np.polynomial.legendre.leggauss(_NODES)
  first_moment, second_moment = [], []
  for start, end in itertools.pairwise(edges):
    times = 0.5 * (end - start) * nodes + 0.5 * (start + end)
    with np.errstate(divide='ignore'):
      seen = draws.repeats @ np.log(-np.expm1(-draws.weights[:, None] * times))
    parts = 0.5 * (end - start) * weights * -np.expm1(seen)
    first_moment += list(parts)
    second_moment += list(2 * times * parts)
  return math.fsum(first_moment), math.fsum(second_moment)
