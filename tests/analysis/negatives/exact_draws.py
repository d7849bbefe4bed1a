"""The same probabilities as exact fractions, by inclusion and exclusion of every set of classes."""

import itertools
import math
from fractions import Fraction

from hypothesis import strategies as st

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def subsets(counts):
  """Sign and size of every set of classes."""
  for chosen in itertools.product((0, 1), repeat=len(counts)):
    size = sum(n for n, taken in zip(counts, chosen, strict=True) if taken)
    yield (-1) ** sum(chosen), size


def coverage(draws, counts):
  total = sum(counts)
  return sum(sign * (1 - Fraction(size, total)) ** draws for sign, size in subsets(counts))


def coverage_without(draws, counts):
  total = sum(counts)
  ways = sum(sign * math.comb(total - size, draws) for sign, size in subsets(counts))
  return Fraction(ways, math.comb(total, draws))


def mean_draws(counts):
  total = sum(counts)
  return -sum(sign * Fraction(total, size) for sign, size in subsets(counts) if size)


def variance_of_draws(counts):
  total = sum(counts)
  # E T(T+1) of a geometric variable with success s is 2/s^2.
  second = -sum(sign * 2 * Fraction(total, size) ** 2 for sign, size in subsets(counts) if size)
  return second - mean_draws(counts) - mean_draws(counts) ** 2


def no_collision(negatives, counts):
  total = sum(counts)
  return sum(Fraction(n, total) * (1 - Fraction(n, total)) ** negatives for n in counts)


def no_collision_without(negatives, counts):
  total = sum(counts)
  ways = math.comb(total - 1, negatives)
  return sum(Fraction(n, total) * Fraction(math.comb(total - n, negatives), ways) for n in counts)


def distinct_anchor(negatives, counts, replacement=True):
  """P(no collision, coverage)."""
  total, result = sum(counts), Fraction(0)
  for index, own in enumerate(counts):
    rest = counts[:index] + counts[index + 1 :]
    for sign, size in subsets(rest):
      kept = total - own - size
      if replacement:
        chance = Fraction(kept, total) ** negatives
      else:
        chance = Fraction(math.comb(kept, negatives), math.comb(total - 1, negatives))
      result += Fraction(own, total) * sign * chance
  return result


def log_collisions(negatives, counts, replacement=True):
  """E ln(1 + Col): exact masses, logarithms in floats."""
  total, terms = sum(counts), []
  for own in counts:
    for k in range(negatives + 1):
      if replacement:
        share = Fraction(own, total)
        mass = math.comb(negatives, k) * share**k * (1 - share) ** (negatives - k)
      else:
        ways = math.comb(own - 1, k) * math.comb(total - own, negatives - k)
        mass = Fraction(ways, math.comb(total - 1, negatives))
      terms.append(float(Fraction(own, total) * mass) * math.log1p(k))
  return math.fsum(terms)
