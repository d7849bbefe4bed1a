"""Long-tailed and held-out parts of a data set."""

import chex
import hypothesis
import numpy as np
from absl.testing import parameterized
from hypothesis import strategies as st

from ssl_jax import data
from ssl_jax.data.subset import held_out


class LongTailTest(chex.TestCase):
  @parameterized.parameters(
    # The sizes of the public long-tailed CIFAR splits (SDCLR: 5,000 images held out), and without.
    (4500, 10, 11_165),
    (450, 100, 9_754),
    (5000, 10, 12_406),
    (500, 100, 10_847),
  )
  def test_sizes_of_the_public_splits(self, num_images, num_classes, total):
    counts = data.long_tail_counts(num_images, num_classes, 0.01)
    self.assertEqual(counts.sum(), total)
    self.assertEqual(counts[0], num_images)

  @parameterized.parameters(2900, 5000, 100)
  def test_last_class_is_exact_in_spite_of_rounding(self, num_images):
    self.assertEqual(data.long_tail_counts(num_images, 7, 0.01)[-1], num_images // 100)

  @hypothesis.given(st.integers(2, 50), st.integers(1, 1000), st.floats(0.001, 1))
  def test_counts_fall_from_all_to_the_factor(self, num_classes, num_images, factor):
    hypothesis.assume(num_images * factor >= 1)
    counts = data.long_tail_counts(num_images, num_classes, factor)
    self.assertEqual(counts[0], num_images)
    self.assertTrue((np.diff(counts) <= 0).all())
    self.assertTrue(1 <= counts[-1] <= num_images * factor + 1e-6)

  def test_first_images_of_each_class_in_stored_order(self):
    labels = np.array([2, 0, 1, 0, 1, 2, 0, 0, 1, 2, 1, 2], np.int32)
    # n = 4, 2, 1
    np.testing.assert_array_equal(data.long_tail_indices(labels, 0.25), [0, 1, 2, 3, 4, 6, 7])

  def test_unlabeled_images_stay(self):
    labels = np.array([-1, 0, 1, 0, 1, -1, 0, 0], np.int32)
    # n = 4, 1
    np.testing.assert_array_equal(data.long_tail_indices(labels, 0.25), [0, 1, 2, 3, 5, 6, 7])
    mask = held_out(labels, 8, 0.5, 0)
    self.assertFalse(mask[labels == -1].any())
    self.assertEqual(np.bincount(labels[mask]).tolist(), [2, 1])

  def test_small_class_keeps_what_it_has(self):
    labels = np.array([0] * 8 + [1] * 3 + [2] * 8, np.int32)
    kept = labels[data.long_tail_indices(labels, 0.5)]
    np.testing.assert_array_equal(np.bincount(kept), [8, 3, 4])

  @parameterized.parameters(
    (None, 0.1, 'images without labels, must be 1'),
    (np.full(3, -1, np.int32), 0.1, 'images without labels, must be 1'),
    (np.zeros(5, np.int32), 0.1, 'on 1 class, must be 1, or on 2 classes or more'),
    (np.arange(6, dtype=np.int32) % 2, 0.1, r'without an image, must be from 0\.333 to 1 with 3'),
    (np.arange(6, dtype=np.int32) % 2, 0.0, 'must be > 0 and <= 1'),
    (np.arange(6, dtype=np.int32) % 2, 1.5, 'must be > 0 and <= 1'),
  )
  def test_wrong_arguments(self, labels, factor, message):
    with self.assertRaisesRegex(ValueError, rf'^imbalance_factor: found {factor}.*{message}'):
      data.long_tail_indices(labels, factor)


class HeldOutTest(chex.TestCase):
  @hypothesis.given(st.integers(1, 300), st.floats(0, 0.99), st.integers(0, 2**40))
  def test_same_share_of_each_class(self, length, fraction, seed):
    labels = (np.arange(length) % 3).astype(np.int32)
    mask = held_out(labels, length, fraction, seed)
    for size, held in zip(
      np.bincount(labels), np.bincount(labels[mask], minlength=3), strict=False
    ):
      self.assertLessEqual(abs(held - fraction * size), 0.5)

  def test_unlabeled_and_seeds(self):
    mask = held_out(None, 100, 0.25, 0)
    self.assertEqual(mask.sum(), 25)
    np.testing.assert_array_equal(mask, held_out(None, 100, 0.25, 0))
    self.assertFalse(np.array_equal(mask, held_out(None, 100, 0.25, 1)))
