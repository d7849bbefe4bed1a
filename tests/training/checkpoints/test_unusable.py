"""Checkpoints that cannot be used: a flipped bit, another run, a disk that is away, a deletion."""

import errno
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
from absl.testing import parameterized

from ssl_jax.training.checkpoints import folder as checkpoint_folder
from ssl_jax.training.checkpoints import manifest, storage
from ssl_jax.training.checkpoints.folder import CheckpointError
from tests.training.checkpoints.checkpoint_case import CheckpointsTestCase, simple

AWAY = (errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOTCONN)


def fails(number, below='', call=None):
  """Raises the error for paths with `below` in them, and else does as `call`."""

  def failing(path, *arguments, **options):
    if call is None or below in str(path):
      raise OSError(number, os.strerror(number))
    return call(path, *arguments, **options)

  return failing


class FlippedBitTest(CheckpointsTestCase):
  def test_in_any_file_leads_to_the_checkpoint_before_and_is_named(self):
    self.filled(1, 2)
    newest = self.folder / '2'
    files = [path for path in newest.rglob('*') if path.is_file()]
    self.assertIn(newest / 'manifest.json', files)
    rng = np.random.default_rng(0)
    reader = self.open(read_only=True)
    for path in sorted(files):
      content = path.read_bytes()
      drawn = rng.integers(0, len(content), 24 if path.name == 'manifest.json' else 2)
      for place in {0, len(content) - 1, *drawn.tolist()} if content else ():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        self.lines.clear()
        state, step = reader.restore(simple())
        # White space between the numbers of a manifest is not part of what it says.
        if step == 2:
          self.assertEqual((path.name, content[place : place + 1].strip()), ('manifest.json', b''))
          self.assertEmpty(self.lines)
        else:
          self.assertRegex(self.lines[0], f'^{newest}: checkpoint not used: ')
        self.assert_same(simple(step), state)
      path.write_bytes(content)
    self.assert_restores(reader, 2)

  def test_a_score_is_not_believed(self):
    checkpoints = self.filled(1, 2)
    checkpoints.save(1, simple(1), score=0.5)
    path = self.folder / '2' / 'manifest.json'
    path.write_text(path.read_text().replace('"score": null', '"score": 0.99'))
    self.assertEqual(self.open(read_only=True).best_step(), 1)


class AnotherRunTest(CheckpointsTestCase):
  def test_its_checkpoint_is_named_and_neither_used_nor_deleted(self):
    checkpoints = self.filled(1, 9, run='theirs', keep_last=9)
    shutil.rmtree(self.folder / '1')
    mine = self.filled(3, 4, run='mine', keep_last=1, keep_best=0)
    self.assertEqual(mine.steps(), [4])
    self.assert_restores(mine, 4)
    self.assertEqual(
      self.lines, [f'{self.folder}/9: checkpoint not used: it was saved by another run']
    )
    self.assertEqual(mine.refused(), [9])
    with self.assertRaisesRegex(CheckpointError, 'another run'):
      mine.restore(simple(), step=9)
    self.assert_restores(checkpoints, 9)

  def test_the_run_of_the_newest(self):
    self.assertEqual(self.filled(1).run_of_newest(), '')
    self.assertEqual(self.filled(2, run='mine').run_of_newest(), 'mine')
    # One that does not say is used by every run.
    shutil.rmtree(self.folder / '2')
    self.assert_restores(self.open(run='yours'), 1)


class DiskAwayTest(CheckpointsTestCase):
  @parameterized.parameters(*AWAY)
  def test_is_reported_and_nothing_older_is_taken(self, number):
    self.filled(1, 2)
    words = f'cannot be read: {os.strerror(number)}'
    where = [
      (checkpoint_folder.os, 'scandir', fails(number)),
      (pathlib.Path, 'open', fails(number)),
      (manifest.os, 'walk', fails(number)),
      (os, 'open', fails(number, 'manifest.json', os.open)),
    ]
    for target, name, failing in where:
      with (
        mock.patch.object(target, name, failing),
        self.assertRaisesRegex(CheckpointError, f'^{self.folder}.*: {words}'),
      ):
        self.open(read_only=True).restore(simple())
    self.assertEmpty(self.lines)

  def test_what_cannot_be_read_is_not_deleted(self):
    checkpoints = self.filled(1, 2, 3, keep_last=3)
    checkpoints.keep_last = 1
    with mock.patch.object(os, 'open', fails(errno.EIO, '/1/manifest.json', os.open)):
      checkpoints.save(4, simple(4))
      checkpoints.finish()
    self.assertEqual(checkpoints.steps(), [1, 4])

  def test_a_link_to_a_disk_that_is_away(self):
    self.folder.symlink_to(self.folder.parent / 'disk')
    with self.assertRaisesRegex(CheckpointError, f'^{self.folder}: a link to .*, which is not the'):
      self.open()
    self.assertIsNone(self.open(read_only=True).latest_step())


class DeletedMeanwhileTest(CheckpointsTestCase):
  def delete_once(self, where, name, step, then=lambda: None):
    """Deletes a checkpoint before or after the first call about it."""
    call = getattr(where, name)

    def deleting(*arguments):
      found = call(*arguments) if name == 'verify' else None
      path = self.folder / str(step)
      if path in arguments and path.exists():
        shutil.rmtree(path)
        then()
      return found if name == 'verify' else call(*arguments)

    return mock.patch.object(where, name, deleting)

  def test_the_folder_is_listed_again(self):
    writer = self.filled(1, 2, 3, keep_last=9)
    add = lambda: (writer.save(5, simple(5)), writer.finish())
    cases = [
      (manifest, 'verify', 3, lambda: None, 2),
      (storage.ArrayStorage, 'restore', 2, add, 5),
      (manifest, 'read', 5, lambda: None, 1),
    ]
    for where, name, step, then, expected in cases:
      reader = self.open(read_only=True)
      with self.delete_once(where, name, step, then):
        self.assert_restores(reader, expected)
    self.assertEmpty(self.lines)


class LeftBehindTest(CheckpointsTestCase):
  def test_is_deleted_and_what_is_not_ours_stays(self):
    self.filled(1)
    left = ['2.orbax-checkpoint-tmp-3', '4.deleted']
    foreign = ['mine.deleted', '007', 'notes']
    for name in (*left, *foreign):
      (self.folder / name).mkdir()
    (self.folder / '99999999999999999999').symlink_to('99999999999999999999')
    (self.folder / '5.deleted').touch()
    (self.folder / '6.deleted').symlink_to('notes')
    (self.folder / '7.deleted').symlink_to('7.deleted')
    partial = self.folder / '1' / '.manifest.json.77.partial'
    partial.touch()
    self.assert_restores(self.open(), 1)
    names = {path.name for path in self.folder.iterdir()}
    self.assertEqual(names, {'1', '99999999999999999999', *foreign})
    self.assertFalse(partial.exists())

  def test_what_stands_in_the_place_of_a_checkpoint_is_named_at_the_start(self):
    self.filled(1)
    path = self.folder / '6'
    for make in (
      path.touch,
      lambda: os.mkfifo(path),
      lambda: path.symlink_to('6'),
      lambda: path.symlink_to('none'),
    ):
      make()
      with self.assertRaisesRegex(CheckpointError, f'^{path}: is no folder, as a check'):
        self.open()
      self.assert_restores(self.open(read_only=True), 1)
      path.unlink()

  def test_a_link_to_a_checkpoint_is_used_and_deleted_as_a_link(self):
    self.filled(1, 2)
    elsewhere = self.folder.parent / 'elsewhere'
    (self.folder / '1').rename(elsewhere)
    (self.folder / '1').symlink_to(elsewhere)
    checkpoints = self.open(keep_last=2, keep_best=0)
    self.assertEqual(checkpoints.steps(), [1, 2])
    checkpoints.save(3, simple(3))
    checkpoints.finish()
    self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ['2', '3'])
    self.assertTrue((elsewhere / 'manifest.json').exists())
