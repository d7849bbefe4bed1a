"""Which checkpoints are kept, and what no damage and no failure may cost."""

import errno
import pathlib
import shutil
from unittest import mock

import jax
import jax.numpy as jnp
from absl.testing import parameterized

from ssl_jax.training.checkpoints import manager as checkpoints_lib
from ssl_jax.training.checkpoints import manifest
from ssl_jax.training.checkpoints.folder import CheckpointError
from ssl_jax.training.checkpoints.manager import Checkpoints
from tests.training.checkpoints.checkpoint_case import CheckpointsTestCase, simple

NO_SPACE = 'RESOURCE_EXHAUSTED: Error writing "x": Failed to write: No space left on device [28]'


class KeepingTest(CheckpointsTestCase):
  @parameterized.parameters(
    ({'keep_last': 1, 'keep_best': 0}, [None] * 3, [3]),
    ({'keep_last': 2, 'keep_best': 0}, [0.9, 0.1, 0.2, 0.3], [3, 4]),
    ({'keep_last': 2, 'keep_best': 1}, [0.9, 0.1, 0.2, 0.3], [1, 3, 4]),
    ({'keep_last': 1, 'keep_best': 2}, [0.5, None, 0.5, 0.4, float('nan')], [1, 3, 5]),
    ({'keep_last': 1, 'keep_best': 1}, [0.5, 0.5, 0.4], [2, 3]),
  )
  def test_last_and_best_over_restarts(self, options, scores, kept):
    for step, score in enumerate(scores, start=1):
      checkpoints = self.open(**options)
      checkpoints.save(step, simple(step), score=score)
      checkpoints.finish()
    self.assertEqual(self.open(**options).steps(), kept)
    self.assertEqual(sorted(int(path.name) for path in self.folder.iterdir()), kept)
    self.assertEqual(checkpoints.latest_step(), len(scores))
    for step in kept:
      self.assert_same(simple(step), checkpoints.restore(simple(), step=step)[0])

  def test_saving_a_step_again_only_updates_its_score(self):
    checkpoints = self.filled(1, 2)
    checkpoints.save(1, simple(99), score=0.5)
    self.assertEqual(checkpoints.best_step(), 1)
    checkpoints.save(1, simple(99))
    self.assertEqual(self.open().best_step(), 1)
    self.assert_same(simple(1), checkpoints.restore(simple(), step=1)[0])

  def test_nothing_goes_before_the_next_manifest_is_on_disk(self):
    checkpoints = self.filled(1, keep_last=1, keep_best=0)
    before = []
    create = manifest.create

    def spy(folder, *arguments):
      before.append(checkpoints.steps())
      return create(folder, *arguments)

    with mock.patch.object(manifest, 'create', spy):
      checkpoints.save(2, simple(2))
      checkpoints.finish()
    self.assertEqual(before, [[1]])
    self.assertEqual(checkpoints.steps(), [2])

  def test_poll_does_not_wait_and_finishes_by_itself(self):
    checkpoints = self.open()
    self.assertTrue(checkpoints.poll())
    checkpoints.save(1, simple(1))
    checkpoints._thread.join()
    self.assertTrue(checkpoints.poll())
    self.assertEqual(checkpoints.steps(), [1])

  def test_leftovers_of_killed_processes_go_and_other_things_stay(self):
    self.filled(1)
    for name in ('2.orbax-checkpoint-tmp', '3.deleted', 'notes', '007'):
      (self.folder / name).mkdir()
    looking = self.open(read_only=True)
    self.assertTrue((self.folder / '2.orbax-checkpoint-tmp').exists())
    self.assertEqual(looking.steps(), [1])
    self.assertEqual(self.open().steps(), [1])
    self.assertEqual({path.name for path in self.folder.iterdir()}, {'1', 'notes', '007'})

  def test_read_only_creates_nothing_and_saves_nothing(self):
    checkpoints = self.open(read_only=True)
    self.assertIsNone(checkpoints.restore(simple()))
    self.assertFalse(self.folder.exists())
    with self.assertRaisesRegex(ValueError, 'read_only'):
      checkpoints.save(1, simple())


def largest_file(folder: pathlib.Path) -> pathlib.Path:
  files = [path for path in folder.rglob('*') if path.is_file() and path.name != 'manifest.json']
  return max(files, key=lambda path: path.stat().st_size)


def truncate(folder):
  path = largest_file(folder)
  path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
  path = largest_file(folder)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def unfinish(folder):
  (folder / 'manifest.json').unlink()


class DamageTest(CheckpointsTestCase):
  @parameterized.named_parameters(
    ('truncated', truncate, 'bytes instead of'),
    ('flipped_bit', flip, 'was altered'),
    ('missing', lambda folder: largest_file(folder).unlink(), 'is missing'),
    ('method_state', lambda folder: (folder / 'more').touch(), 'more is not in'),
    ('unfinished', unfinish, 'has no manifest'),
  )
  def test_the_one_before_is_used_and_the_run_goes_on(self, damage, words):
    self.filled(1, 2, 3)
    damage(self.folder / '3')
    checkpoints = self.open(keep_last=1)
    self.assert_restores(checkpoints, 2)
    self.assertLen(self.lines, 1)
    self.assertRegex(self.lines[0], f'^{self.folder}/3: checkpoint not used: .*{words}')
    self.assertEqual(checkpoints.steps(), [2])
    with self.assertRaisesRegex(CheckpointError, words):
      checkpoints.restore(simple(), step=3)
    # A damaged newer one must not count among the last and push out the good ones.
    self.assertEqual(checkpoints.steps(), [2])
    checkpoints.save(3, simple(3))
    checkpoints.finish()
    self.assert_restores(self.open(), 3)
    self.assertLen(self.lines, 1)

  def test_all_damaged(self):
    self.filled(1, 2)
    truncate(self.folder / '1')
    flip(self.folder / '2')
    self.assertIsNone(self.open().restore(simple()))
    self.assertLen(self.lines, 2)

  def test_going_back_with_newer_ones_about(self):
    checkpoints = self.filled(1, 9, keep_last=1, keep_best=0)
    flip(self.folder / '9')
    checkpoints.restore(simple())
    checkpoints.save(2, simple(2))
    self.assert_restores(checkpoints, 2)


class FailureTest(CheckpointsTestCase):
  @parameterized.named_parameters(
    ('words', ValueError(NO_SPACE), r'No space left on device \(.* free; up to 0.0 MB needed\)$'),
    ('number', OSError(errno.ENOSPC, 'x'), 'No space left'),
    ('quota', OSError(errno.EDQUOT, 'x'), 'Disk quota exceeded'),
    ('other', ValueError('bro\n  ken'), 'checkpoint not saved: bro ken$'),
  )
  def test_failed_saves_cost_no_checkpoint(self, error, words):
    checkpoints = self.filled(1, 2)
    wait = checkpoints._storage.wait

    def fail(*arguments):
      wait()  # Nothing may still be writing when the failure is cleaned up.
      raise error

    for where, name in (
      (checkpoints._storage, 'save'),
      (checkpoints._storage, 'wait'),
      (checkpoints_lib.manifests, 'create'),
    ):
      with mock.patch.object(where, name, fail):
        with self.assertRaisesRegex(CheckpointError, f'^{self.folder}/3: .*{words}') as caught:
          checkpoints.save(3, simple(3))
          checkpoints.finish()
        self.assertNotIn('\n', str(caught.exception))
        self.assertIs(caught.exception.__cause__, error)
      checkpoints.finish()  # An error is raised once.
      self.assertEqual(checkpoints.steps(), [1, 2])
      self.assert_restores(checkpoints, 2)
    checkpoints.save(3, simple(3))
    self.assert_restores(checkpoints, 3)

  def test_failure_in_the_background_surfaces_at_the_next_poll_or_save(self):
    checkpoints = self.filled(1)
    for then in (checkpoints.poll, lambda: checkpoints.save(5, simple(5))):
      with mock.patch.object(manifest, 'create', side_effect=ValueError(NO_SPACE)):
        checkpoints.save(4, simple(4))
        checkpoints._thread.join()
      with self.assertRaisesRegex(CheckpointError, '/4: checkpoint not saved: No space left'):
        then()
      self.assertEqual([path.name for path in self.folder.iterdir()], ['1'])

  @parameterized.parameters(
    ({'keep_last': 0}, 'keep_last: found 0'), ({'keep_best': -1}, 'keep_best: found -1')
  )
  def test_arguments(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      self.open(**options)
    with self.assertRaisesRegex(ValueError, 'step: found -1, must be a whole number from 0 to'):
      self.open().save(-1, simple())
    with self.assertRaisesRegex(ValueError, 'step: found 2147483648, must be'):
      self.open().save(2**31, simple())

  def test_folder_that_cannot_be_written(self):
    self.folder.write_text('a file')
    with self.assertRaisesRegex(CheckpointError, f'^{self.folder}: is or lies under a file'):
      self.open()
    with self.assertRaisesRegex(CheckpointError, 'is or lies under a file'):
      Checkpoints(self.folder / 'below')
    self.assertEqual(self.folder.read_text(), 'a file')
    with self.assertRaisesRegex(CheckpointError, '^/proc/none: cannot write checkpoints here: '):
      Checkpoints('/proc/none')
    denied = PermissionError(errno.EACCES, 'Permission denied')
    with (
      mock.patch('tempfile.TemporaryFile', side_effect=denied),
      self.assertRaisesRegex(CheckpointError, 'cannot write checkpoints here: Permission denied'),
    ):
      Checkpoints(self.folder.parent / 'other')

  def test_check_space(self):
    template = {'x': jax.ShapeDtypeStruct((250_000,), jnp.float32), 'key': jax.random.key(0)}
    checkpoints = self.open(keep_last=2, keep_best=1)
    usage = shutil.disk_usage(self.folder)
    with mock.patch('shutil.disk_usage', return_value=usage._replace(free=4_000_032)):
      checkpoints.check_space(template)
    with (
      mock.patch('shutil.disk_usage', return_value=usage._replace(free=4_000_031)),
      self.assertRaisesRegex(CheckpointError, '4.0 MB needed for 4 checkpoints of 1.0 MB'),
    ):
      checkpoints.check_space(template)
    checkpoints.save(1, {'x': jax.random.normal(jax.random.key(0), (250_000,)), 'key': 0})
    checkpoints.finish()
    with mock.patch('shutil.disk_usage', return_value=usage._replace(free=3_500_000)):
      checkpoints.check_space(template)
