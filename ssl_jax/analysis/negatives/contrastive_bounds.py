"""Upper bounds on the supervised loss of the mean classifier by a contrastive loss."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.analysis.negatives.class_draws import ClassDraws
from ssl_jax.analysis.negatives.collisions import (
  collision_mean,
  expected_log_collisions,
  no_collision_probability,
)
from ssl_jax.analysis.negatives.coverage import coverage_probability
from ssl_jax.arguments import ArgumentError, check_number, check_whole


@dataclasses.dataclass(frozen=True)
class SupervisedLossBounds:
  """What `supervised_loss_bounds` finds; an infinite bound is vacuous.

  L is the contrastive loss, υ the coverage of K+1 draws, τ the collision probability of K.

  Attributes:
    arora: (L - E ln(1+Col)) / ((1-τ) υ).
    nozawa_sato: (2L - E ln(1+Col)) / υ.
    ash: 2 max(1, 2 (C-1) H_{C-1} / K) / (1-τ) x (L - E ln(1+Col)); None where classes are not
      equally probable, which the bound assumes.
    bao: L + ln(max_c p_c C^2 cosh(b^2)^2 / K), b the norm of features.
    bao_lower: L + H(p) + ln K - 2 ln(K+1) - 2 ln cosh(b^2), from below.
  """

  arora: float
  nozawa_sato: float
  ash: float | None
  bao: float
  bao_lower: float


def supervised_loss_bounds(
  contrastive_loss: float, num_negatives: int, class_probs: Any, *, feature_norm: float = 1.0
) -> SupervisedLossBounds:
  """Four bounds on the supervised loss of the mean classifier, from a contrastive loss.

  The setting is that of Bao et al.: positives share the anchor's class, labels are independent, and
  inner products are not divided by a temperature.

  Source: Arora et al., ICML 2019; Nozawa and Sato, NeurIPS 2021; Ash et al., AISTATS 2022 (with the
  exact harmonic number); all three in the form of the code of Bao et al., ICML 2022, and Bao's own
  Theorems 3 and 4. Wording of the theorems not read: reconstructed.

  >>> loss = contrastive_loss_minimum(32, num_classes=10)
  >>> bounds = supervised_loss_bounds(loss, 32, [0.1] * 10)
  >>> print(f'{bounds.bao:.2f} {bounds.nozawa_sato:.2f} {bounds.arora:.2f} {bounds.ash:.2f}')
  1.78 3.91 29.70 67.93

  Args:
    contrastive_loss: L, the mean loss of an anchor against its positive and K negatives, in nats.
    num_negatives: K, at least 1.
    class_probs: `float [class]` with sum 1.
    feature_norm: b, the length of features, greater than 0.

  Returns:
    The bounds, see `SupervisedLossBounds`.

  Raises:
    ValueError: the loss is not a number, or as `coverage_probability`.
  """
  negatives = check_whole('num_negatives', num_negatives)
  norm = check_number('feature_norm', feature_norm, above=0)
  loss = _check_number('contrastive_loss', contrastive_loss)
  draws = ClassDraws.of(class_probs, None)
  classes = draws.num_classes + draws.missing
  covered = coverage_probability(negatives + 1, class_probs)
  alone = no_collision_probability(negatives, class_probs)
  collisions = expected_log_collisions(negatives, class_probs)
  spread = 2 * _log_cosh(norm**2)
  entropy = -math.fsum(draws.repeats * draws.weights * np.log(draws.weights))
  uniform = len(draws.weights) == 1 and not draws.missing
  coefficient = 2 * max(1.0, 2 * (classes - 1) * _harmonic(classes - 1) / negatives)
  return SupervisedLossBounds(
    arora=_over(loss - collisions, alone * covered),
    nozawa_sato=_over(2 * loss - collisions, covered),
    ash=_over(coefficient * (loss - collisions), alone) if uniform else None,
    bao=loss + math.log(draws.weights[-1] * classes**2 / negatives) + spread,
    bao_lower=loss + entropy + math.log(negatives) - 2 * math.log(negatives + 1) - spread,
  )


def contrastive_loss_minimum(
  num_negatives: int, num_classes: int, *, feature_norm: float = 1.0
) -> float:
  """The contrastive loss of features that agree within classes and are opposite between them.

  `E ln(1 + m + (K - m) exp(-2 b^2))`, m the negatives of the anchor's class of C equally probable
  ones. No features have less; for more than two classes none have as little.

  Source: Bao et al., ICML 2022 (the reference minimum of their code).

  >>> print(f'{contrastive_loss_minimum(32, num_classes=10):.6f}')
  2.075336

  Args:
    num_negatives: K, at least 1.
    num_classes: C, at least 1.
    feature_norm: b, the length of features, greater than 0.

  Returns:
    The minimum, in nats.

  Raises:
    ValueError: a number is not whole, or out of its range.
  """
  negatives = check_whole('num_negatives', num_negatives)
  classes = check_whole('num_classes', num_classes)
  apart = math.exp(-2 * check_number('feature_norm', feature_norm, above=0) ** 2)
  draws = ClassDraws.of(np.full(classes, 1 / classes), None)
  return collision_mean(
    draws, float(draws.weights[0]), negatives, lambda m: np.log1p(m + (negatives - m) * apart)
  )


def supervised_loss_minimum(num_classes: int, *, feature_norm: float = 1.0) -> float:
  """The supervised loss of the same features: `ln(1 + (C - 1) exp(-2 b^2))`.

  Source: Bao et al., ICML 2022 (the reference minimum of their code).

  >>> print(f'{supervised_loss_minimum(10):.6f}')
  0.796614

  Args:
    num_classes: C, at least 1.
    feature_norm: b, the length of features, greater than 0.

  Returns:
    The minimum, in nats.

  Raises:
    ValueError: a number is not whole, or out of its range.
  """
  classes = check_whole('num_classes', num_classes)
  norm = check_number('feature_norm', feature_norm, above=0)
  return math.log1p((classes - 1) * math.exp(-2 * norm**2))


def _over(numerator: float, denominator: float) -> float:
  """The quotient; a denominator of 0 leaves a bound that says nothing."""
  return numerator / denominator if denominator > 0 else math.inf


def _harmonic(count: int) -> float:
  return math.fsum(1 / np.arange(1, count + 1))


def _log_cosh(x: float) -> float:
  return x + math.log1p(math.exp(-2 * x)) - math.log(2)


def _check_number(name: str, value: Any) -> float:
  try:
    number = float(value)
  except (TypeError, ValueError):
    number = math.nan
  if not math.isfinite(number):
    raise ArgumentError(name, repr(value), 'a finite number')
  return number
