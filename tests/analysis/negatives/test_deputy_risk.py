"""False-negative probability by rank: tables, exact fractions, safe ranks, errors."""

import math
from fractions import Fraction

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import deputy_false_negative_probability, smallest_safe_rank

# (negatives, rank, class probability): as printed.
EXAMPLES = (
  (4, 2, 0.25, '2.6171875000e-01'),
  (11, 2, 0.1, '3.0264311980e-01'),
  (103, 1, 0.001, '9.7919515856e-02'),
  (103, 2, 0.001, '4.9122186920e-03'),
  (103, 5, 0.001, '8.0681096930e-08'),
  (103, 52, 0.001, '7.5288283266e-127'),
  (195, 1, 0.001, '1.7724561793e-01'),
  (195, 2, 0.001, '1.6647915726e-02'),
  (195, 5, 0.001, '1.9050731043e-06'),
  (195, 10, 0.001, '1.4644372150e-14'),
  (195, 98, 0.001, '2.5964845392e-237'),
  (195, 10, 0.1, '9.9518952978e-01'),
)
RANKS = (1, 2, 3, 5, 10)
IMAGENET = {
  103: '9.7920e-02 4.9122e-03 1.6410e-04 8.0681e-08 2.1679e-17',
  195: '1.7725e-01 1.6648e-02 1.0543e-03 1.9051e-06 1.4644e-14',
  255: '2.2518e-01 2.7406e-02 2.2634e-03 7.0169e-06 2.1446e-13',
  831: '5.6457e-01 2.0236e-01 5.1895e-02 1.6505e-03 1.9471e-08',
  1567: '7.9149e-01 4.6444e-01 2.0809e-01 2.1844e-02 5.8520e-06',
  4095: '9.8338e-01 9.1524e-01 7.7564e-01 3.8973e-01 9.4293e-03',
}
MIDDLE = ((103, 52, '7.5e-127'), (195, 98, '2.6e-237'), (255, 128, '2.5e-309'))
NEGATIVES = (63, 127, 195, 255, 511, 1023)
SAFE_RANKS = {
  1000: '2/2/3 2/2/3 2/3/4 2/3/4 3/4/5 4/5/6',
  100: '3/4/5 4/5/7 5/7/8 6/8/10 10/12/14 17/19/22',
  10: '11/13/16 19/22/25 28/31/34 35/38/42 63/68/74 119/126/134',
}


def exact(negatives, rank, prob):
  prob = Fraction(prob)
  return sum(
    math.comb(negatives, j) * prob**j * (1 - prob) ** (negatives - j)
    for j in range(rank, negatives + 1)
  )


class DeputyRiskTest(chex.TestCase):
  @parameterized.parameters(*EXAMPLES)
  def test_worked_examples(self, negatives, rank, prob, printed):
    found = deputy_false_negative_probability(negatives, rank, prob)
    self.assertEqual(f'{found:.10e}', printed)

  @parameterized.parameters(*IMAGENET)
  def test_table_of_ranks(self, negatives):
    found = [deputy_false_negative_probability(negatives, rank, 1 / 1000) for rank in RANKS]
    self.assertEqual(' '.join(f'{value:.4e}' for value in found), IMAGENET[negatives])

  @parameterized.parameters(*MIDDLE)
  def test_middle_ranks(self, negatives, rank, printed):
    found = deputy_false_negative_probability(negatives, rank, 1 / 1000)
    self.assertEqual(f'{found:.1e}', printed)

  def test_what_is_too_small_for_a_float_is_zero(self):
    self.assertEqual(deputy_false_negative_probability(4095, 2048, 1 / 1000), 0)

  def test_table_of_safe_ranks(self):
    for classes, row in SAFE_RANKS.items():
      found = [
        '/'.join(str(smallest_safe_rank(m, 1 / classes, level)) for level in (0.05, 0.01, 0.001))
        for m in NEGATIVES
      ]
      self.assertEqual(' '.join(found), row)

  @parameterized.parameters(
    (103, 1000, '0.00056'), (195, 1000, '0.00197'), (1567, 1000, '0.086'), (4095, 1000, '0.345')
  )
  def test_gathered_negatives_change_the_window(self, negatives, classes, printed):
    window = [
      deputy_false_negative_probability(negatives, rank, 1 / classes) for rank in range(2, 11)
    ]
    self.assertEqual(f'{np.mean(window):.{len(printed) - 2}f}', printed)

  def test_released_window_on_ten_classes(self):
    window = [deputy_false_negative_probability(195, rank, 1 / 10) for rank in range(2, 11)]
    self.assertEqual(f'{np.mean(window):.3f}', '0.999')

  @parameterized.parameters((1, '6.4e-03'), (2, '2.0e-05'))
  def test_thirty_thousand_classes(self, rank, printed):
    found = deputy_false_negative_probability(195, rank, 1 / 30508)
    self.assertEqual(f'{found:.1e}', printed)

  @settings(max_examples=60, deadline=None, derandomize=True)
  @given(
    st.integers(1, 120),
    st.floats(0, 1),
    st.one_of(st.floats(0, 1), st.floats(1e-9, 1e-3), st.fractions(0, 1, max_denominator=1000)),
  )
  def test_equals_exact_fractions(self, negatives, place, prob):
    rank = 1 + round(place * (negatives - 1))
    expected = float(exact(negatives, rank, prob))
    assume(expected == 0 or expected > 1e-300)
    found = deputy_false_negative_probability(negatives, rank, prob)
    self.assertLessEqual(found, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(1, 200), st.floats(0, 0.5), st.floats(1e-6, 1))
  def test_safe_rank_is_the_least(self, negatives, prob, tolerance):
    assume(prob**negatives <= tolerance)
    rank = smallest_safe_rank(negatives, prob, tolerance)
    self.assertLessEqual(deputy_false_negative_probability(negatives, rank, prob), tolerance)
    if rank > 1:
      harder = deputy_false_negative_probability(negatives, rank - 1, prob)
      self.assertGreater(harder, tolerance)

  def test_monotone(self):
    by_rank = [deputy_false_negative_probability(300, rank, 0.1) for rank in range(1, 301)]
    self.assertLessEqual(np.max(np.diff(by_rank)), 0)
    by_count = [deputy_false_negative_probability(m, 10, 0.1) for m in range(10, 400)]
    self.assertGreaterEqual(np.min(np.diff(by_count)), 0)

  def test_certain_and_impossible(self):
    self.assertEqual(deputy_false_negative_probability(9, 9, 1), 1)
    self.assertEqual(deputy_false_negative_probability(9, 1, 0), 0)
    self.assertEqual(smallest_safe_rank(9, 0.0, 0.0), 1)

  @parameterized.named_parameters(
    ('none', (0, 1, 0.1), r'^num_negatives: found 0, must be a whole number >= 1$'),
    ('half', (1.5, 1, 0.1), r'^num_negatives: found 1\.5'),
    ('rank', (5, 0, 0.1), r'^rank: found 0, must be a whole number >= 1$'),
    ('far', (5, 6, 0.1), r'^rank: found 6, must be at most 5, the number of negatives$'),
    ('prob', (5, 1, 1.5), r'^class_prob: found 1\.5, must be from 0 to 1$'),
    ('nan', (5, 1, math.nan), r'^class_prob: found nan'),
  )
  def test_errors(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      deputy_false_negative_probability(*arguments)

  def test_errors_of_safe_ranks(self):
    with self.assertRaisesRegex(ValueError, r'^tolerance: found 0\.01, must be at least 0\.25, '):
      smallest_safe_rank(2, 0.5, 0.01)
    with self.assertRaisesRegex(ValueError, r'^tolerance: found -0\.1, must be from 0'):
      smallest_safe_rank(2, 0.5, -0.1)
