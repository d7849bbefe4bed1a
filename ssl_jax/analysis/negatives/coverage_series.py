"""Probabilities of label draws as coefficients of power series with positive coefficients.

A class of probability ρ occurs k times with weight ρ^k/k! in `exp(ρ w) - 1`, a class of n images
with weight C(n, k) in `(1+w)^n - 1`. Both are `expm1(a v)`, with a the class's weight and v = w or
log(1+w); coefficient N of the product over classes, over that of `exp(A v)` for all images, is the
probability that N draws show every class.

A coefficient is the mean of the series over a circle |w| = r. With positive coefficients nothing on
the circle exceeds the value at r, and with r at the saddle nothing cancels: alternating sums, which
lose all digits where they matter, do not occur. Large logarithms cancel on paper, not in floats.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ssl_jax.analysis.negatives.class_draws import ClassDraws

_BLOCK = 64  # nodes of the circle visited at once
_NEGLIGIBLE = 1e-30  # a block below this ends the visit: magnitudes fall away from the real axis


@dataclasses.dataclass(frozen=True)
class _Circle:
  """|w| = r, on which v is w or log(1+w)."""

  log_radius: float
  replacement: bool

  @property
  def radius(self) -> float:
    return math.exp(self.log_radius)

  @property
  def share(self) -> float:
    """r / (1+r)."""
    return 1 / (1 + math.exp(-self.log_radius))

  @property
  def v(self) -> float:
    """v at w = r."""
    return self.radius if self.replacement else math.log1p(self.radius)

  @property
  def slope(self) -> float:
    """r dv/dr at w = r."""
    return self.radius if self.replacement else self.share

  def turn(self, angles: np.ndarray) -> np.ndarray:
    """v(r exp(i angle)) - v(r), to full relative precision."""
    half = np.sin(angles / 2) ** 2
    if self.replacement:
      return self.radius * (-2 * half + 1j * np.sin(angles))
    # |1+w|^2 over (1+r)^2, as 1 minus something near the real axis and as a sum opposite to it.
    share, both = self.share, self.share / (1 + self.radius)
    opposite = math.tanh(self.log_radius / 2) ** 2 + 4 * both * np.cos(angles / 2) ** 2
    lost = 4 * both * half
    real = 0.5 * np.where(lost < 0.5, np.log1p(-np.minimum(lost, 0.5)), np.log(opposite))
    return real + 1j * np.arctan2(share * np.sin(angles), 1 - 2 * share * half)

  def log_inverse_mass(self, total: float, draws: int) -> float:
    """log of exp(total v(r)) r^-draws over coefficient `draws` of exp(total v).

    That is minus the log of a Poisson or a binomial probability, as Loader (2000) computes it.
    """
    if self.replacement:
      mean = self.radius
      return _stirling_error(draws) + _deviance(draws, mean) + 0.5 * math.log(2 * math.pi * draws)
    rest = total - draws
    spread = math.log(2 * math.pi * draws * rest / total)
    errors = _stirling_error(draws) + _stirling_error(rest) - _stirling_error(total)
    hits = _deviance(draws, total * self.share)
    misses = _deviance(rest, total / (1 + self.radius))
    return errors + hits + misses + 0.5 * spread


def log_coverage(draws: ClassDraws, count: int) -> float:
  """log P(every class is among `count` draws), for more than one class and count >= classes + 2."""
  weights, repeats = draws.weights, draws.repeats

  def growth(circle: _Circle) -> float:
    x = weights * circle.v
    return float(repeats @ (weights / -np.expm1(-x))) * circle.slope

  circle = _saddle(growth, count, draws.replacement)
  at_real = _log_one_minus_exp(weights * circle.v)

  def values(angles: np.ndarray) -> np.ndarray:
    return np.exp(_log_product(draws, circle, at_real, angles) - 1j * count * angles)

  log_top = circle.log_inverse_mass(draws.total, count) + float(repeats @ at_real)
  return log_top + _log_mean(values, count)


def log_missing(draws: ClassDraws, count: int) -> float:
  """log P(some class is not among `count` draws), under the conditions of `log_coverage`.

  The series is exp(A v) minus the product; its coefficients are positive too, so that a probability
  of 1e-23 has as many digits as one of a half.
  """
  weights, repeats, total = draws.weights, draws.repeats, draws.total
  least = float(weights[0])

  def growth(circle: _Circle) -> float:
    x = weights * circle.v
    log_all = float(repeats @ _log_one_minus_exp(x))
    some = -math.expm1(log_all)
    falling = least  # where only the rarest class can be missing any more
    if some > 0:
      with np.errstate(over='ignore'):  # an infinite exponential is a class that is never missing
        falling = math.exp(log_all) * float(repeats @ (weights / np.expm1(x))) / some
    return (total - falling) * circle.slope

  circle = _saddle(growth, count, draws.replacement)
  at_real = _log_one_minus_exp(weights * circle.v)
  some = -math.expm1(float(repeats @ at_real))
  if some == 0:
    return -math.inf

  def values(angles: np.ndarray) -> np.ndarray:
    turn = circle.turn(angles)
    everything = np.exp(total * turn - 1j * count * angles)
    ahead = circle.v + turn.real >= 0
    result = np.empty_like(everything)
    x = weights[:, None] * (circle.v + turn[ahead])
    result[ahead] = everything[ahead] * -_expm1(repeats @ _log_one_minus_exp(x))
    product = _log_product(draws, circle, at_real, angles[~ahead]) + float(repeats @ at_real)
    result[~ahead] = everything[~ahead] - np.exp(product - 1j * count * angles[~ahead])
    return result / some

  log_top = circle.log_inverse_mass(total, count) + math.log(some)
  return log_top + _log_mean(values, count)


def log_distinct_anchor(draws: ClassDraws, negatives: int) -> float:
  """log P(all classes occur, that of the anchor only with the anchor), for negatives > classes.

  The series is the product times the sum of P(c) / expm1(a_c v): the anchor's class takes no part.
  """
  weights, repeats = draws.weights, draws.repeats
  masses = repeats * draws.shares
  least = float(weights[0])

  def growth(circle: _Circle) -> float:
    x = weights * circle.v
    kept = -np.expm1(-x)
    product = float(repeats @ (weights / kept))
    terms = masses * np.exp(-(x - x[0])) / kept
    return (product - float(terms @ (weights / kept)) / float(terms.sum())) * circle.slope

  circle = _saddle(growth, negatives, draws.replacement)
  v = circle.v
  at_real = _log_one_minus_exp(weights * v)
  # The sum over anchors, without the factor exp(-least v) that the rarest class contributes.
  scaled = float(np.sum(masses * np.exp(-(weights - least) * v - at_real)))

  def values(angles: np.ndarray) -> np.ndarray:
    turn = circle.turn(angles)
    x = v + turn
    ahead = x.real >= 0
    sums = np.empty_like(x)
    forward, backward = weights[:, None] * x[ahead], weights[:, None] * x[~ahead]
    sums[ahead] = masses @ np.exp(least * x[ahead] - forward - _log_one_minus_exp(forward))
    sums[~ahead] = -np.exp(least * x[~ahead]) * (masses @ np.exp(-_log_one_minus_exp(-backward)))
    exponent = _log_product(draws, circle, at_real, angles) - least * turn
    return np.exp(exponent - 1j * negatives * angles) * sums / scaled

  others = draws.total if draws.replacement else draws.total - 1
  log_top = circle.log_inverse_mass(others, negatives) + float(repeats @ at_real)
  log_top += math.log(scaled) + (draws.total - others - least) * v
  return log_top + _log_mean(values, negatives)


def _log_product(
  draws: ClassDraws, circle: _Circle, at_real: np.ndarray, angles: np.ndarray
) -> np.ndarray:
  """log of the product over classes of expm1(a v), over its value at w = r."""
  turn = circle.turn(angles)
  ahead = circle.v + turn.real >= 0
  result = np.empty_like(turn)
  x = draws.weights[:, None] * (circle.v + turn[ahead])
  result[ahead] = draws.total * turn[ahead] + draws.repeats @ (
    _log_one_minus_exp(x) - at_real[:, None]
  )
  x = draws.weights[:, None] * (circle.v + turn[~ahead])
  result[~ahead] = draws.repeats @ (_log_one_minus_exp(-x) + 1j * math.pi - at_real[:, None])
  result[~ahead] -= draws.total * circle.v
  return result


def _saddle(growth: Callable[[_Circle], float], count: int, replacement: bool) -> _Circle:
  """The circle on which `growth`, the logarithmic derivative of the series, is `count`."""
  low, high = -60.0, 1.0
  while growth(_Circle(high, replacement)) < count and high < 700:
    high += 4.0
  for _ in range(80):
    middle = 0.5 * (low + high)
    if growth(_Circle(middle, replacement)) < count:
      low = middle
    else:
      high = middle
  return _Circle(0.5 * (low + high), replacement)


def _log_mean(values: Callable[[np.ndarray], np.ndarray], count: int) -> float:
  """log of the mean over the circle of a function with value 1 at angle 0.

  The trapezoid rule; its error is the weight of coefficients at least 16 standard deviations away.
  """
  nodes = 2 ** math.ceil(math.log2(max(256, 16 * math.sqrt(count) + 64)))
  total = 0.0
  for start in range(0, nodes // 2 + 1, _BLOCK):
    index = np.arange(start, min(start + _BLOCK, nodes // 2 + 1))
    found = values(2 * math.pi * index / nodes)
    conjugate = np.where((index == 0) | (index == nodes // 2), 1, 2)
    total += float(conjugate @ found.real)
    if np.max(np.abs(found)) < _NEGLIGIBLE:
      break
  return math.log(total / nodes)


def _log_one_minus_exp(x: np.ndarray) -> np.ndarray:
  """log(1 - exp(-x)) where x has a real part >= 0, to full relative precision."""
  if not np.iscomplexobj(x):
    return np.where(
      x < math.log(2),
      np.log(-np.expm1(-np.minimum(x, 1))),
      np.log1p(-np.exp(-np.maximum(x, 0.5))),
    )
  small, cosine, sine = np.exp(-x.real), np.cos(x.imag), np.sin(x.imag)
  half = np.sin(x.imag / 2) ** 2
  squared = np.expm1(-x.real) ** 2 + 4 * small * half
  close = np.log1p(np.minimum(small, 0.5) ** 2 - 2 * np.minimum(small, 0.5) * cosine)
  real = 0.5 * np.where(small < 0.5, close, np.log(np.where(small < 0.5, 1, squared)))
  return real + 1j * np.arctan2(small * sine, 2 * half - np.expm1(-x.real) * cosine)


def _expm1(x: np.ndarray) -> np.ndarray:
  """exp(x) - 1 of complex numbers, without cancellation near 0."""
  real = np.expm1(x.real) * np.cos(x.imag) - 2 * np.sin(x.imag / 2) ** 2
  return real + 1j * np.exp(x.real) * np.sin(x.imag)


def _stirling_error(n: float) -> float:
  """log n! minus Stirling's formula for it, n >= 1."""
  if n < 16:
    return math.lgamma(n + 1) - (n * math.log(n) - n + 0.5 * math.log(2 * math.pi * n))
  return 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5) - 1 / (1680 * n**7)


def _deviance(n: float, mean: float) -> float:
  """n log(n/mean) + mean - n."""
  excess = (mean - n) / n
  return n * (excess - math.log1p(excess))
