"""A checkpoint's manifest: any change to any byte of it is noticed."""

import errno
import json
import os
import pathlib
import tempfile
from unittest import mock

import chex
from absl.testing import parameterized

from ssl_jax.training import atomic, sealed
from ssl_jax.training.checkpoints import manifest

ARRAYS = {'params/kernel': ((3, 4), 'bfloat16'), 'key': ((), 'key<fry>')}
# echo -n | sha256sum, the standard's digest of the empty message.
EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'


def truncate(folder):
  (folder / 'd' / 'data').write_bytes(b'content'[:-1])


def alter(folder):
  (folder / 'd' / 'data').write_bytes(b'cOntent')


def remove(folder):
  (folder / 'd' / 'data').unlink()


def add(folder):
  (folder / 'd' / 'more').write_bytes(b'')


def edit(**changes):
  """Content that was never written, with the digest that belongs to it."""

  def apply(folder):
    path = folder / manifest.FILE_NAME
    sealed.write(path, {**sealed.read(path)[0], **changes})

  return apply


def without_digest(folder):
  path = folder / manifest.FILE_NAME
  path.write_text(json.dumps(sealed.read(path)[0]))


def swap_for_a_pipe(folder):
  (folder / manifest.FILE_NAME).unlink()
  os.mkfifo(folder / manifest.FILE_NAME)


def loop(folder):
  (folder / 'd' / 'again').symlink_to(folder)


class ManifestTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.folder = root / '40'
    (self.folder / 'd').mkdir(parents=True)
    (self.folder / 'd' / 'data').write_bytes(b'content')
    (self.folder / 'empty').write_bytes(b'')
    self.written = manifest.create(self.folder, 40, 0.75, ARRAYS)

  def test_round_trip(self):
    self.assertEqual(manifest.verify(self.folder), self.written)
    self.assertEqual(manifest.read(self.folder), self.written)
    self.assertEqual(self.written.arrays, ARRAYS)
    self.assertEqual(self.written.score, 0.75)
    self.assertEqual(set(self.written.files), {'d/data', 'empty'})
    self.assertEqual(self.written.files['d/data'].bytes, 7)
    self.assertEqual(self.written.files['empty'].sha256, EMPTY_SHA256)

  @parameterized.named_parameters(
    ('truncated', truncate, 'd/data has 6 bytes instead of 7', True),
    ('altered', alter, 'd/data was altered', False),
    ('missing', remove, 'd/data is missing', True),
    ('extra', add, 'd/more is not in manifest.json', True),
    ('no_manifest', lambda folder: (folder / 'manifest.json').unlink(), 'has no manifest', True),
    ('torn', lambda folder: (folder / 'manifest.json').write_text('{"ste'), 'unreadable', True),
    ('binary', lambda folder: (folder / 'manifest.json').write_bytes(b'\xff'), 'unreadable', True),
    ('a_list', lambda folder: (folder / 'manifest.json').write_text('[]'), 'malformed', True),
    ('no_files', edit(files=None), 'malformed', True),
    ('future', edit(version=3), 'version .3.; this release reads 1 and 2', True),
    ('deep', lambda folder: (folder / 'manifest.json').write_text('[' * 10**6), 'unreadable', True),
    ('pipe', swap_for_a_pipe, 'no regular file', True),
    ('loop', loop, 'd/again is not in manifest.json', True),
    ('no_digest', without_digest, 'no SHA-256 of its own', True),
    ('of_another', edit(step=41), 'step 41', True),
  )
  def test_damage(self, damage, words, seen_by_read):
    damage(self.folder)
    with self.assertRaisesRegex(manifest.CorruptCheckpointError, words):
      manifest.verify(self.folder)
    if seen_by_read:
      with self.assertRaisesRegex(manifest.CorruptCheckpointError, words):
        manifest.read(self.folder)
    else:
      self.assertEqual(manifest.read(self.folder), self.written)

  def test_a_manifest_of_version_1_has_no_digest(self):
    edit(version=1)(self.folder)
    without_digest(self.folder)
    self.assertEqual(manifest.verify(self.folder), self.written)

  def test_of_another_run(self):
    written = manifest.create(self.folder, 40, None, ARRAYS, 'mine')
    self.assertEqual(manifest.verify(self.folder), written)
    for run in ('', 'mine'):
      self.assertEqual(manifest.require_run(written, run), written)
    with self.assertRaisesRegex(manifest.CorruptCheckpointError, 'another run') as caught:
      manifest.require_run(written, 'yours')
    self.assertTrue(caught.exception.foreign)

  @parameterized.parameters(errno.EIO, errno.EACCES, errno.ESTALE)
  def test_a_disk_that_is_away_is_no_damage(self, number):
    def away(*_, **__):
      raise OSError(number, os.strerror(number))

    for target, name in ((atomic.os, 'open'), (manifest.os, 'walk'), (pathlib.Path, 'open')):
      with mock.patch.object(target, name, away), self.assertRaises(OSError) as caught:
        manifest.verify(self.folder)
      self.assertEqual(caught.exception.errno, number)

  def test_interrupted_update_of_the_manifest_is_no_damage(self):
    (self.folder / '.manifest.json.123.partial').write_text('{"st')
    self.assertEqual(manifest.verify(self.folder), self.written)

  def test_data_reaches_the_disk_before_the_manifest(self):
    events = []
    (self.folder / manifest.FILE_NAME).unlink()
    with (
      mock.patch.object(manifest.os, 'fsync', lambda descriptor: events.append('fsync')),
      mock.patch.object(sealed, 'atomic_write', lambda path, data: events.append('manifest')),
    ):
      manifest.create(self.folder, 40, None, ARRAYS)
    # Two files, and the folders d, 40 and the one above.
    self.assertEqual(events, ['fsync'] * 5 + ['manifest'])


class AtomicWriteTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / 'file'

  @parameterized.parameters((b'\x00\xff', b'\x00\xff'), ('Gr\u00f6\u00dfe', b'Gr\xc3\xb6\xc3\x9fe'))
  def test_content(self, data, expected):
    atomic.atomic_write(self.path, 'old')
    atomic.atomic_write(str(self.path), data)
    self.assertEqual(self.path.read_bytes(), expected)

  @parameterized.parameters('fsync', 'replace')
  def test_failure_leaves_the_old_content_and_nothing_else(self, at):
    atomic.atomic_write(self.path, 'old')
    where = atomic.os if at == 'fsync' else atomic.pathlib.Path
    with (
      mock.patch.object(where, at, side_effect=OSError('no')),
      self.assertRaisesRegex(OSError, 'no'),
    ):
      atomic.atomic_write(self.path, 'new')
    self.assertEqual(self.path.read_text(), 'old')
    self.assertEqual(list(self.path.parent.iterdir()), [self.path])
