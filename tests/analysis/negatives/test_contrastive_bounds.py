"""Four bounds on the supervised loss: worked examples, their order at the minimum, errors."""

import dataclasses
import math

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.analysis import (
  contrastive_loss_minimum,
  coverage_probability,
  expected_log_collisions,
  supervised_loss_bounds,
  supervised_loss_minimum,
)

# (classes, negatives): upper and lower term of Bao, minimum, collision term, coefficient of Ash.
TERMS = {
  (10, 32): (
    -0.295589148840,
    -2.092255788105,
    2.0753361154103,
    1.3424887705173,
    92.6873134593,
  ),
  (100, 64): (
    1.313848763594,
    -0.452282931410,
    2.3216775988168,
    0.39201657916343,
    60.9498429893,
  ),
  (100, 512): (
    -0.765592778085,
    -2.504618540280,
    4.3133938518519,
    1.7359639249465,
    687.567633399,
  ),
}
# (classes, negatives): Bao, Arora, Nozawa and Sato, Ash at the minimum, and the coverage.
AT_MINIMUM = {
  (10, 16): (1.88726087125, 34.9724797509, 21.3634455601, 22.2816284808, 0.100094429635),
  (10, 32): (1.77974696657, 29.7017746019, 3.90800093048, 67.9256515739, 0.718572874024),
  (10, 64): (1.72295610961, 658.589883279, 3.5172023198, 1303.23270481, 0.989411421201),
  (100, 512): (3.54780107377, 795.935453149, 12.3931515521, 1772.15739509, 0.556018680945),
}


class ContrastiveBoundsTest(chex.TestCase):
  @parameterized.parameters(*TERMS)
  def test_terms(self, classes, negatives):
    above, below, minimum, collisions, coefficient = TERMS[classes, negatives]
    probs = np.full(classes, 1 / classes)
    bounds = supervised_loss_bounds(1.0, negatives, probs)
    np.testing.assert_allclose(bounds.bao - 1, above, rtol=1e-10)
    np.testing.assert_allclose(bounds.bao_lower - 1, below, rtol=1e-10)
    found = contrastive_loss_minimum(negatives, classes)
    np.testing.assert_allclose(found, minimum, rtol=1e-13)
    found = expected_log_collisions(negatives, probs)
    np.testing.assert_allclose(found, collisions, rtol=1e-13)
    np.testing.assert_allclose(bounds.ash, coefficient * (1 - collisions), rtol=1e-11)

  @parameterized.parameters(*AT_MINIMUM)
  def test_at_the_minimum(self, classes, negatives):
    bao, arora, nozawa_sato, ash, coverage = AT_MINIMUM[classes, negatives]
    probs = np.full(classes, 1 / classes)
    bounds = supervised_loss_bounds(contrastive_loss_minimum(negatives, classes), negatives, probs)
    found = (bounds.bao, bounds.arora, bounds.nozawa_sato, bounds.ash)
    np.testing.assert_allclose(found, (bao, arora, nozawa_sato, ash), rtol=1e-10)
    np.testing.assert_allclose(coverage_probability(negatives + 1, probs), coverage, rtol=1e-11)
    smallest = supervised_loss_minimum(classes)
    self.assertLessEqual(bounds.bao_lower, smallest)
    self.assertLessEqual(smallest, min(found))

  def test_minima_of_the_supervised_loss(self):
    np.testing.assert_allclose(supervised_loss_minimum(10), 0.796613801038, rtol=1e-11)
    np.testing.assert_allclose(supervised_loss_minimum(100), 2.667102715404, rtol=1e-11)

  def test_a_bound_that_says_nothing_is_infinite(self):
    bounds = supervised_loss_bounds(2.0, 4, np.full(10, 0.1))
    self.assertEqual(bounds.arora, math.inf)
    self.assertEqual(bounds.nozawa_sato, math.inf)
    chex.assert_tree_all_finite([bounds.bao, bounds.bao_lower, bounds.ash])

  def test_unequal_classes(self):
    bounds = supervised_loss_bounds(2.0, 64, [0.5, 0.3, 0.2])
    self.assertIsNone(bounds.ash)
    found = dataclasses.asdict(bounds)
    del found['ash']
    chex.assert_tree_all_finite(found)

  @parameterized.named_parameters(
    ('loss', (math.nan, 3, [1.0]), r'^contrastive_loss: found nan, must be a finite number$'),
    ('none', (1.0, 0, [1.0]), r'^num_negatives: found 0, must be a whole number >= 1$'),
    ('sum', (1.0, 3, [0.5]), r'^class_probs: found a sum of 0\.5'),
  )
  def test_errors(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      supervised_loss_bounds(*arguments)

  def test_errors_of_minima(self):
    with self.assertRaisesRegex(ValueError, r'^num_classes: found 0'):
      contrastive_loss_minimum(3, 0)
    with self.assertRaisesRegex(ValueError, r'^feature_norm: found 0, must be > 0 and finite'):
      supervised_loss_minimum(3, feature_norm=0)
