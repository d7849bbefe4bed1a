"""Coverage: worked examples and tables, exact fractions, its shape, old failures, errors."""

import functools
import math
import operator
import time

import chex
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import (
  coverage_probability,
  log_coverage_probability,
  missing_class_probability,
  smallest_num_draws,
)
from tests.analysis.negatives import exact_draws, imagenet_like

RAMP = np.arange(1, 11) / 55
UNEVEN = np.array([3, 2, 1]) / 6
TAILED = np.array([5, 3, 1, 1]) / 10


def even(classes):
  return np.full(classes, 1 / classes)


# (probabilities, draws, coverage), as printed.
EXAMPLES = (
  *[(even(3), n, v) for n, v in ((2, 0), (3, 2 / 9), (4, 4 / 9), (5, 50 / 81), (6, 20 / 27))],
  (even(3), 7, 602 / 729),
  (even(10), 10, 3.6288e-4),
  (even(10), 11, 1.99584e-3),
  *[(UNEVEN, n, v) for n, v in ((3, 1 / 6), (4, 1 / 3), (5, 305 / 648), (6, 125 / 216))],
  (UNEVEN, 8, 4249 / 5832),
  (UNEVEN, 10, 76625 / 93312),
  *[(TAILED, n, v) for n, v in ((4, 9 / 250), (5, 9 / 100), (6, 189 / 1250))],
  (TAILED, 8, 690543 / 2500000),
  (TAILED, 12, 12347935677 / 25000000000),
  (RAMP, 10, 5.198752842269515e-5),
  (RAMP, 20, 0.03912019358020947),
  (RAMP, 50, 0.4531858689774768),
  (RAMP, 200, 0.9739129181619959),
  (even(100), 128, 1.50362050781977995e-22),
  (even(100), 256, 1.23291229559129761e-4),
  (even(100), 512, 0.552681043728518635),
  (even(100), 519, 0.575736165403826981),
  (even(100), 1024, 0.996613254734467395),
  (even(1000), 4096, 2.874169906143143e-8),
  (even(1000), 7486, 0.5711447498942628),
  (even(1000), 8192, 0.758754936872231),
  (even(1000), 16384, 0.999923977373328),
  (even(3029), 26030, 0.5706714914409249),
  (imagenet_like.PROBS, 4096, 5.159672618389865e-9),
  (imagenet_like.PROBS, 7709, 0.494669379627648363),
  (imagenet_like.PROBS, 8192, 0.625567078531628615),
)
# Printed with fewer digits.
SHORT = (
  (TAILED, 16, 0.654754725942444),
  (imagenet_like.PROBS, 2048, 1.6365306948e-75),
  (imagenet_like.PROBS, 16384, 0.998717645957),
)
WITHOUT = (
  ([2, 2, 2], 3, 2 / 5),
  ([2, 2, 2], 4, 4 / 5),
  ([3, 2, 1], 3, 3 / 10),
  ([3, 2, 1], 4, 3 / 5),
  ([50] * 1000, 8192, 0.878425511022223538),
)
# Test sets of the tables: (classes, images a class) -> draws: (independent, without replacement).
TABLE = {
  (10, 1000): {
    32: (0.69097563244682, 0.69245395644512),
    64: (0.98823804774427, 0.98849897806485),
    128: (0.99998609917249, 0.99998730994227),
    256: (0.99999999998068, 0.99999999998664),
    512: (1.0, 1.0),
  },
  (100, 100): {
    128: (1.5036205078198e-22, 2.4445611190123e-22),
    256: (1.2329122955913e-4, 1.7030737452312e-4),
    384: (0.10800205093344, 0.12784643168728),
    512: (0.55268104372852, 0.59673287385133),
    640: (0.85057916199728, 0.87782815242027),
    768: (0.95644735127463, 0.96799864931936),
    896: (0.98778968658645, 0.99204997829736),
    1024: (0.99661325473447, 0.99808036513833),
  },
  (4, 1900): {16: (0.96000116877258, 0.96021051295421)},
}
WANTED = (0.01, 0.5, 0.9, 0.99, 0.999)
SMALLEST = {
  2: (2, 2, 5, 8, 11),
  4: (4, 7, 13, 21, 29),
  10: (13, 27, 44, 66, 88),
  100: (316, 497, 683, 916, 1146),
  1000: (5393, 7274, 9155, 11503, 13809),
  3029: (19669, 25390, 31093, 38209, 45196),
}


class GoldenTest(chex.TestCase):
  @parameterized.parameters(*EXAMPLES)
  def test_worked_examples(self, probs, draws, expected):
    np.testing.assert_allclose(coverage_probability(draws, probs), expected, rtol=2e-14)

  @parameterized.parameters(*SHORT)
  def test_shorter_worked_examples(self, probs, draws, expected):
    np.testing.assert_allclose(coverage_probability(draws, probs), expected, rtol=3e-11)

  @parameterized.parameters(*WITHOUT)
  def test_without_replacement(self, counts, draws, expected):
    found = coverage_probability(draws, class_counts=counts)
    np.testing.assert_allclose(found, expected, rtol=2e-14)

  @parameterized.parameters(*TABLE)
  def test_table(self, classes, images):
    for draws, (independent, without) in TABLE[classes, images].items():
      found = coverage_probability(draws, even(classes))
      np.testing.assert_allclose(found, independent, rtol=5e-14)
      found = coverage_probability(draws, class_counts=[images] * classes)
      np.testing.assert_allclose(found, without, rtol=5e-14)

  def test_what_is_missing_of_one(self):
    found = missing_class_probability(512, even(10))
    self.assertEqual(f'{found:.3e}', '3.734e-23')

  def test_logarithm_far_below_the_smallest_float(self):
    found = log_coverage_probability(1001, even(1000))
    self.assertAlmostEqual(found, -989.4114928952, places=9)
    self.assertEqual(log_coverage_probability(999, even(1000)), -math.inf)

  @parameterized.parameters(*SMALLEST)
  def test_smallest_number_of_draws(self, classes):
    found = tuple(smallest_num_draws(wanted, even(classes)) for wanted in WANTED)
    self.assertEqual(found, SMALLEST[classes])


class PropertyTest(chex.TestCase):
  @settings(max_examples=150, deadline=None, derandomize=True)
  @given(exact_draws.COUNTS, st.integers(0, 60))
  def test_equals_exact_fractions(self, counts, draws):
    expected = exact_draws.coverage(draws, counts)
    probs = np.array(counts) / sum(counts)
    self.check(expected, (draws, probs), {})
    draws = min(draws, sum(counts))
    expected = exact_draws.coverage_without(draws, counts)
    self.check(expected, (draws,), {'class_counts': counts})

  def check(self, expected, arguments, keywords):
    found = coverage_probability(*arguments, **keywords)
    np.testing.assert_allclose(found, float(expected), rtol=1e-12)
    missing = missing_class_probability(*arguments, **keywords)
    np.testing.assert_allclose(missing, float(1 - expected), rtol=1e-12)
    log = log_coverage_probability(*arguments, **keywords)
    if expected > 0.5:
      np.testing.assert_allclose(log, math.log1p(-float(1 - expected)), rtol=1e-12)
    elif expected:
      np.testing.assert_allclose(log, math.log(expected), rtol=1e-12)
    else:
      self.assertEqual(log, -math.inf)

  @settings(max_examples=40, deadline=None, derandomize=True)
  @given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12), st.integers(0, 300))
  def test_a_probability_that_grows(self, weights, start):
    probs = np.array(weights) / sum(weights)
    found = [coverage_probability(n, probs) for n in range(start, start + 12)]
    self.assertBetween(min(found), 0, max(found))
    self.assertLessEqual(max(found), 1)
    self.assertGreaterEqual(np.min(np.diff(found)), 0)

  @settings(max_examples=40, deadline=None, derandomize=True)
  @given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
  @pytest.mark.slow
  def test_grows_without_replacement_up_to_one(self, counts):
    total = sum(counts)
    numbers = sorted({round(x) for x in np.linspace(0, total, 40)})
    found = [coverage_probability(n, class_counts=counts) for n in numbers]
    self.assertGreaterEqual(np.min(np.diff([0, *found])), 0)
    self.assertEqual(found[-1], 1)

  @settings(max_examples=30, deadline=None, derandomize=True)
  @given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=8), st.floats(0.001, 0.9999))
  def test_smallest_number_is_the_smallest(self, weights, wanted):
    probs = np.array(weights) / sum(weights)
    draws = smallest_num_draws(wanted, probs)
    self.assertGreaterEqual(coverage_probability(draws, probs), wanted * (1 - 1e-12))
    self.assertLess(coverage_probability(draws - 1, probs), wanted)

  def test_smallest_number_without_replacement(self):
    self.assertEqual(smallest_num_draws(1, class_counts=[3, 2, 1]), 6)
    self.assertEqual(smallest_num_draws(0.5, class_counts=[3, 2, 1]), 4)
    self.assertEqual(smallest_num_draws(0, class_counts=[3, 2, 1]), 0)

  def test_extremes(self):
    self.assertEqual(coverage_probability(0, [1.0]), 0)
    self.assertEqual(coverage_probability(1, [1.0]), 1)
    self.assertEqual(coverage_probability(50, [0.5, 0.5, 0.0]), 0)
    self.assertEqual(coverage_probability(10**6, even(10)), 1)
    self.assertEqual(log_coverage_probability(10**6, even(10)), 0)
    rare = [1 - 1e-9, 1e-9]
    np.testing.assert_allclose(coverage_probability(10, rare), 1e-8, rtol=1e-7)
    np.testing.assert_allclose(coverage_probability(10**9, rare), -math.expm1(-1), rtol=1e-8)

  def test_a_thousand_distinct_probabilities_in_two_seconds(self):
    probs = 1 / np.arange(1, 1001)
    probs /= probs.sum()
    start = time.process_time()
    np.testing.assert_allclose(coverage_probability(60000, probs), 0.9668568497, rtol=1e-10)
    self.assertLess(time.process_time() - start, 2)


class OldFailureTest(chex.TestCase):
  """What other formulas return in their place."""

  def test_alternating_sums_return_noise(self):
    terms = [(-1) ** m * math.comb(100, m) * (1 - m / 100) ** 128 for m in range(101)]
    self.assertGreater(abs(functools.reduce(operator.add, terms)), 1e-10)  # true: 1.5e-22
    self.assertLess(coverage_probability(128, even(100)), 1.6e-22)

  def test_released_sum_of_clipped_terms_is_noise_or_nothing(self):
    released = 0.0
    for n in range(100, 129):
      terms = [(-1) ** m * math.comb(99, m) * (1 - (m + 1) / 100) ** (n - 1) for m in range(99)]
      released += max(functools.reduce(operator.add, terms), 0)
    true = coverage_probability(128, even(100))
    self.assertGreater(abs(released / true - 1), 0.5)

  def test_beyond_a_thousand_classes_binomials_overflow(self):
    found = [coverage_probability(n, even(1100)) for n in (1100, 2000, 9000, 20000)]
    chex.assert_tree_all_finite(found)
    self.assertBetween(found[2], 0.6, 0.8)
    # Terms of the alternating sum reach 1.9e36; in whole numbers nothing is lost.
    ways = sum((-1) ** m * math.comb(1000, m) * (1000 - m) ** 2000 for m in range(1000))
    expected = math.log(ways) - 2000 * math.log(1000)
    self.assertAlmostEqual(log_coverage_probability(2000, even(1000)), expected, places=10)

  @parameterized.parameters((128, 7.1e-15), (256, 3.2e-4), (512, 0.5491))
  def test_independent_classes_are_an_approximation_only(self, draws, approximate):
    poisson = (-math.expm1(-draws / 100)) ** 100
    np.testing.assert_allclose(poisson, approximate, rtol=0.02)
    self.assertGreater(abs(coverage_probability(draws, even(100)) / poisson - 1), 5e-3)


class RefusalTest(chex.TestCase):
  @parameterized.named_parameters(
    ('sum', (5, [0.5, 0.4]), {}, r'^class_probs: found a sum of 0\.9, must be 1$'),
    ('negative', (5, [1.5, -0.5]), {}, r'^class_probs: found -0\.5 for class 1, must be a number'),
    ('nan', (5, [math.nan, 1.0]), {}, r'^class_probs: found nan for class 0'),
    ('words', (5, ['a', 'b']), {}, r'^class_probs: found .*, must be numbers$'),
    ('shape', (5, [[0.5, 0.5]]), {}, r'^class_probs: found shape \(1, 2\), must be \[class\]'),
    ('none', (5,), {}, r'^class_probs: found neither of class_probs and class_counts'),
    ('both', (1, [1.0]), {'class_counts': [1]}, r'^class_probs: found both of'),
    ('draws', (-1, [1.0]), {}, r'^num_draws: found -1, must be a whole number >= 0$'),
    ('half', (1.5, [1.0]), {}, r'^num_draws: found 1\.5'),
    ('floats', (1,), {'class_counts': [1.5, 2]}, r'^class_counts: found float64, must be whole'),
    ('less', (1,), {'class_counts': [3, -2]}, r'^class_counts: found -2 for class 1'),
    ('empty', (1,), {'class_counts': [0, 0]}, r'^class_counts: found no image in any class'),
    ('many', (7,), {'class_counts': [3, 3]}, r'^num_draws: found 7, must be at most 6, the number'),
  )
  def test_bad_input(self, arguments, keywords, message):
    for function in (
      coverage_probability,
      log_coverage_probability,
      missing_class_probability,
    ):
      with self.assertRaisesRegex(ValueError, message):
        function(*arguments, **keywords)

  @parameterized.named_parameters(
    ('sure', 1, [0.5, 0.5], r'^coverage: found 1, must be below 1'),
    ('more', 1.5, [0.5, 0.5], r'^coverage: found 1\.5, must be from 0 to 1$'),
    ('never', 0.5, [1.0, 0.0], r'^coverage: found 0\.5, must be 0: 1 classes are never drawn$'),
  )
  def test_bad_wishes(self, coverage, probs, message):
    with self.assertRaisesRegex(ValueError, message):
      smallest_num_draws(coverage, probs)
