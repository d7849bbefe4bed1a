"""Upper bound on the probability that the negative at a rank is of the anchor's own class."""

import decimal
import math
from fractions import Fraction
from typing import Any

from ssl_jax.arguments import ArgumentError, check_number, check_whole

_DIGITS = decimal.Context(prec=40, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)


def deputy_false_negative_probability(num_negatives: int, rank: int, class_prob: Any) -> float:
  """The probability that at least `rank` of the negatives are of the anchor's class.

  `sum_{j=k}^{m} C(m, j) p^j (1-p)^(m-j)`: if all negatives of the anchor's class were more similar
  than all others, the negative at rank k would be a false one exactly then. It bounds what happens
  from above. Right to about 15 digits down to the smallest floats.

  Source: Wang et al., ICCV 2021 (truncated triplet loss).

  >>> print(f'{deputy_false_negative_probability(195, 2, 1 / 1000):.4f}')
  0.0166

  Args:
    num_negatives: m, negatives drawn independently for an anchor.
    rank: k, from 1 for the most similar negative to m.
    class_prob: p, the probability of the anchor's class: a float, or an exact `Fraction`.

  Returns:
    The probability.

  Raises:
    ValueError: a number is not whole, or out of its range.
  """
  negatives = check_whole('num_negatives', num_negatives)
  rank = _check_rank(rank, negatives)
  return _tail(negatives, rank, _check_class_prob(class_prob))


def smallest_safe_rank(num_negatives: int, class_prob: Any, tolerance: float) -> int:
  """The hardest negative that is of the anchor's class with no more than a given probability.

  Source: Wang et al., ICCV 2021 (truncated triplet loss): the least rank whose
  `deputy_false_negative_probability` is negligible.

  >>> smallest_safe_rank(255, class_prob=1 / 10, tolerance=0.01)
  38

  Args:
    num_negatives: m, negatives drawn independently for an anchor.
    class_prob: p, the probability of the anchor's class: a float, or an exact `Fraction`.
    tolerance: the largest probability that is allowed, from 0 to 1.

  Returns:
    The least rank, from 1 to m, whose probability is at most `tolerance`.

  Raises:
    ValueError: a number is out of its range, or no rank is as safe as `tolerance`.
  """
  negatives = check_whole('num_negatives', num_negatives)
  prob = _check_class_prob(class_prob)
  tolerance = check_number('tolerance', tolerance, at_least=0, at_most=1)
  least = _tail(negatives, negatives, prob)
  if least > tolerance:
    raise ArgumentError(
      'tolerance',
      tolerance,
      f'at least {least:.6g}, the probability that all {negatives} negatives are of the class',
    )
  # The probability falls with the rank. Doubling first keeps to small ranks, which are cheap.
  low, high = 1, 1
  while _tail(negatives, high, prob) > tolerance:
    low, high = high + 1, min(2 * high, negatives)
  while low < high:
    middle = (low + high) // 2
    if _tail(negatives, middle, prob) <= tolerance:
      high = middle
    else:
      low = middle + 1
  return low


def _tail(count: int, rank: int, prob: Fraction) -> float:
  """P(X >= rank) for X binomial, summed outwards from the term next to the mean.

  Terms then only fall, each a simple ratio times the one before, and the first is computed in forty
  digits: the incomplete beta function of libraries underflows near 1e-300.
  """
  if prob in (0, 1):
    return float(prob)
  odds = float(prob / (1 - prob))
  term, total = 1.0, 1.0
  if rank > count * prob:
    for j in range(rank, count):
      term *= (count - j) / (j + 1) * odds
      total += term
      if term < 1e-18 * total:
        break
    return _mass(count, rank, prob) * total
  for j in range(rank - 1, 0, -1):
    term *= j / (count - j + 1) / odds
    total += term
    if term < 1e-18 * total:
      break
  return 1 - _mass(count, rank - 1, prob) * total


def _mass(count: int, hits: int, prob: Fraction) -> float:
  """P(X = hits) for X binomial, in forty digits and rounded once."""
  with decimal.localcontext(_DIGITS):
    hit, trials = decimal.Decimal(prob.numerator), decimal.Decimal(prob.denominator)
    ways = decimal.Decimal(math.comb(count, hits))
    return float(ways * (hit / trials) ** hits * ((trials - hit) / trials) ** (count - hits))


def _check_rank(rank: int, negatives: int) -> int:
  number = check_whole('rank', rank)
  if number > negatives:
    raise ArgumentError('rank', rank, f'at most {negatives}, the number of negatives')
  return number


def _check_class_prob(class_prob: Any) -> Fraction:
  number = check_number('class_prob', class_prob, at_least=0, at_most=1)
  return class_prob if isinstance(class_prob, Fraction) else Fraction(number)
