"""A folder of image files: layouts, what is held out, and files that are no images."""

import os
import shutil
import socket
from unittest import mock

import numpy as np
from absl.testing import parameterized
from PIL import Image

from ssl_jax import data
from ssl_jax.data import folder as folder_module
from ssl_jax.data.folder_listing import hash_order
from tests.data.png_file import png16
from tests.data.temporary_folder import TemporaryFolderTest


def _color(number):
  return (number % 256, 255 - number % 256, (7 * number) % 256)


class FolderTest(TemporaryFolderTest):
  def setUp(self):
    super().setUp()
    self.root = self.folder / 'images'
    self.root.mkdir()
    self.lines = []

  def add(self, *names):
    """Writes images of one color each, which says by which number they were written."""
    for name in names:
      path = self.root / name
      path.parent.mkdir(parents=True, exist_ok=True)
      self.count = getattr(self, 'count', -1) + 1
      Image.new('RGB', (4, 4), _color(self.count)).save(path, format='PNG')

  def add_classes(self, prefix='', classes=('cat', 'dog', 'eel'), each=10):
    self.add(*(f'{prefix}{name}/{i:02d}.png' for name in classes for i in range(each)))

  def load(self, **options):
    self.lines.clear()
    options = {'image_size': 4, 'log': self.lines.append, **options}
    return data.load(f'folder:{self.root}', **options)

  def numbers(self, source):
    return source.images[:, 0, 0, 0].tolist()

  def test_class_folders(self):
    self.add_classes()
    dataset = self.load()
    self.assertEqual(dataset.class_names, ('cat', 'dog', 'eel'))
    self.assertLen(dataset.train, 30 - len(dataset.test))
    for source in (dataset.train, dataset.test):
      self.assertEqual([number // 10 for number in self.numbers(source)], source.labels.tolist())
      self.assertTrue((source.images == source.images[:, :1, :1]).all())
    self.assertSameElements(self.numbers(dataset.train) + self.numbers(dataset.test), range(30))
    self.assertEqual(
      self.lines,
      [
        f'{self.root}: 30 images, 3 classes: cat, dog, eel',
        f'{self.root}: {len(dataset.test)} of 30 images are held out for testing',
      ],
    )
    # The stored order mixes the classes, so that a limit keeps a sample of all.
    self.assertLen(set(self.load(train_limit=12).train.labels.tolist()), 3)

  def test_flat_and_unlabeled(self):
    self.add(*(f'{i}.png' for i in range(20)))
    dataset = self.load()
    self.assertIsNone(dataset.train.labels)
    self.assertIsNone(dataset.test.labels)
    self.assertEqual(dataset.class_names, ())
    self.assertSameElements(self.numbers(dataset.train) + self.numbers(dataset.test), range(20))

  @parameterized.parameters('test', 'val')
  def test_train_and_test_folders(self, name):
    self.add_classes('train/')
    self.add_classes(f'{name}/', classes=('dog', 'eel'), each=2)
    dataset = self.load()
    self.assertEqual((len(dataset.train), len(dataset.test)), (30, 4))
    self.assertEqual(dataset.class_names, ('cat', 'dog', 'eel'))
    self.assertCountEqual(dataset.test.labels, [1, 1, 2, 2])

  def test_names_say_which_file_an_image_is(self):
    self.add_classes('train/')
    self.add_classes('test/', classes=('dog',), each=3)
    # A file that is skipped takes its name with it.
    (self.root / 'train' / 'cat' / '03.png').write_bytes(b'')
    dataset = self.load(train_limit=25)
    for part, source, count in (('train', dataset.train, 25), ('test', dataset.test, 3)):
      self.assertLen(source.names, count)
      for name, image in zip(source.names, source.images, strict=True):
        np.testing.assert_array_equal(image, Image.open(self.root / part / name))
    self.assertCountEqual(dataset.test.names, [f'dog/{i:02d}.png' for i in range(3)])
    self.assertNotIn('cat/03.png', self.load().train.names)

  def test_train_folder_alone_holds_out(self):
    self.add_classes('train/')
    dataset = self.load(test_fraction=0.3)
    self.assertEqual(len(dataset.train) + len(dataset.test), 30)
    self.assertBetween(len(dataset.test), 3, 16)

  def test_unlabeled_training_with_labeled_test_images(self):
    self.add(*(f'train/{i}.png' for i in range(5)))
    self.add_classes('test/', each=1)
    dataset = self.load()
    self.assertIsNone(dataset.train.labels)
    self.assertCountEqual(dataset.test.labels, [0, 1, 2])
    self.assertEqual(dataset.class_names, ('cat', 'dog', 'eel'))

  def test_ambiguous_layouts(self):
    self.add_classes('test/')
    self.assert_refused(ValueError, r'images: found test/ without train/, must be both')
    self.add_classes('train/', classes=('cat', 'dog'))
    self.assert_refused(ValueError, r"test: found class 'eel', which train/ does not have, must be")

  def test_held_out_images_are_fixed_by_their_names(self):
    self.add_classes(each=40)
    first = self.load()
    self.assertBetween(len(first.test), 4, 24)
    moved = self.folder / 'elsewhere'
    shutil.copytree(self.root, moved)
    again = data.load(f'folder:{moved}/', image_size=4)
    np.testing.assert_array_equal(again.train.images, first.train.images)
    np.testing.assert_array_equal(again.test.images, first.test.images)
    self.assertNotEqual(self.numbers(self.load(seed=1).test), self.numbers(first.test))
    held = set(self.numbers(first.test))
    self.add_classes(classes=('fox',), each=40)
    grown = self.load()
    self.assertSameElements(held, {number for number in self.numbers(grown.test) if number < 120})
    # A larger share holds out the same images and more.
    self.assertContainsSubset(held, self.numbers(self.load(test_fraction=0.4).test))

  def test_hash_order_is_the_same_everywhere(self):
    self.assertEqual(hash_order('cat/01.png'), GOLDEN_HASH)
    self.assertEqual(hash_order('caf\u00e9.png'), hash_order('cafe\u0301.png'))
    shares = np.array([hash_order(f'{i}.png', seed=3) / 2**64 for i in range(2000)])
    np.testing.assert_allclose(np.histogram(shares, 4, (0, 1))[0], 500, atol=90)

  @parameterized.parameters((2, 0.001, 1), (2, 0.999, 1), (1, 0.999, 0), (5, 0.0, 0))
  def test_small_folders_keep_both_sides(self, images, fraction, held):
    self.add(*(f'{i}.png' for i in range(images)))
    self.assertLen(self.load(test_fraction=fraction).test, held)

  def test_deeper_hidden_and_other_files(self):
    self.add('cat/a/b/0.png', 'dog/1.PNG', 'dog/.2.png', '.git/3.png', 'dog/.hid/4.png', '5.png')
    (self.root / 'dog' / 'notes.txt').write_text('x')
    (self.root / 'README').write_text('x')
    dataset = self.load(test_fraction=0)
    self.assertCountEqual(self.numbers(dataset.train), [0, 1])
    self.assertEqual(
      self.lines,
      [
        f'{self.root}: ignored 2 files that are no images (1 .txt, 1 without extension)',
        f'{self.root}: ignored 1 image beside the class folders, which have no class',
        f'{self.root}: 2 images, 2 classes: cat, dog',
      ],
    )

  def test_empty_and_twin_classes_are_reported(self):
    self.add_classes(classes=('cat', 'Cat', 'dog'), each=2)
    (self.root / 'empty').mkdir()
    dataset = self.load(test_fraction=0)
    self.assertEqual(dataset.class_names, ('Cat', 'cat', 'dog'))
    self.assertEqual(
      self.lines,
      [
        f'{self.root}/empty: holds no image; left out of the classes',
        f"{self.root}: class folders 'Cat' and 'cat' differ only in spelling;"
        ' they stay two classes',
        f'{self.root}: 6 images, 3 classes: Cat, cat, dog',
      ],
    )

  def test_classes_of_one_name_are_refused(self):
    for one, other in (('e\u0301', '\u00e9'), ('a\n', r'a\n')):
      self.add_classes(classes=(one, other, 'dog'), each=2)
      with self.assertRaisesRegex(ValueError, f'^{self.root}: found the class .* twice, must be'):
        self.load(test_fraction=0)
      shutil.rmtree(self.root)

  def test_links_are_followed_but_not_in_circles(self):
    self.add_classes(classes=('cat', 'dog'), each=1)
    outside = self.folder / 'outside'
    shutil.copytree(self.root / 'cat', outside)
    (self.root / 'eel').symlink_to(outside)
    (self.root / 'cat' / 'up').symlink_to(self.root)
    (self.root / 'dog' / 'itself').symlink_to(self.root / 'dog' / 'itself')
    (self.root / 'dog' / 'here').symlink_to(self.root / 'dog')
    dataset = self.load(test_fraction=0)
    self.assertCountEqual(dataset.train.labels, [0, 1, 2])
    links = [line for line in self.lines if 'a link to a folder it lies in' in line]
    self.assertLen(links, 2)

  def test_links_between_two_folders(self):
    self.add('a/0.png', 'b/1.png')
    (self.root / 'a' / 'x').symlink_to(self.root / 'b')
    (self.root / 'b' / 'y').symlink_to(self.root / 'a')
    self.assertLen(self.load(test_fraction=0).train, 4)

  def test_names_that_are_no_unicode(self):
    self.add(os.fsdecode(b'caf\xe9/\xff.png'), 'dog/1.png')
    (self.root / os.fsdecode(b'caf\xe9/\xfe\n.jpg')).write_bytes(b'x')
    dataset = self.load(test_fraction=0)
    self.assertEqual(dataset.class_names, (r'caf\xe9', 'dog'))
    self.assertLen(dataset.train, 2)
    self.assertStartsWith(self.lines[1], rf'{self.root}/caf\xe9/\xfe\n.jpg: no image of a format')
    '\n'.join(self.lines).encode('utf-8')

  def test_damaged_files_are_skipped_and_reported(self):
    self.add_classes(each=4)
    (self.root / 'cat' / '00.png').write_text('text')
    (self.root / 'dog' / '01.png').write_bytes(b'')
    dataset = self.load(test_fraction=0)
    self.assertLen(dataset.train, 10)
    self.assertEqual([n // 4 for n in self.numbers(dataset.train)], dataset.train.labels.tolist())
    self.assertLen(self.lines, 4)
    text = f'{self.root}/cat/00.png: no image of a format that is read'
    self.assertTrue(any(x.startswith(text) and x.endswith('; skipped') for x in self.lines))
    self.assertIn(f'{self.root}/dog/01.png: empty file; skipped', self.lines)
    self.assertEqual(self.lines[-1], f'{self.root}: skipped 2 of 12 image files')

  def test_damaged_files_fail_when_asked_to(self):
    self.add_classes()
    (self.root / 'dog' / '01.png').write_bytes(b'')
    message = r'dog/01\.png: empty file; on_error=skip goes on without it$'
    self.assert_refused(OSError, message, on_error='fail')

  def test_unreadable_folder_counts_as_damage(self):
    self.add_classes()
    real = os.scandir

    def scandir(path):
      if str(path).rstrip('/').endswith('dog'):
        raise PermissionError(13, 'Permission denied', path)
      return real(path)

    with mock.patch.object(os, 'scandir', scandir):
      dataset = self.load(test_fraction=0)
      self.assertEqual(dataset.class_names, ('cat', 'eel'))
      denied = f'{self.root}/dog/: folder cannot be read: Permission denied; skipped'
      self.assertEqual(self.lines[0], denied)
      self.assert_refused(OSError, 'folder cannot be read', on_error='fail')

  def test_images_of_unlabeled_folders_have_no_class(self):
    self.add_classes(classes=('cat', 'dog', 'unlabeled'))
    dataset = self.load(test_fraction=0.5)
    self.assertEqual(dataset.class_names, ('cat', 'dog'))
    labels = [[0, 1, -1][number // 10] for number in self.numbers(dataset.train)]
    self.assertEqual(dataset.train.labels.tolist(), labels)
    # Nothing is measured on images without a label: none of them is held out.
    self.assertEqual(labels.count(-1), 10)
    self.assertNotIn(-1, dataset.test.labels)
    total = len(labels)
    self.assertIn(f'{total - 10} of {total} training images are labeled', self.lines[-1])
    np.testing.assert_array_equal(dataset.class_counts(), np.bincount(dataset.train.labels + 1)[1:])

  def test_wrapped_and_mixed_folders_keep_file_names(self):
    self.add_classes('unpacked/train/', classes=('cat', 'dog'), each=3)
    self.add_classes('unpacked/VAL/', classes=('cat', 'dog'), each=2)
    self.add('__MACOSX/unpacked/train/cat/0.png', 'unpacked/train/.ipynb_checkpoints/0.png')
    dataset = self.load()
    self.assertEqual((len(dataset.train), len(dataset.test)), (6, 4))
    self.assertCountEqual(
      dataset.test.names, ['cat/00.png', 'cat/01.png', 'dog/00.png', 'dog/01.png']
    )
    self.assertIn('ignored folders of the system: __MACOSX', self.lines[0])
    self.assertLen(self.lines, 2)

  def test_gray_images_of_16_bits_are_scaled_by_the_bits_they_use(self):
    values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 273  # to 4,095
    for split in ('train', 'test'):
      (self.root / split).mkdir()
      for name, factor in (('bright', 1), ('dark', 0.1)):
        image = Image.fromarray((values * factor).astype(np.uint16))
        image.save(self.root / split / f'{name}.png')
    dataset = self.load()
    for source in (dataset.train, dataset.test):
      for name, image in zip(source.names, source.images, strict=True):
        factor = 0.1 if name.startswith('dark') else 1
        expected = (values * factor).astype(np.uint16) >> 4
        np.testing.assert_array_equal(image[..., 0], expected)
    self.assertIn(
      '4 gray images of 16 bits hold values up to 4,095; read as 12 bits', self.lines[-1]
    )
    # One that uses the range says that the others are dark.
    Image.fromarray(values * 16).save(self.root / 'test' / 'full.png')
    dataset = self.load()
    self.assertLess(dataset.train.images.max(), 16)

  def test_dark_color_images_of_16_bits_are_reported(self):
    values = np.full((4, 4, 3), 4000)
    for name in ('0', '1'):
      (self.root / f'{name}.png').write_bytes(png16(values, 2))
    self.assertLess(self.load(test_fraction=0).train.images.max(), 16)
    self.assertIn('2 color images of 16 bits a channel hold values up to 4,095 (12', self.lines[-1])

  def test_images_that_need_a_plugin_are_not_called_other_files(self):
    self.add_classes(classes=('cat', 'dog'), each=2)
    for name in ('cat/a.HEIC', 'dog/b.heic', 'dog/c.jp2', 'dog/d.txt'):
      (self.root / name).write_bytes(b'x')
    with mock.patch('ssl_jax.data.image_file.plugin_formats', lambda: frozenset()):
      self.load(test_fraction=0)
      self.assertEqual(
        self.lines[:3],
        [
          f'{self.root}: 2 images (.heic) not read, which would need pillow-heif (pip install'
          ' pillow-heif)',
          f'{self.root}: 1 image of formats that are not read (1 .jp2); convert them',
          f'{self.root}: ignored 1 file that is no image (1 .txt)',
        ],
      )
      for path in self.root.rglob('*.png'):
        path.unlink()
      self.assert_refused(OSError, r'holds no image; .*; 2 images \(.heic\) not read, which')

  def test_a_jpeg_without_its_end(self):
    self.add('0.png')
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    image.save(self.root / '1.jpg')
    whole = (self.root / '1.jpg').read_bytes()
    (self.root / '1.jpg').write_bytes(whole[: int(0.9 * len(whole))])
    self.assertLen(self.load(test_fraction=0).train, 2)
    self.assertRegex(
      self.lines[-1], r'1\.jpg: the file ends early; \d+\.\d% of its pixels are miss'
    )
    self.assert_refused(OSError, 'ends early; .*; on_error=skip goes on with', on_error='fail')
    (self.root / '1.jpg').write_bytes(whole[:-2])
    self.load(test_fraction=0)
    self.assertEndsWith(self.lines[-1], 'the file ends early; no pixel is missing')

  def test_links_among_many_folders_end(self):
    for i in range(9):
      self.add(f'{i}/0.png')
      for j in range(9):
        if i != j:
          (self.root / f'{i}' / f'to{j}').symlink_to(self.root / f'{j}')
    self.assertLess(len(self.load(test_fraction=0).train), 9 * 9 * 9)
    self.assertLess(len(self.lines), 9)

  def test_a_folder_of_other_files_says_what_they_are(self):
    for name in ('images.zip', 'images.tar', 'README'):
      (self.root / name).write_text('x')
    message = r'holds no image; .*; ignored 3 files that are no images \(1 .tar, 1 .zip, 1 without'
    self.assert_refused(OSError, message)

  def test_trees_too_deep_for_the_system_end_in_a_line(self):
    self.add('cat/0.png')
    where = os.open(self.root / 'cat', os.O_RDONLY)
    for _ in range(25):
      os.mkdir('x' * 200, dir_fd=where)
      inner = os.open('x' * 200, os.O_RDONLY, dir_fd=where)
      os.close(where)
      where = inner
    os.close(where)
    self.assertLen(self.load(test_fraction=0).train, 1)
    self.assertIn('folder cannot be read: File name too long', self.lines[0])
    self.assertLess(len(self.lines[0]), 300)

  def test_what_is_no_image_file_ends_in_a_line(self):
    self.add_classes(classes=('cat',), each=2)
    os.mkfifo(self.root / 'cat' / 'pipe.png')
    (self.root / 'cat' / 'loop.png').symlink_to('loop.png')
    (self.root / 'cat' / 'zero.png').symlink_to('/dev/zero')
    with socket.socket(socket.AF_UNIX) as server:
      server.bind(str(self.root / 'cat' / 'socket.png'))
    self.assertLen(self.load(test_fraction=0).train, 2)
    said = [line.rpartition('.png: ')[2] for line in self.lines if line.endswith('; skipped')]
    self.assertCountEqual(
      said,
      ['no regular file; skipped'] * 3 + ['Too many levels of symbolic links; skipped'],
    )

  def test_nothing_to_train_on(self):
    self.assert_refused(OSError, r'images: holds no image; allowed files ending in .*\.bmp \.gif')
    (self.root / 'a.jpg').write_bytes(b'')
    self.assert_refused(OSError, 'images: no training image is left; allowed at least one')

  def test_no_folder(self):
    (self.root / 'a').write_text('x')
    for name, found in (('a', 'a file'), ('b', 'nothing')):
      with self.assertRaisesRegex(OSError, f'{name}: found {found}; .* allows a folder$'):
        data.load(f'folder:{self.root}/{name}')

  def test_a_folder_that_cannot_be_reached(self):
    (self.root / 'loop').symlink_to('loop')
    with self.assertRaisesRegex(OSError, '/loop: Too many levels of symbolic links$'):
      data.load(f'folder:{self.root}/loop')
    denied = PermissionError(13, 'Permission denied', 'x\ny')
    with mock.patch('pathlib.Path.stat', side_effect=denied):
      for kind in ('folder', 'npz'):
        with self.assertRaisesRegex(OSError, r'^/a\\nb: Permission denied$'):
          data.load(f'{kind}:/a\nb')

  def test_more_than_the_memory_is_refused_before_decoding(self):
    self.add('0.png', '1.png')
    message = r'found 2 images of 4000000x4000000 pixels, [\d,]+\.\d GiB, must be at most .* GiB'
    self.assert_refused(ValueError, message, image_size=4_000_000)

  def test_bombs_are_refused_among_other_images_without_a_warning(self):
    self.add_classes(classes=('cat',), each=3)
    # Between Pillow's warning and its error.
    Image.new('1', (12_000, 9_000)).save(self.root / 'cat' / 'bomb.png')
    with mock.patch('warnings.showwarning') as shown:
      dataset = self.load(test_fraction=0)
    shown.assert_not_called()
    self.assertLen(dataset.train, 3)
    self.assertIn('refused as a decompression bomb', self.lines[-2])

  def test_result_does_not_depend_on_threads(self):
    self.add_classes()
    many = self.load()
    with mock.patch.object(folder_module, '_MAX_THREADS', 1):
      one = self.load()
    np.testing.assert_array_equal(many.train.images, one.train.images)

  def assert_refused(self, kind, message, **options):
    with self.assertRaisesRegex(kind, message) as caught:
      self.load(**options)
    self.assertStartsWith(str(caught.exception), str(self.root))
    self.assertNotIn('\n', str(caught.exception))


GOLDEN_HASH = 15877141845115355372
