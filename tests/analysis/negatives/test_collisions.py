"""Collisions: worked examples and tables, exact fractions, monotony, old failures, errors."""

import math
import time

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import (
  collision_probability,
  expected_collisions,
  expected_log_collisions,
  no_collision_coverage_probability,
  no_collision_probability,
)
from tests.analysis.negatives import exact_draws

UNEVEN = [1 / 2, 1 / 3, 1 / 6]
FUNCTIONS = (
  collision_probability,
  expected_collisions,
  expected_log_collisions,
  no_collision_coverage_probability,
  no_collision_probability,
)
# Test sets of the tables: (classes, images a class) -> draws, the anchor among them:
# (1-tau without replacement, E ln(1+Col) independent, the same without replacement).
TABLE = {
  (10, 1000): {
    32: (0.03807303641, 1.3168869257619, 1.3164231347033),
    64: (1.28990272212e-3, 1.9290898195212, 1.9286355459722),
    128: (1.43018958274e-6, 2.5851472932129, 2.5846965989436),
    256: (1.52731284287e-12, 3.260301182713, 3.2598509707116),
    512: (9.73581286734e-25, 3.9445606452201, 3.9441105323962),
  },
  (100, 100): {
    128: (0.280337148606, 0.69661137142851, 0.69228258629558),
    256: (0.0765136787054, 1.1553892941203, 1.1503379807636),
    384: (0.0205258970152, 1.4832400886031, 1.4781529609566),
    512: (5.40963431749e-3, 1.7342220395431, 1.7291822544813),
    640: (1.39999398134e-3, 1.9362067124054, 1.9312018559433),
    768: (3.55596921862e-4, 2.1047559543006, 2.0997702073002),
    896: (8.86003073156e-5, 2.2492096460264, 2.2442339033868),
    1024: (2.16431254153e-5, 2.3755346332346, 2.3705643434496),
  },
  (4, 1900): {16: (0.0133282749966, 1.4869714106249, 1.4867684541287)},
}


def even(classes):
  return np.full(classes, 1 / classes)


class GoldenTest(chex.TestCase):
  def test_worked_example(self):
    found = collision_probability(5, UNEVEN)
    np.testing.assert_allclose(found, 0.873499657064471879, rtol=1e-14)
    found = expected_log_collisions(5, UNEVEN)
    np.testing.assert_allclose(found, 0.977569258156144368, rtol=1e-14)
    found = no_collision_coverage_probability(5, UNEVEN)
    np.testing.assert_allclose(found, 35 / 324, rtol=1e-14)

  def test_joint_probability_lies_between_its_neighbors(self):
    found = no_collision_coverage_probability(31, even(10))
    np.testing.assert_allclose(found, 0.0297957820298315, rtol=1e-14)
    self.assertGreater(found, 0.0263621316594337)
    self.assertLess(found, no_collision_probability(31, even(10)))

  @parameterized.parameters(*TABLE)
  def test_table(self, classes, images):
    for draws, (alone, independent, without) in TABLE[classes, images].items():
      counts, probs, negatives = [images] * classes, even(classes), draws - 1
      found = no_collision_probability(negatives, class_counts=counts)
      np.testing.assert_allclose(found, alone, rtol=4e-11)
      found = expected_log_collisions(negatives, probs)
      np.testing.assert_allclose(found, independent, rtol=4e-14)
      found = expected_log_collisions(negatives, class_counts=counts)
      np.testing.assert_allclose(found, without, rtol=4e-14)

  def test_paper_prints_what_is_without_replacement(self):
    found = [expected_log_collisions(255, even(100))]
    found.append(expected_log_collisions(255, class_counts=[100] * 100))
    self.assertEqual([f'{value:.4f}' for value in found], ['1.1554', '1.1503'])


class PropertyTest(chex.TestCase):
  @settings(max_examples=120, deadline=None, derandomize=True)
  @given(exact_draws.COUNTS, st.integers(0, 50))
  def test_equals_exact_fractions(self, counts, negatives):
    probs = np.array(counts) / sum(counts)
    alone = exact_draws.no_collision(negatives, counts)
    self.check(no_collision_probability(negatives, probs), alone)
    self.check(collision_probability(negatives, probs), 1 - alone)
    joint = exact_draws.distinct_anchor(negatives, counts)
    self.check(no_collision_coverage_probability(negatives, probs), joint)
    logs = exact_draws.log_collisions(negatives, counts)
    self.check(expected_log_collisions(negatives, probs), logs)

    negatives = min(negatives, sum(counts) - 1)
    alone = exact_draws.no_collision_without(negatives, counts)
    self.check(no_collision_probability(negatives, class_counts=counts), alone)
    self.check(collision_probability(negatives, class_counts=counts), 1 - alone)
    joint = exact_draws.distinct_anchor(negatives, counts, replacement=False)
    self.check(no_collision_coverage_probability(negatives, class_counts=counts), joint)
    logs = exact_draws.log_collisions(negatives, counts, replacement=False)
    self.check(expected_log_collisions(negatives, class_counts=counts), logs)

  def check(self, found, expected):
    np.testing.assert_allclose(found, float(expected), rtol=1e-12)

  @settings(max_examples=30, deadline=None, derandomize=True)
  @given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12), st.integers(0, 2000))
  def test_monotone(self, weights, start):
    probs = np.array(weights) / sum(weights)
    numbers = range(start, start + 10)
    for function, sign in (
      (collision_probability, 1),
      (no_collision_probability, -1),
      (expected_collisions, 1),
      (expected_log_collisions, 1),
    ):
      found = np.array([function(k, probs) for k in numbers])
      self.assertGreaterEqual(found.min(), 0)
      # The mean of a logarithm grows by less than its rounding where it is near log K.
      self.assertGreaterEqual(np.min(sign * np.diff(found)), -1e-14 * found.max())
      if function is not expected_collisions and function is not expected_log_collisions:
        self.assertLessEqual(found.max(), 1)

  def test_expected_collisions(self):
    self.assertAlmostEqual(expected_collisions(255, even(10)), 25.5)
    self.assertAlmostEqual(expected_collisions(5, class_counts=[3, 2, 1]), 5 * 8 / 30)
    self.assertEqual(expected_collisions(0, class_counts=[1]), 0)

  def test_extremes(self):
    for function in (collision_probability, expected_log_collisions):
      self.assertEqual(function(0, UNEVEN), 0)
      self.assertEqual(function(0, [1.0]), 0)
    self.assertEqual(collision_probability(3, [1.0]), 1)
    self.assertEqual(no_collision_probability(3, [1.0]), 0)
    self.assertAlmostEqual(expected_log_collisions(3, [1.0]), math.log(4))
    self.assertEqual(no_collision_coverage_probability(0, [1.0]), 1)
    self.assertEqual(no_collision_coverage_probability(9, [0.5, 0.5, 0.0]), 0)
    self.assertEqual(no_collision_probability(7, class_counts=[5, 5]), 0)
    tiny = expected_log_collisions(1, [1e-9] + [(1 - 1e-9) / 10] * 10)
    np.testing.assert_allclose(tiny, math.log(2) * (1 - 1e-9) ** 2 / 10, rtol=1e-9)

  def test_one_minus_tau_is_not_left_to_rounding(self):
    accumulated = 1.0
    for _ in range(10):  # `sum` compensates its rounding from Python 3.12 on
      accumulated -= 0.1 * (1 - 0.9**511)
    self.assertGreater(abs(accumulated), 1e-17)
    np.testing.assert_allclose(no_collision_probability(511, even(10)), 0.9**511, rtol=1e-13)

  def test_a_thousand_distinct_probabilities_in_two_seconds_each(self):
    counts = np.arange(500, 1500)
    for function in FUNCTIONS:
      for keywords in ({'class_probs': counts / counts.sum()}, {'class_counts': counts}):
        start = time.process_time()
        chex.assert_tree_all_finite(function(8191, **keywords))
        self.assertLess(time.process_time() - start, 2, function)


class RefusalTest(chex.TestCase):
  @parameterized.named_parameters(
    ('sum', (5, [0.5, 0.4]), {}, r'^class_probs: found a sum of 0\.9, must be 1$'),
    ('less', (-2, [1.0]), {}, r'^num_negatives: found -2, must be a whole number >= 0$'),
    ('whole', (5,), {'class_counts': [1.5]}, r'^class_counts: found float64, must be whole'),
    ('many', (6,), {'class_counts': [3, 3]}, r'^num_negatives: found 6, must be at most 5, the nu'),
  )
  def test_bad_input(self, arguments, keywords, message):
    for function in FUNCTIONS:
      with self.assertRaisesRegex(ValueError, message):
        function(*arguments, **keywords)
