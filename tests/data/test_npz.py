"""Arrays in a .npz file, and every way such a file can be wrong."""

import zipfile

import numpy as np
from absl.testing import parameterized
from PIL import Image

from ssl_jax import data
from tests.data.temporary_folder import TemporaryFolderTest

_RNG = np.random.default_rng(0)


def _images(*shape):
  return _RNG.integers(0, 256, shape, np.uint8)


class NpzTest(TemporaryFolderTest):
  def setUp(self):
    super().setUp()
    self.path = self.folder / 'data.npz'

  def load(self, arrays=None, **options):
    if arrays is not None:
      np.savez(self.path, **arrays)
    return data.load(f'npz:{self.path}', **{'image_size': 4, **options})

  def test_all_arrays(self):
    arrays = {
      'train_images': _images(6, 4, 4, 3),
      'train_labels': np.array([0, 1, 2, 0, 1, 2], np.int64),
      'test_images': _images(2, 4, 4, 3),
      'test_labels': np.array([2, 0], np.uint8),
      'classes': np.array(['cat', 'dog', 'eel']),
      'something_else': np.zeros(3),
    }
    dataset = self.load(arrays)
    np.testing.assert_array_equal(dataset.train.images, arrays['train_images'])
    np.testing.assert_array_equal(dataset.train.labels, arrays['train_labels'])
    np.testing.assert_array_equal(dataset.test.images, arrays['test_images'])
    np.testing.assert_array_equal(dataset.test.labels, arrays['test_labels'])
    self.assertEqual(dataset.train.labels.dtype, np.int32)
    self.assertEqual(dataset.class_names, ('cat', 'dog', 'eel'))

  def test_names_are_numbers_without_classes(self):
    dataset = self.load(
      {'train_images': _images(4, 4, 4, 3), 'train_labels': np.array([0, 3, 1, 3])}
    )
    self.assertEqual(dataset.class_names, ('0', '1', '2', '3'))

  def test_compressed_and_byte_names(self):
    np.savez_compressed(
      self.path,
      train_images=_images(4, 4, 4, 3),
      train_labels=np.zeros(4, int),
      classes=np.array([b'caf\xc3\xa9']),
    )
    self.assertEqual(self.load().class_names, ('café',))

  def test_labels_are_optional(self):
    dataset = self.load({'train_images': _images(20, 4, 4, 3)})
    self.assertIsNone(dataset.train.labels)
    self.assertIsNone(dataset.test.labels)
    self.assertEqual(dataset.class_names, ())
    self.assertEqual((len(dataset.train), len(dataset.test)), (18, 2))
    with_test = self.load(
      {'train_images': _images(20, 4, 4, 3), 'test_images': _images(5, 4, 4, 3)}
    )
    self.assertEqual((len(with_test.train), len(with_test.test)), (20, 5))

  def test_without_test_images_each_class_gives_its_share(self):
    labels = np.arange(40) % 4
    images = np.arange(40, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 3), np.uint8)
    dataset = self.load({'train_images': images, 'train_labels': labels}, test_fraction=0.2)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2] * 4)
    numbers = np.concatenate([dataset.train.images[:, 0, 0, 0], dataset.test.images[:, 0, 0, 0]])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(40))
    for part in (dataset.train, dataset.test):
      np.testing.assert_array_equal(part.images[:, 0, 0, 0] % 4, part.labels)

  @parameterized.parameters(((3, 4, 4),), ((3, 4, 4, 1),))
  def test_gray_becomes_rgb(self, shape):
    gray = _images(*shape)
    images = self.load({'train_images': gray}, test_fraction=0).train.images
    np.testing.assert_array_equal(images, np.repeat(gray.reshape(3, 4, 4, 1), 3, axis=-1))

  def test_resized_antialiased_from_the_central_square(self):
    images = _images(3, 40, 80, 3)
    resized = self.load({'train_images': images}, image_size=10, test_fraction=0).train.images
    for image, result in zip(images, resized, strict=True):
      whole = Image.fromarray(image).resize((20, 10), Image.Resampling.BICUBIC)
      np.testing.assert_array_equal(result, np.asarray(whole)[:, 5:15])

  @parameterized.named_parameters(
    (
      'no_train_images',
      {'images': _images(2, 4, 4, 3)},
      "found no array 'train_images' but images, must be arrays of the names train_im",
    ),
    (
      'nothing',
      {},
      "found no array 'train_images' but none, must be arrays of the names train_images, train_la",
    ),
    (
      'float',
      {'train_images': np.zeros((2, 4, 4, 3))},
      r"'train_images': found float64 \[2, 4, 4, 3\]",
    ),
    ('int', {'train_images': np.zeros((2, 4, 4, 3), int)}, 'found int64'),
    (
      'channels_first',
      {'train_images': _images(2, 3, 4, 4)},
      r'found uint8 \[2, 3, 4, 4\], must be',
    ),
    ('rgba', {'train_images': _images(2, 4, 4, 4)}, r'found uint8 \[2, 4, 4, 4\], must be uint8'),
    ('flat', {'train_images': _images(2, 48)}, r'found uint8 \[2, 48\]'),
    ('none', {'train_images': _images(0, 4, 4, 3)}, 'holds no pixel'),
    ('no_pixels', {'train_images': _images(2, 0, 4, 3)}, 'holds no pixel'),
    (
      'float_test',
      {'train_images': _images(2, 4, 4, 3), 'test_images': np.zeros((2, 4, 4, 3))},
      "'test_images': found float64",
    ),
    (
      'test_labels_alone',
      {'train_images': _images(2, 4, 4, 3), 'test_labels': np.zeros(2, int)},
      "'test_labels': found alone, must be beside 'test_images'",
    ),
    ('object', {'train_images': np.array([{}])}, "'train_images': found pickled Python objects"),
  )
  def test_wrong_images(self, arrays, message):
    self.assert_refused(ValueError, message, arrays)

  @parameterized.named_parameters(
    ('length', np.zeros(3, int), r"'train_labels': found int64 \[3\], must be integers \[2\]"),
    ('column', np.zeros((2, 1), int), r'found int64 \[2, 1\], must be integers \[2\]'),
    ('float', np.zeros(2), r'found float64 \[2\]'),
    ('negative', np.array([0, -2]), 'found labels from -2 to 0, must be 0 to 65535, or -1 for'),
    (
      'unsigned',
      np.array([0, 2**64 - 1], np.uint64),
      'found labels from 0 to 18446744073709551615',
    ),
    ('hashed', np.array([0, 2**32]), 'found labels from 0 to 4294967296, must be 0 to 65535'),
    ('one_hot', np.eye(2, dtype=int), r'found int64 \[2, 2\], must be integers \[2\]'),
    ('text', np.array(['a', 'b']), r'found <U1 \[2\], must be integers'),
    ('bool', np.array([True, False]), r'found bool \[2\], must be integers'),
    ('huge', np.array([0, 2**62]), 'found labels from 0 to 4611686018427387904'),
    ('object', np.array([None, {}]), 'found pickled Python objects, which are never loaded'),
  )
  def test_wrong_labels(self, labels, message):
    arrays = {'train_images': _images(2, 4, 4, 3), 'train_labels': labels}
    self.assert_refused(ValueError, message, arrays)

  @parameterized.named_parameters(
    ('too_few', np.array(['a']), r'found <U1 \[1\], must be a string for each of the 2 labels'),
    ('numbers', np.array([1, 2]), r'found int64 \[2\]'),
  )
  def test_wrong_classes(self, classes, message):
    arrays = {'train_images': _images(2, 4, 4, 3), 'train_labels': np.arange(2), 'classes': classes}
    self.assert_refused(ValueError, f"'classes': {message}", arrays)

  def test_missing_file_and_folder(self):
    self.assert_refused(OSError, 'there is no such file')
    self.path.mkdir()
    self.assert_refused(OSError, 'found no regular file')

  @parameterized.parameters(b'', b'hello', b'\x80\x04}.')
  def test_no_zip(self, content):
    self.path.write_bytes(content)
    self.assert_refused(OSError, f'found {len(content)} bytes that are no complete')

  def test_single_array_instead_of_an_archive(self):
    with self.path.open('wb') as file:
      np.save(file, _images(2, 4, 4, 3))
    self.assert_refused(OSError, 'no complete .npz')

  def test_truncated_at_every_tenth(self):
    np.savez(self.path, train_images=_images(8, 4, 4, 3), train_labels=np.arange(8))
    whole = self.path.read_bytes()
    for cut in range(0, len(whole) - 1, len(whole) // 10):
      self.path.write_bytes(whole[:cut])
      self.assert_refused(OSError, '')

  def test_flipped_bytes_are_noticed(self):
    np.savez_compressed(self.path, train_images=_images(8, 4, 4, 3))
    whole = self.path.read_bytes()
    for place in (len(whole) // 4, len(whole) // 2):
      damaged = bytearray(whole)
      damaged[place] ^= 0xFF
      self.path.write_bytes(damaged)
      self.assert_refused(OSError, "'train_images' is damaged")

  def test_more_pixels_claimed_than_there_are(self):
    header = {'descr': '|u1', 'fortran_order': False, 'shape': (10**7, 1000, 1000, 3)}
    with zipfile.ZipFile(self.path, 'w') as archive, archive.open('train_images.npy', 'w') as file:
      np.lib.format.write_array_header_1_0(file, header)
      file.write(b'x' * 100)
    self.assert_refused(OSError, "'train_images' is damaged")

  def assert_refused(self, kind, message, arrays=None):
    with self.assertRaisesRegex(kind, message) as caught:
      self.load(arrays)
    self.assertStartsWith(str(caught.exception), f'{self.path}: ')
    self.assertNotIn('\n', str(caught.exception))
