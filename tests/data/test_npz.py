"""Arrays in a .npz file, and every way such a file can be wrong."""

import io
import zipfile
from unittest import mock

import hypothesis
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import strategies as st
from PIL import Image

from ssl_jax import data
from ssl_jax.data import memory
from tests.data.mutations import assert_short, mutated
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

  @parameterized.parameters(
    (_images(2, 3, 4, 4), r'; x\.transpose\(0, 2, 3, 1\) moves the channels last$'),
    (np.full((2, 4, 4, 3), 0.5), r'; numpy\.round\(255 \* x\)\.astype\(numpy\.uint8\) makes'),
    (np.full((2, 4, 4), 200.0, np.float32), r'; numpy\.round\(x\)\.astype\(numpy\.uint8\) makes'),
    (np.full((2, 4, 4, 3), np.nan), r'\[n, height, width\]$'),
    (np.full((2, 4, 4, 3), -1.0), r'\[n, height, width\]$'),
    (np.ones((2, 4, 4, 3), bool), r'\[n, height, width\]$'),
  )
  def test_wrong_images_say_how_they_are_made_right(self, images, remedy):
    self.assert_refused(ValueError, remedy, {'train_images': images})

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
    ('twice', np.array(['a', 'b', 'a']), "found the class 'a' twice, must be a name of its own"),
    ('twice_in_two_forms', np.array(['e\u0301', '\u00e9']), "found the class '\u00e9' twice"),
    ('twice_once_shown', np.array(['a\n', r'a\n']), 'found the class .* twice'),
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

  def written(self, shape, size=100, method=zipfile.ZIP_STORED, name='train_images', version=1):
    """A file whose one member states `shape` and holds `size` bytes."""
    header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
    write = getattr(np.lib.format, f'write_array_header_{version}_0')
    with (
      zipfile.ZipFile(self.path, 'w', method) as archive,
      archive.open(f'{name}.npy', 'w', force_zip64=True) as file,
    ):
      write(file, header)
      file.write(b'x' * size)

  def test_an_array_larger_than_the_memory_is_refused_by_its_header(self):
    self.written((1, 1000, 1000, 3), 3_000_000, zipfile.ZIP_DEFLATED)
    self.assertLess(self.path.stat().st_size, 10_000)
    with mock.patch.object(memory, 'machine_memory', lambda: 2_000_000):
      self.assert_refused(ValueError, "'train_images': found 0.0 GiB, must be at most 0.0 GiB, the")

  def test_arrays_and_resized_images_are_counted_together(self):
    arrays = {f'{split}_images': _images(100, 8, 8, 3) for split in ('train', 'test')}
    for limit, size, name in ((30_000, 8, "array 'test_images'"), (40_000, 16, 'image_size')):
      with mock.patch.object(memory, 'machine_memory', lambda limit=limit: limit):
        np.savez(self.path, **arrays)
        with self.assertRaisesRegex(ValueError, f'{name}: found .*GiB, must be at most'):
          data.load(f'npz:{self.path}', image_size=size)

  def test_a_size_that_the_archive_understates_costs_no_memory(self):
    self.written((1, 1000, 1000, 3), 3_000_000, zipfile.ZIP_DEFLATED)
    content = bytearray(self.path.read_bytes())
    at = content.rfind(b'PK\1\2') + 24
    content[at : at + 4] = (200).to_bytes(4, 'little')
    self.path.write_bytes(content)
    self.assert_refused(OSError, "'train_images' is damaged")

  def test_an_array_that_is_there_twice_is_refused(self):
    buffer = io.BytesIO()
    np.save(buffer, _images(2, 4, 4, 3))
    with zipfile.ZipFile(self.path, 'w') as archive, pytest.warns(UserWarning, match='Duplicate'):
      for _ in range(2):
        archive.writestr('train_images.npy', buffer.getvalue())
    self.assert_refused(ValueError, "'train_images': found 2 times in the file, must be there once")

  def test_headers_of_the_second_version(self):
    self.written((2, 4, 4, 3), 96, version=2)
    self.assertLen(self.load(test_fraction=0).train, 2)

  def test_names_of_members_do_not_fill_the_screen(self):
    with zipfile.ZipFile(self.path, 'w') as archive:
      for number in range(300):
        archive.writestr(f'\x1b[31m\n{number:0100}.npy', b'')
    self.assert_refused(ValueError, 'and 295 more, must be arrays of the names train_images')

  @parameterized.parameters('<i8', '>i8', '>u2', 'u1')
  def test_labels_of_any_integer_type_in_any_order_of_memory(self, dtype):
    images = np.asfortranarray(_images(6, 4, 4, 3))
    labels = np.array([0, 1, 2, 0, 1, 2], dtype)
    train = self.load({'train_images': images, 'train_labels': labels}, test_fraction=0).train
    np.testing.assert_array_equal(train.images, images)
    self.assertEqual((train.labels.dtype, train.labels.tolist()), (np.int32, labels.tolist()))

  def test_labels_of_minus_one_are_unlabeled(self):
    lines = []
    labels = np.array([-1, 0, 1] * 10)
    arrays = {'train_images': _images(30, 4, 4, 3), 'train_labels': labels}
    dataset = self.load(arrays, test_fraction=0.5, log=lines.append)
    self.assertEqual(dataset.class_names, ('0', '1'))
    # What is held out has a label.
    self.assertEqual(np.bincount(dataset.test.labels).tolist(), [5, 5])
    self.assertEqual(np.bincount(dataset.train.labels + 1).tolist(), [10, 5, 5])
    self.assertEqual(lines, [f'npz:{self.path}: 10 of 20 training images are labeled'])

  def test_labels_of_which_all_are_minus_one_are_none(self):
    arrays = {'train_images': _images(9, 4, 4, 3), 'train_labels': np.full(9, -1)}
    dataset = self.load(arrays)
    self.assertIsNone(dataset.train.labels)
    self.assertEqual(dataset.class_names, ())

  def test_a_fraction_that_holds_out_nothing_is_reported(self):
    lines = []
    arrays = {'train_images': _images(4, 4, 4, 3), 'train_labels': np.arange(4)}
    self.assertEmpty(self.load(arrays, log=lines.append).test)
    self.assertIn('no test images; test_fraction 0.1 of each class (4 images', lines[0])

  def test_class_names_are_printable(self):
    arrays = {
      'train_images': _images(3, 4, 4, 3),
      'train_labels': np.arange(3),
      'classes': np.array(['\u732b \U0001f468\u200d\U0001f467', 'a\n\x1b[31m', '\u202edog']),
    }
    names = self.load(arrays, log=lambda line: None).class_names
    self.assertEqual(names, ('\u732b \U0001f468\u200d\U0001f467', r'a\n\x1b[31m', r'\u202edog'))

  def assert_refused(self, kind, message, arrays=None):
    with self.assertRaisesRegex(kind, message) as caught:
      self.load(arrays)
    self.assertStartsWith(str(caught.exception), f'{self.path}: ')
    self.assertNotIn('\n', str(caught.exception))


def _archive(save):
  buffer = io.BytesIO()
  save(
    buffer,
    train_images=np.arange(192, dtype=np.uint8).reshape(4, 4, 4, 3),
    train_labels=np.array([0, 1, 0, 1]),
    classes=np.array(['cat', 'dog']),
  )
  return buffer.getvalue()


_ARCHIVES = (_archive(np.savez), _archive(np.savez_compressed))


def _read_mutated(path, content):
  path.write_bytes(content)
  try:
    dataset = data.load(f'npz:{path}', image_size=4, test_fraction=0, log=lambda line: None)
  except (ValueError, OSError) as error:
    assert_short(error)
  else:
    assert dataset.train.images.dtype == np.uint8


class DamageTest(TemporaryFolderTest):
  @hypothesis.settings(max_examples=25, derandomize=True, deadline=None)
  @hypothesis.given(st.sampled_from(_ARCHIVES).flatmap(mutated))
  def test_any_damage_is_one_short_line(self, content):
    _read_mutated(self.folder / 'a.npz', content)

  @pytest.mark.slow
  @hypothesis.settings(max_examples=2000, derandomize=True, deadline=None)
  @hypothesis.given(st.sampled_from(_ARCHIVES).flatmap(mutated))
  def test_much_damage_is_one_short_line(self, content):
    _read_mutated(self.folder / 'a.npz', content)
