"""Sources in memory and the one line that describes a data set."""

import dataclasses

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import data


def _source(length, labeled=True):
  images = np.arange(length * 12, dtype=np.uint8).reshape(length, 2, 2, 3)
  return data.ArraySource(images, np.arange(length, dtype=np.int32) if labeled else None)


class ArraySourceTest(chex.TestCase):
  def test_is_a_source(self):
    source: data.Source = _source(5)
    self.assertLen(source, 5)
    indices = np.array([3, 0, 3], np.int32)
    np.testing.assert_array_equal(source[indices], _source(5).images[indices])
    np.testing.assert_array_equal(source.labels[indices], [3, 0, 3])

  def test_subset_keeps_images_and_labels_together(self):
    part = _source(5).subset(np.array([4, 1]))
    np.testing.assert_array_equal(part.images, _source(5).images[[4, 1]])
    np.testing.assert_array_equal(part.labels, [4, 1])
    self.assertIsNone(_source(5, labeled=False).subset(np.array([4, 1])).labels)

  @parameterized.parameters(
    (np.array([4, 1, 4]), ('e', 'b', 'e')),
    (np.array([], np.int64), ()),
    (np.array([True, False, False, True, False]), ('a', 'd')),
  )
  def test_subset_keeps_names(self, chosen, expected):
    named = dataclasses.replace(_source(5), names=tuple('abcde'))
    part = named.subset(chosen)
    self.assertEqual(part.names, expected)
    np.testing.assert_array_equal(part.images, named.images[chosen])
    self.assertTrue(all(type(name) is str for name in part.names))
    self.assertEqual(_source(5).names, ())
    self.assertEqual(_source(5).subset(chosen).names, ())

  @parameterized.parameters(1, 4, 6)
  def test_wrong_number_of_names(self, count):
    with self.assertRaisesRegex(ValueError, f'^names: found {count}, must be 5, one an image$'):
      dataclasses.replace(_source(5), names=('a',) * count)

  @parameterized.parameters(
    (
      np.zeros((2, 4, 4, 3), np.float32),
      None,
      r'^images: found float32 \[2, 4, 4, 3\], must be uint8',
    ),
    (np.zeros((2, 4, 4, 1), np.uint8), None, r'^images: found uint8 \[2, 4, 4, 1\]'),
    (
      np.zeros((2, 4, 4, 3), np.uint8),
      np.zeros(3, np.int32),
      r'^labels: found int32 \[3\], must be',
    ),
    (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64), '^labels: found int64'),
    (
      np.zeros((2, 4, 4, 3), np.uint8),
      np.array([0, -2], np.int32),
      '^labels: found -2, must be at least 0, or -1 for unlabeled$',
    ),
  )
  def test_wrong_arrays(self, images, labels, message):
    with self.assertRaisesRegex(ValueError, message):
      data.ArraySource(images, labels)


class DatasetTest(chex.TestCase):
  def test_labels_of_minus_one_are_of_no_class(self):
    source = dataclasses.replace(_source(5), labels=np.array([1, -1, 0, 1, -1], np.int32))
    dataset = data.Dataset('x', source, _source(0), ('a', 'b', 'c'))
    self.assertEqual(source.labeled, 3)
    self.assertEqual(_source(5, labeled=False).labeled, 0)
    self.assertEqual(dataset.class_counts().tolist(), [1, 2, 0])
    bare = data.Dataset('x', _source(5, labeled=False), _source(0))
    self.assertEqual(bare.class_counts().tolist(), [])

  def test_describe(self):
    labeled = data.Dataset('npz:a.npz', _source(5), _source(3), ('a', 'b', 'c', 'd', 'e'))
    self.assertEqual(
      labeled.describe(), 'npz:a.npz: 5 training and 3 test images of 2x2 pixels, 5 classes'
    )
    bare = data.Dataset('folder:x', _source(5, False), _source(0, False))
    self.assertEqual(
      bare.describe(), 'folder:x: 5 training and 0 test images of 2x2 pixels, no labels'
    )
