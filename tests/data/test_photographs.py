"""Patches of the photographs inside scikit-image and scikit-learn."""

import socket
import subprocess
import sys
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import data
from ssl_jax.data import photographs
from ssl_jax.data.resizing import resize_images

_DATASET = data.load('photographs')


def _knn_accuracy(bank, bank_labels, queries, labels, k, temperature=0.07):
  """Weighted kNN (Wu et al., CVPR 2018) in NumPy, on pixels with the mean color subtracted."""
  mean = bank.mean((0, 1, 2))
  bank, queries = (
    (images - mean).reshape(len(images), -1).astype(np.float32) for images in (bank, queries)
  )
  bank /= np.linalg.norm(bank, axis=1, keepdims=True)
  queries /= np.linalg.norm(queries, axis=1, keepdims=True)
  similarity = queries @ bank.T
  nearest = np.argpartition(-similarity, k, axis=1)[:, :k]
  weights = np.exp(np.take_along_axis(similarity, nearest, 1) / temperature)
  votes = np.stack([(weights * (bank_labels[nearest] == c)).sum(1) for c in range(19)], axis=1)
  return (votes.argmax(1) == labels).mean()


class PhotographsTest(chex.TestCase):
  def test_sizes_and_labels(self):
    train, test = _DATASET.train, _DATASET.test
    self.assertEqual(train.images.shape, (3800, 32, 32, 3))
    self.assertEqual(test.images.shape, (950, 32, 32, 3))
    np.testing.assert_array_equal(np.bincount(train.labels), [200] * 19)
    np.testing.assert_array_equal(np.bincount(test.labels), [50] * 19)
    self.assertLen(set(_DATASET.class_names), 19)
    self.assertEqual(_DATASET.class_names[0], 'astronaut')
    self.assertEqual(_DATASET.class_names[-1], 'flower')

  def test_first_images_are_balanced(self):
    limited = data.load('photographs', train_limit=190).train
    np.testing.assert_array_equal(np.bincount(limited.labels), [10] * 19)
    np.testing.assert_array_equal(limited.images, _DATASET.train.images[:190])

  @parameterized.product(
    size=((172, 384), (384, 384), (640, 384), (384, 500)),
    parts=(('train', 'test'), ('fit', 'validation'), ('validation', 'test')),
  )
  def test_no_pixel_is_in_patches_of_two_parts(self, size, parts):
    height, width = size
    covered = {}
    for part, count in zip(parts, (200, 50), strict=True):
      places = photographs.corners(height, width, count, part)
      self.assertLen(set(places), count)
      covered[part] = np.zeros((height, width), bool)
      for top, left in places:
        self.assertTrue(0 <= top <= height - 32 and 0 <= left <= width - 32)
        covered[part][top : top + 32, left : left + 32] = True
    along = 0 if height > width else 1
    first, second = (np.flatnonzero(covered[part].any(axis=1 - along)) for part in parts)
    distance = np.abs(first[:, None] - second[None, :]).min()
    self.assertGreater(distance, photographs.GAP)

  def test_patches_are_cut_at_their_places(self):
    height, width = 200, 400
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(height)[:, None], np.arange(width) % 256
    patches = photographs.cut(picture, 20, 'test')
    for (top, left), patch in zip(photographs.corners(200, 400, 20, 'test'), patches, strict=True):
      self.assertEqual((patch[0, 0, 0], patch[0, 0, 1]), (top, left % 256))

  def test_same_patches_whatever_the_seed(self):
    other = data.load('photographs', seed=5)
    np.testing.assert_array_equal(other.train.images, _DATASET.train.images)
    np.testing.assert_array_equal(other.test.images, _DATASET.test.images)

  def test_other_image_size_resizes_the_same_patches(self):
    larger = data.load('photographs', image_size=48, train_limit=38).train.images
    np.testing.assert_array_equal(larger, resize_images(_DATASET.train.images[:38], 48))

  def test_pixels_alone_neither_solve_the_task_nor_are_useless(self):
    train, test = _DATASET.train, _DATASET.test
    accuracy = _knn_accuracy(train.images, train.labels, test.images, test.labels, k=20)
    self.assertBetween(accuracy, 0.38, 0.50)

  def test_neither_network_nor_heavy_imports(self):
    with mock.patch.object(socket.socket, 'connect', side_effect=AssertionError('network')):
      photographs.load_photographs(32)
    code = (
      'import sys; from ssl_jax import data; heavy = {"PIL", "skimage", "sklearn", "pooch"};'
      'assert not heavy & set(sys.modules); data.load("photographs");'
      'assert not (heavy - {"PIL"}) & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)

  def test_missing_package_and_missing_picture(self):
    with self.assertRaisesRegex(
      ValueError, "^source: found 'photographs', must be another source without no-such: pip"
    ):
      photographs.picture_path('no-such', 'no_such_module', 'a.png')
    with self.assertRaisesRegex(
      OSError, r'no_such\.png: this version of scikit-image does not ship'
    ):
      photographs.picture_path('scikit-image', 'skimage', 'data/no_such.png')
