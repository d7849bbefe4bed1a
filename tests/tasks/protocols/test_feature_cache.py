"""The feature cache: files are complete or absent, and one that cannot be written ends nothing."""

import errno
import os
import pathlib
import shutil
import time
from unittest import mock

import chex
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.tasks.protocols.feature_cache import FeatureCache

OWNER, OTHER = 'a' * 64, 'b' * 64
DIGEST = '0123456789abcdef' * 4
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
NAME = f'trained-test-{OWNER[:16]}-{DIGEST[:16]}.npy'


def make():
  return VALUES.copy()


def never():
  raise AssertionError('made again')


class FeatureCacheTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, tmp_path):
    self.folder = tmp_path / 'evaluation' / 'features'
    self.lines = []

  def cache(self):
    """As a process that starts anew opens it."""
    return FeatureCache(self.folder, self.lines.append)

  def get(self, make=make, name='trained-test', owner=OWNER, digest=DIGEST):
    self.lines.clear()
    found = self.cache().get(name, owner, digest, make)
    np.testing.assert_array_equal(found, VALUES)
    self.assertEqual(found.dtype, np.float32)
    with self.assertRaisesRegex(ValueError, 'read-only'):
      found[0] = 0
    return found

  def files(self):
    return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []

  def test_made_once(self):
    self.get()
    self.assertEqual(self.lines, ['features  trained-test: 4 x 3'])
    self.assertEqual(self.files(), [NAME])
    np.testing.assert_array_equal(np.load(self.folder / NAME), VALUES)
    self.assertIsInstance(self.get(never), np.memmap)
    self.assertEqual(self.lines, [f'features  trained-test: 4 x 3 from {self.folder / NAME}'])

  def test_asked_for_twice(self):
    cache = self.cache()
    first = cache.get('x', OWNER, DIGEST, make)
    self.assertIs(cache.get('x', OWNER, DIGEST, never), first)
    self.assertLen(self.lines, 1)

  def test_name_owner_and_digest_tell_files_apart(self):
    calls = [
      {},
      {'name': 'trained'},
      {'name': 'trained-persons-query-flipped-encoder'},
      {'owner': OTHER},
      {'digest': DIGEST[::-1]},
    ]
    for given in calls:
      self.get(**given)
    self.assertLen(self.files(), len(calls))
    for given in calls:
      self.get(never, **given)

  def test_an_interrupted_pass_leaves_nothing(self):
    for kind in (RuntimeError, KeyboardInterrupt):
      with self.assertRaises(kind):
        self.cache().get('trained-test', OWNER, DIGEST, mock.Mock(side_effect=kind))
      with mock.patch.object(np, 'save', self.half(kind())), self.assertRaises(kind):
        self.cache().get('trained-test', OWNER, DIGEST, make)
      self.assertEmpty(self.files())
    self.get()

  def half(self, error):
    """Writes half of a file, and raises."""

    def save(file, array):
      file.write(array.tobytes()[:24])
      self.assertLen(self.files(), 1)
      self.assertNotEqual(self.files(), [NAME])
      raise error

    return save

  @parameterized.parameters(
    b'', b'no array', b'PK\x03\x04 no archive', b'\x93NUMPY\x01\x00\x08\x00({"[\'\\x,'
  )
  def test_foreign_bytes_are_made_again(self, contents):
    self.folder.mkdir(parents=True)
    (self.folder / NAME).write_bytes(contents)
    self.get()
    self.get(never)

  def test_cut_and_flipped_files_are_made_again(self):
    self.get()
    whole = (self.folder / NAME).read_bytes()
    for length in (1, 9, 64, 127, 128, len(whole) - 1):
      (self.folder / NAME).write_bytes(whole[:length])
      self.get()
    rng = np.random.default_rng(0)
    for _ in range(60):
      damaged = bytearray(whole)
      for place in rng.integers(0, 100, 3):
        damaged[place] ^= 1 << rng.integers(8)
      (self.folder / NAME).write_bytes(damaged)
      # Where the header still is one, no error, and nothing but float32 rows.
      found = self.cache().get('trained-test', OWNER, DIGEST, make)
      self.assertEqual((found.dtype, found.ndim), (np.float32, 2))

  @parameterized.parameters(
    (VALUES.astype(np.float64),), (VALUES.ravel(),), (VALUES[None],), (np.array([{}], object),)
  )
  def test_other_arrays_are_made_again(self, array):
    self.folder.mkdir(parents=True)
    np.save(self.folder / NAME, array)
    self.get()
    self.get(never)

  @parameterized.parameters(0, 1, 2)
  def test_a_folder_in_whose_place_is_a_file(self, depth):
    place = [self.folder, self.folder.parent, self.folder / NAME][depth]
    if depth == 2:
      place.mkdir(parents=True)
      message = 'features  kept in memory: .*Is a directory'
    else:
      place.parent.mkdir(exist_ok=True)
      place.write_text('in the way')
      message = 'features  kept in memory: .*: (File exists|Not a directory)'
    self.get()
    self.assertRegex(self.lines[-1], message)
    cache = self.cache()
    cache.get('trained-test', OWNER, DIGEST, make)
    cache.tidy()
    self.assertTrue(place.exists())
    self.assertNotIn('partial', ' '.join(self.files()))

  def test_a_read_only_disk(self):
    self.folder.mkdir(parents=True)

    def refuse(path, *args, **kwargs):
      raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    # There, deleting what is not there is refused as well.
    with mock.patch.multiple(pathlib.Path, open=refuse, unlink=refuse, mkdir=refuse):
      self.get()
    self.assertEqual(
      self.lines[-1], f'features  kept in memory: {self.folder}: Read-only file system'
    )

  @parameterized.parameters(errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
  def test_a_full_disk(self, number):
    full = OSError(number, os.strerror(number))
    for failing in (mock.patch.object(np, 'save', self.half(full)), mock.patch('os.fsync')):
      with failing as step:
        if isinstance(step, mock.Mock):
          step.side_effect = full
        found = self.get()
      self.assertNotIsInstance(found, np.memmap)
      self.assertEqual(
        self.lines[-1], f'features  kept in memory: {self.folder}: {os.strerror(number)}'
      )
      self.assertEmpty(self.files())

  def test_tidy_deletes_those_of_other_encoders_alone(self):
    self.get()
    self.get(owner=OTHER, name='x')
    self.get(owner=OTHER, name='trained-test-projector')
    foreign = ['notes.txt', 'my-own-features.npy', f'{OTHER[:16]}.npy', 'a-b.npy']
    for name in foreign:
      (self.folder / name).write_bytes(b'x')
    cache = self.cache()
    cache.tidy()
    self.assertLen(self.files(), 3 + len(foreign))
    cache.get('another', OWNER, DIGEST, make)
    cache.tidy()
    mine = [NAME, NAME.replace('trained-test', 'another')]
    self.assertCountEqual(self.files(), [*foreign, *mine])
    self.get(never)

  def test_tidy_deletes_what_killed_processes_left(self):
    cache = self.cache()
    cache.get('trained-test', OWNER, DIGEST, make)
    young, old = (self.folder / f'.{NAME}.{number}.partial' for number in (1, 2))
    for path in (young, old):
      path.write_bytes(b'x')
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    cache.tidy()
    self.assertEqual(self.files(), [young.name, NAME])

  def test_tidy_without_a_folder(self):
    cache = self.cache()
    cache.tidy()
    cache.get('x', OWNER, DIGEST, make)
    shutil.rmtree(self.folder)
    cache.tidy()
    self.assertFalse(self.folder.exists())
