"""Fingerprints of data: everything that changes is noticed, and named."""

import json
import time

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import data

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 4, 6, 3), np.uint8)
LABELS = np.arange(300, dtype=np.int32) % 3
NAMES = tuple(f'{index}.png' for index in range(300))
TRAIN = data.ArraySource(IMAGES, LABELS, NAMES)
TEST = data.ArraySource(IMAGES[:0])


def dataset(images=IMAGES, labels=LABELS, names=NAMES, test=TEST, classes=('a', 'b', 'c')):
  return data.Dataset('x', data.ArraySource(images, labels, names), test, classes)


def flipped(*rows):
  images = IMAGES.copy()
  images[list(rows), 3, 5, 2] ^= 1
  return images


OTHER_LABEL = np.where(np.arange(300) == 7, 0, LABELS).astype(np.int32)


class FingerprintTest(chex.TestCase):
  def test_same_data(self):
    first = data.fingerprint_dataset(dataset())
    again = data.fingerprint_dataset(dataset(IMAGES[::-1][::-1], LABELS.copy()))
    self.assertEqual(first, again)
    self.assertEqual(first.sha256, again.sha256)
    self.assertEmpty(first.differences(again))
    stored = data.Fingerprint.from_json(json.loads(json.dumps(first.to_json())))
    self.assertEqual(stored, first)
    self.assertEqual(stored.sha256, first.sha256)

  @parameterized.parameters(
    ({'images': flipped(0, 299)}, 'the pixels of 2 of 300 training images'),
    ({'images': IMAGES[::-1].copy()}, 'the pixels of 300 of 300 training images'),
    (
      {'images': IMAGES[:9], 'labels': LABELS[:9], 'names': NAMES[:9]},
      '9 training images instead of 300',
    ),
    ({'images': IMAGES.reshape(300, 6, 4, 3)}, 'training images of 6x4 pixels instead of 4x6'),
    ({'labels': OTHER_LABEL}, 'the labels of the training images'),
    ({'labels': None}, 'the labels of the training images'),
    ({'names': ('new', *NAMES[1:])}, 'the names of the training images'),
    ({'test': TRAIN}, '300 test images instead of 0'),
    ({'classes': ('a', 'b')}, '2 classes instead of 3'),
    ({'classes': ('a', 'x', 'c')}, "class 1 is 'x' instead of 'b'"),
  )
  def test_other_data(self, changes, words):
    old, new = (data.fingerprint_dataset(dataset(**given)) for given in ({}, changes))
    self.assertEqual(old.differences(new), [words])
    self.assertNotEqual(old.sha256, new.sha256)

  def test_every_image_counts_and_labels_are_no_part_of_the_images(self):
    seen = {data.fingerprint_source(TRAIN).images_sha256}
    for row in range(0, 300, 13):
      seen.add(data.fingerprint_source(data.ArraySource(flipped(row))).images_sha256)
    self.assertLen(seen, 25)
    self.assertIn(data.fingerprint_source(data.ArraySource(IMAGES)).images_sha256, seen)

  def test_a_source_may_give_its_own(self):
    class Streamed:
      labels = None

      def __len__(self):
        return 10**9

      def __getitem__(self, indices):
        raise AssertionError('read')

      def fingerprint(self):
        return data.fingerprint_source(TRAIN)

    self.assertEqual(data.fingerprint_source(Streamed()), data.fingerprint_source(TRAIN))

  def test_fifty_thousand_images_take_a_fraction_of_a_second(self):
    images = np.zeros((50_000, 32, 32, 3), np.uint8)
    start = time.process_time()
    data.fingerprint_source(data.ArraySource(images))
    self.assertLess(time.process_time() - start, 0.8)

  @parameterized.parameters(
    {}, {'train': 3}, {'train': {}, 'test': {}, 'class_names': []}, {'class_names': 5}, {'test': []}
  )
  def test_json_of_another_kind(self, **content):
    with self.assertRaisesRegex(ValueError, 'fingerprint'):
      data.Fingerprint.from_json(content)
