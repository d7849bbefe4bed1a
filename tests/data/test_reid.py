"""Reid in files and folders, and every way they can be wrong."""

import sys
import zipfile
from unittest import mock

import numpy as np
from absl.testing import parameterized
from PIL import Image

from ssl_jax import data
from tests.data.temporary_folder import TemporaryFolderTest

RNG = np.random.default_rng(0)
ARRAYS = {
  'query_images': RNG.integers(0, 256, (2, 6, 3, 3), np.uint8),
  'query_ids': np.array([7, 3], np.uint8),
  'query_cameras': np.array([1, 2], np.int16),
  'gallery_images': RNG.integers(0, 256, (3, 8, 4, 3), np.uint8),
  'gallery_ids': np.array([3, -1000, 7]),
  'gallery_cameras': np.array([1, 2, 2]),
}


class PersonsTest(TemporaryFolderTest):
  def refused(self, source, kind, message):
    with self.assertRaisesRegex(kind, message) as caught:
      data.load_reid(source)
    line = str(caught.exception)
    self.assertNotIn('\n', line)
    return line

  @parameterized.parameters(
    '', 'npz', 'npz:', 'folder', 'folder:', 'Folder:x', 'tar:x.npz', 'persons.npz'
  )
  def test_other_sources(self, source):
    line = self.refused(source, ValueError, 'must be npz:PATH or folder:PATH$')
    self.assertStartsWith(line, f'source: found {source!r}, ')


class ArraysTest(PersonsTest):
  def setUp(self):
    super().setUp()
    self.path = self.folder / 'persons.npz'

  def refused_arrays(self, kind, message, **changes):
    arrays = {**ARRAYS, **changes}
    np.savez(self.path, **{name: x for name, x in arrays.items() if x is not None})
    return self.refused_file(kind, message)

  def refused_file(self, kind, message):
    line = self.refused(f'npz:{self.path}', kind, message)
    self.assertStartsWith(line, f'{self.path}: ')

  def test_all_arrays(self):
    np.savez_compressed(self.path, **ARRAYS, others=np.zeros(3))
    persons = data.load_reid(f'npz:{self.path}')
    for found, (name, expected) in zip(persons, ARRAYS.items(), strict=True):
      np.testing.assert_array_equal(found, expected, name)
      self.assertEqual(found.dtype, np.uint8 if 'images' in name else np.int64)
    self.assertEqual(persons.gallery_ids.tolist(), [3, -1000, 7])

  @parameterized.parameters(*ARRAYS)
  def test_missing_arrays(self, name):
    self.refused_arrays(
      ValueError,
      f"found no array '{name}' but .*, must be arrays of the names query_im",
      **{name: None},
    )

  @parameterized.parameters(
    ('query_images', np.zeros((2, 6, 3, 3)), r'found float64 \[2, 6, 3, 3\], must be uint8 \[n,'),
    ('query_images', np.zeros((2, 6, 3), np.uint8), r'found uint8 \[2, 6, 3\], must be'),
    ('gallery_images', np.zeros((3, 6, 3, 1), np.uint8), r'found uint8 \[3, 6, 3, 1\], must be'),
    ('gallery_images', np.zeros((0, 6, 3, 3), np.uint8), r'found uint8 \[0, 6, 3, 3\], must be'),
    ('gallery_images', np.zeros((3, 0, 3, 3), np.uint8), r'found uint8 \[3, 0, 3, 3\], must be'),
    ('query_ids', np.zeros(2), r'found float64 \[2\], must be integers \[2\]'),
    ('query_ids', np.array(['a', 'b']), r'found <U1 \[2\], must be integers'),
    ('gallery_ids', np.zeros(2, int), r'found int64 \[2\], must be integers \[3\]'),
    ('gallery_cameras', np.zeros((3, 1), int), r'found int64 \[3, 1\], must be integers'),
    ('query_cameras', np.ones(2, bool), r'found bool \[2\], must be integers'),
    ('query_ids', np.array([1, 2**63], np.uint64), r'found 9223372036854775808, must be below'),
  )
  def test_wrong_arrays(self, name, array, message):
    self.refused_arrays(ValueError, f'{name}: {message}', **{name: array})

  @parameterized.parameters('cut', 'empty', 'text', 'npy', 'flipped', 'pickled', 'member')
  def test_damaged_files(self, damage):
    np.savez(self.path, **ARRAYS)
    whole = self.path.read_bytes()
    message = 'is damaged: .' if damage in ('flipped', 'member') else 'no complete .npz'
    kind = OSError
    match damage:
      case 'cut':
        self.path.write_bytes(whole[: len(whole) // 2])
      case 'empty':
        self.path.write_bytes(b'')
      case 'text':
        self.path.write_bytes(b'no arrays\n' * 99)
      case 'npy':
        with self.path.open('wb') as file:
          np.save(file, ARRAYS['query_images'])
      case 'flipped':
        self.path.write_bytes(whole[:200] + bytes(255 - x for x in whole[200:230]) + whole[230:])
      case 'pickled':
        np.savez(self.path, **{**ARRAYS, 'query_ids': np.array([{}, {}], object)})
        kind, message = ValueError, "'query_ids': found pickled Python objects, which are never"
      case 'member':
        with zipfile.ZipFile(self.path, 'w') as archive:
          for name in ARRAYS:
            archive.writestr(name, 'text')
    self.refused_file(kind, message)

  def test_no_file(self):
    self.refused_file(FileNotFoundError, 'there is no such file; .* allows a .npz file$')
    self.path.mkdir()
    self.refused_file(OSError, 'found no regular file')

  def test_the_home_folder(self):
    np.savez(self.path, **ARRAYS)
    with mock.patch.dict('os.environ', HOME=str(self.folder)):
      self.assertLen(data.load_reid('npz:~/persons.npz').gallery, 3)


class FoldersTest(PersonsTest):
  def setUp(self):
    super().setUp()
    self.add('query/0002_c1s1_000451_03.jpg', 'gallery/0002_c2s1_000301_01.jpg')

  def add(self, *names):
    for name in names:
      path = self.folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new('RGB', (4, 8), (len(name), 0, 0)).save(path, format='PNG')

  def load(self):
    return data.load_reid(f'folder:{self.folder}')

  def refused_folder(self, kind, message, path=''):
    line = self.refused(f'folder:{self.folder}', kind, message)
    self.assertStartsWith(line, f'{self.folder}/{path}')

  def test_names_say_who_and_where(self):
    self.add('gallery/-1_c3s2_01.jpg', 'gallery/0000_c6s1.png', 'gallery/b/1501_c12.JPG')
    persons = self.load()
    self.assertEqual((persons.query_ids.tolist(), persons.query_cameras.tolist()), ([2], [1]))
    self.assertEqual(persons.gallery_ids.tolist(), [-1, 0, 2, 1501])
    self.assertEqual(persons.gallery_cameras.tolist(), [3, 6, 2, 12])
    for images, count in ((persons.query, 1), (persons.gallery, 4)):
      self.assertEqual((images.shape, images.dtype), ((count, 256, 128, 3), np.uint8))
    # Images stay with their names.
    lengths = [len(f'gallery/{x}') for x in ('-1_c3s2_01.jpg', '0000_c6s1.png')]
    self.assertEqual(persons.gallery[:2, 0, 0, 0].tolist(), lengths)

  def test_images_are_resized_as_pillow_does(self):
    small = Image.fromarray(RNG.integers(0, 256, (40, 30), np.uint8))
    small.save(self.folder / 'query' / '0009_c1.png')
    expected = np.asarray(small.convert('RGB').resize((128, 256), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(self.load().query[1], expected)

  def test_images_are_turned_and_composited_as_everywhere(self):
    image = Image.fromarray(
      np.kron(RNG.integers(0, 256, (4, 8)), np.ones((32, 32))).astype(np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(self.folder / 'query' / '0009_c1.png', exif=exif)
    Image.new('LA', (8, 8), (0, 0)).save(self.folder / 'query' / '0010_c1.png')
    found = self.load().query
    upright = image.transpose(Image.Transpose.ROTATE_270).convert('RGB').resize((128, 256), 3)
    np.testing.assert_allclose(found[1].astype(int), np.asarray(upright).astype(int), atol=2)
    self.assertTrue((found[2] == 255).all())

  def test_folders_of_other_names(self):
    (self.folder / 'gallery').rename(self.folder / 'bounding_box_test')
    (self.folder / 'query').rename(self.folder / 'Query')
    self.assertLen(self.load().gallery, 1)
    self.add('gallery/0002_c2.png')
    with self.assertRaisesRegex(
      ValueError, 'found bounding_box_test/ and gallery/, must be one of'
    ):
      self.load()

  def test_other_and_hidden_files(self):
    self.add('query/._0002_c1s1_1.jpg', 'gallery/.cache/0001_c1.png', 'gallery/.png')
    for name in ('Thumbs.db', 'readme.txt', '0003_c1.mat'):
      (self.folder / 'gallery' / name).write_bytes(b'x')
    (self.folder / 'gallery' / '0004_c1.png').mkdir()
    self.assertEqual(self.load().gallery_ids.tolist(), [2])

  @parameterized.parameters(
    '0002.jpg', 'c1_0002.jpg', '_c1.jpg', '0002_c.jpg', '0002_cx.png', 'x_c1.jpg', '2-_c1.jpg'
  )
  def test_names_without_identity_and_camera(self, name):
    self.add(f'gallery/{name}')
    message = 'found a name without identity and camera, must be one that begins with IDENTITY_cC'
    self.refused_folder(ValueError, message, f'gallery/{name}: ')

  @parameterized.parameters('9' * 19 + '_c1.jpg', '1_c' + '9' * 19 + '.jpg', '٢_c1.jpg')
  def test_numbers_out_of_range(self, name):
    self.add(f'gallery/{name}')
    self.refused_folder(ValueError, 'found a name without identity', f'gallery/{name}: ')

  @parameterized.parameters('empty', 'text', 'cut', 'postscript')
  def test_damaged_images(self, damage):
    path = self.folder / 'gallery' / '0003_c1.jpg'
    Image.fromarray(RNG.integers(0, 256, (64, 32, 3), np.uint8)).save(path)
    # Pillow would hand the last to an external program.
    contents = {'empty': b'', 'text': b'x' * 99, 'cut': path.read_bytes()[:700]}
    contents['postscript'] = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 8\n%%EndComments\n'
    path.write_bytes(contents[damage])
    message = {
      'empty': 'empty file',
      'cut': r'the file ends early, \d\d% of its pixels are missing; allowed 25%$',
    }.get(damage, 'no image of a format that is read')
    self.refused_folder(OSError, message, 'gallery/0003_c1.jpg: ')

  def test_links_to_nowhere(self):
    (self.folder / 'query' / '0001_c1.jpg').symlink_to(self.folder / 'none')
    self.refused_folder(OSError, 'broken link', 'query/0001_c1.jpg: ')

  def test_empty_and_missing_folders(self):
    for name in ('gallery', 'query'):
      for file in (self.folder / name).iterdir():
        file.unlink()
      self.refused_folder(OSError, r'holds no image; allowed files ending in .*\.bmp', f'{name}: ')
      (self.folder / name).rmdir()
      self.refused_folder(NotADirectoryError, 'there is no such folder; .* query/ and', f'{name}: ')
      self.add(f'{name}/1_c1.png')
      if name == 'gallery':
        self.load()

  def test_the_home_folder(self):
    with mock.patch.dict('os.environ', HOME=str(self.folder)):
      self.assertLen(data.load_reid('folder:~').gallery, 1)

  def test_without_pillow(self):
    with mock.patch.dict(sys.modules, {'PIL': None}):
      self.refused(f'folder:{self.folder}', ValueError, 'must be npz:PATH .* without Pillow: pip')
