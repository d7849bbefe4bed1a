"""Expected draws: worked examples and tables, exact fractions, extremes, errors."""

import math
import time

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings

from ssl_jax.analysis import draws_standard_deviation, expected_draws
from tests.analysis.negatives import exact_draws, imagenet_like

EXAMPLES = (
  ([1 / 2, 1 / 3, 1 / 6], 73 / 10),
  ([0.5, 0.3, 0.1, 0.1], 3881 / 252),
  (np.arange(1, 11) / 55, 439114299698079671 / 6365398092777360),
  (imagenet_like.PROBS, 8027.33870478324256),
)
# Classes: mean, standard deviation, and the mean rounded up as the paper prints it.
TABLE = {
  2: (3.0, 1.4142, 3),
  4: (8 + 1 / 3, 3.8006, 9),
  10: (29.289682539682540, 11.2110, 30),
  100: (518.737751763962, 125.8217, 519),
  1000: (7485.470860550345, 1279.2377, 7486),
  3029: (26029.313301076415, 3881.1017, 26030),
}


class ExpectedDrawsTest(chex.TestCase):
  @parameterized.parameters(*EXAMPLES)
  def test_worked_examples(self, probs, expected):
    np.testing.assert_allclose(expected_draws(probs), expected, rtol=2e-14)

  @parameterized.parameters(*TABLE)
  def test_table(self, classes):
    mean, deviation, rounded = TABLE[classes]
    probs = np.full(classes, 1 / classes)
    np.testing.assert_allclose(expected_draws(probs), mean, rtol=1e-14)
    self.assertEqual(math.ceil(expected_draws(probs)), rounded)
    self.assertEqual(f'{draws_standard_deviation(probs):.4f}', f'{deviation:.4f}')

  @settings(max_examples=80, deadline=None, derandomize=True)
  @given(exact_draws.COUNTS)
  def test_equals_exact_fractions(self, counts):
    probs = np.array(counts) / sum(counts)
    expected = float(exact_draws.mean_draws(counts))
    np.testing.assert_allclose(expected_draws(probs), expected, rtol=1e-12)
    expected = math.sqrt(exact_draws.variance_of_draws(counts))
    np.testing.assert_allclose(draws_standard_deviation(probs), expected, rtol=1e-12)

  def test_quadrature_of_thousands_of_nearly_equal_classes(self):
    # Adaptive quadrature on (0, inf) returns about 0 here.
    probs = np.full(3029, 1 / 3029)
    probs[0] += 1e-15
    np.testing.assert_allclose(expected_draws(probs), 26029.313301076415, rtol=1e-12)
    np.testing.assert_allclose(draws_standard_deviation(probs), 3881.1017, rtol=1e-7)

  def test_classes_of_very_different_size(self):
    counts = [10**8, 10**4, 1]
    probs = np.array(counts) / sum(counts)
    expected = float(exact_draws.mean_draws(counts))
    np.testing.assert_allclose(expected_draws(probs), expected, rtol=1e-12)

  def test_a_thousand_distinct_probabilities_in_two_seconds(self):
    probs = np.arange(500, 1500) / np.arange(500, 1500).sum()
    start = time.process_time()
    self.assertBetween(expected_draws(probs), 7486, 12000)
    self.assertLess(time.process_time() - start, 2)

  def test_certain_and_impossible(self):
    self.assertEqual(expected_draws([1.0]), 1)
    self.assertEqual(draws_standard_deviation([1.0]), 0)
    self.assertEqual(expected_draws([0.5, 0.5, 0.0]), math.inf)
    self.assertEqual(draws_standard_deviation([0.5, 0.5, 0.0]), math.inf)

  @parameterized.parameters(expected_draws, draws_standard_deviation)
  def test_errors(self, function):
    with self.assertRaisesRegex(ValueError, r'^class_probs: found a sum of 0\.9, must be 1$'):
      function([0.5, 0.4])
