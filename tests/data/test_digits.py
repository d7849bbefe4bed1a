"""scikit-learn's digits."""

import chex
import numpy as np
from sklearn import datasets

from ssl_jax import data


class DigitsTest(chex.TestCase):
  def test_split_is_stratified_complete_and_fixed(self):
    dataset = data.load('digits', image_size=8)
    train, test = dataset.train, dataset.test
    self.assertLen(train, 1797 - len(test))
    targets = datasets.load_digits(return_X_y=True)[1]
    share = np.bincount(test.labels) / np.bincount(targets)
    np.testing.assert_allclose(share, 0.1, atol=0.003)
    self.assertEqual(dataset.class_names, tuple('0123456789'))
    again = data.load('digits', image_size=8)
    np.testing.assert_array_equal(again.test.images, test.images)
    other = data.load('digits', image_size=8, seed=1)
    self.assertFalse(np.array_equal(other.test.labels, test.labels))

  def test_gray_levels_become_rgb_bytes(self):
    dataset = data.load('digits', image_size=8, test_fraction=0)
    levels, targets = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(dataset.train.labels, targets)
    self.assertEmpty(dataset.test)
    for channel in range(3):
      np.testing.assert_allclose(
        dataset.train.images[..., channel].reshape(1797, 64), levels * 255 / 16, atol=0.5
      )

  def test_resized(self):
    dataset = data.load('digits')
    self.assertEqual(dataset.train.images.shape[1:], (32, 32, 3))
    self.assertEqual(dataset.train.images.dtype, np.uint8)
