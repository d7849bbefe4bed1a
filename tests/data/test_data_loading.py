"""The names of data sources and the options they share."""

import pathlib
import sys
from unittest import mock

import numpy as np
from absl.testing import parameterized

from ssl_jax import data
from tests.data.temporary_folder import TemporaryFolderTest


class LoadTest(TemporaryFolderTest):
  @parameterized.parameters(
    ('photograph', '; nearest: photographs'),
    ('Digits', '; nearest: digits'),
    ('folders:/x', '; nearest: folder:PATH'),
    ('npz', '; nearest: npz:PATH'),
    ('npz:', '; nearest: npz:PATH'),
    ('folder:', '; nearest: folder:PATH'),
    ('digits:8', '; nearest: digits'),
    ('/a/b.npz', '; nearest: npz:/a/b.npz'),
    ('/', '; nearest: folder:/'),
    ('qqqq', ''),
    ('', ''),
  )
  def test_unknown_source(self, source, hint):
    with self.assertRaises(ValueError) as caught:
      data.load(source)
    self.assertEqual(
      str(caught.exception),
      f'source: found {source!r}, must be one of photographs, digits, npz:PATH, folder:PATH{hint}',
    )

  @parameterized.parameters(
    ({'image_size': 0}, 'image_size: found 0, must be a whole number >= 1'),
    (
      {'imbalance_factor': 0.0},
      'imbalance_factor: found 0.0, must be > 0 and <= 1',
    ),
    (
      {'imbalance_factor': float('nan')},
      'imbalance_factor: found nan, must be > 0 and <= 1',
    ),
    ({'train_limit': -1}, 'train_limit: found -1, must be a whole number >= 0'),
    ({'test_fraction': 1.0}, 'test_fraction: found 1.0, must be >= 0 and < 1'),
    ({'on_error': 'ignore'}, "on_error: found 'ignore', must be one of skip, fail"),
    ({'seed': -1}, f'seed: found -1, must be a whole number from 0 to {2**63 - 1}'),
  )
  def test_wrong_options(self, options, message):
    with self.assertRaises(ValueError) as caught:
      data.load('digits', **options)
    self.assertEqual(str(caught.exception), message)

  def test_long_tail_on_training_images_alone_then_the_limit(self):
    whole = data.load('digits', image_size=8)
    tailed = data.load('digits', image_size=8, imbalance_factor=0.1)
    np.testing.assert_array_equal(tailed.test.images, whole.test.images)
    sizes = np.bincount(tailed.train.labels)
    largest = np.bincount(whole.train.labels).max()
    expected = data.long_tail_counts(largest, 10, 0.1)
    np.testing.assert_array_equal(sizes, np.minimum(expected, np.bincount(whole.train.labels)))
    limited = data.load('digits', image_size=8, imbalance_factor=0.1, train_limit=50)
    np.testing.assert_array_equal(limited.train.images, tailed.train.images[:50])
    np.testing.assert_array_equal(limited.train.labels, tailed.train.labels[:50])
    self.assertLen(data.load('digits', image_size=8, train_limit=10**6).train, len(whole.train))

  def test_names_of_earlier_versions_warn(self):
    lines = []
    with self.assertWarnsRegex(DeprecationWarning, 'load: report is now log'):
      data.load('digits', image_size=8, report=lines.append)
    for old, new in (('Order', data.EpochSampler), ('load_persons', data.load_reid)):
      with self.assertWarnsRegex(DeprecationWarning, f'ssl_jax.data.{old} is now'):
        self.assertIs(getattr(data, old), new)

  def test_validation_measures_on_held_out_training_images(self):
    whole = data.load('digits', image_size=8)
    found = data.load('digits', image_size=8, validation=True)
    tagged = lambda source: {
      (image.tobytes(), int(label))
      for image, label in zip(source.images, source.labels, strict=True)
    }
    self.assertLen(found.train, len(whole.train) - len(found.test))
    self.assertEqual(tagged(found.train) | tagged(found.test), tagged(whole.train))
    self.assertTrue(tagged(found.test).isdisjoint(tagged(found.train) | tagged(whole.test)))
    np.testing.assert_allclose(
      np.bincount(found.test.labels), 0.1 * np.bincount(whole.train.labels), atol=0.5
    )

  def test_validation_is_held_out_before_the_long_tail(self):
    tailed = data.load('digits', image_size=8, validation=True, imbalance_factor=0.1)
    found = data.load('digits', image_size=8, validation=True)
    np.testing.assert_array_equal(tailed.test.images, found.test.images)

  def test_validation_needs_a_part_to_hold_out(self):
    with self.assertRaisesRegex(ValueError, 'validation: found 0 of .* at test_fraction 0'):
      data.load('digits', image_size=8, validation=True, test_fraction=0)

  def test_long_tail_needs_labels(self):
    path = self.folder / 'a.npz'
    np.savez(path, train_images=np.zeros((9, 4, 4, 3), np.uint8))
    with self.assertRaisesRegex(ValueError, r'^imbalance_factor: found 0\.5 on images without'):
      data.load(f'npz:{path}', imbalance_factor=0.5)

  def test_without_pillow(self):
    path = self.folder / 'a.npz'
    np.savez(path, train_images=np.zeros((9, 4, 4, 3), np.uint8))
    with mock.patch.dict(sys.modules, {'PIL': None}):
      self.assertLen(data.load(f'npz:{path}', image_size=4, test_fraction=0).train, 9)
      for source in (f'npz:{path}', f'folder:{self.folder}', 'photographs', 'digits'):
        with self.assertRaisesRegex(ValueError, '^source: found images .* without Pillow: pip'):
          data.load(source, image_size=5)

  def test_tilde_is_the_home_folder(self):
    with self.assertRaisesRegex(
      OSError, f'^{pathlib.Path.home()}/no_such.npz: there is no such file'
    ):
      data.load('npz:~/no_such.npz')
    for load in (data.load, data.load_reid):
      with self.assertRaisesRegex(ValueError, '^source: .* there is no such home folder'):
        load('folder:~no_such_user_/x')
