"""The record of a run: its data are compared when it resumes, and it never begins anew unasked."""

import errno
import os
import pathlib
import tempfile
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import config as config_lib
from ssl_jax import data
from ssl_jax.config.flags import UsageError
from ssl_jax.sweeps import planning
from ssl_jax.tasks.run import record
from ssl_jax.training import Checkpoints


def fingerprint(count=6):
  source = data.ArraySource(np.zeros((count, 4, 4, 3), np.uint8), np.zeros(count, np.int32))
  return data.fingerprint_dataset(data.Dataset('x', source, source, ('a',)))


class RecordTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.run_dir = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.path = self.run_dir / record.FILE_NAME
    self.lines = []

  def read(self):
    return record.read(self.run_dir, self.lines.append)

  def checkpoints(self, *steps, run=''):
    kept = Checkpoints(self.run_dir / 'checkpoints', run=run, log=self.lines.append)
    for step in steps:
      kept.save(step, {'a': np.zeros(3)})
    kept.finish()
    return kept

  def test_round_trip(self):
    change = {'step': 4, 'changes': ['the labels']}
    for known in (record.Record('a'), record.Record('b', fingerprint(), (change,), 7)):
      known.write(self.run_dir)
      self.assertEqual(self.read(), known)
    self.assertEmpty(self.lines)

  def test_of_a_run_that_begins_or_goes_on(self):
    began = record.Record('a').begun(fingerprint(), None, [])
    self.assertEqual(began, record.Record('a', fingerprint()))
    went_on = began.begun(fingerprint(7), 4, ['pixels'])
    change = {'step': 4, 'changes': ['pixels']}
    self.assertEqual(went_on, record.Record('a', fingerprint(7), (change,), 4))
    self.assertEqual(went_on.begun(fingerprint(7), 9, []), went_on)
    self.assertEqual(went_on.begun(fingerprint(), None, []), began)

  def test_any_flipped_bit_is_noticed(self):
    record.Record('b', fingerprint(), (), 7).write(self.run_dir)
    content, known = self.path.read_bytes(), self.read()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
      damaged = bytearray(content)
      damaged[place] ^= 1 << int(rng.integers(8))
      self.path.write_bytes(damaged)
      self.lines.clear()
      found = self.read()
      if found is None:
        self.assertRegex(
          self.lines[0], f'^warning   {self.path} is .*; the images are not compared'
        )
      else:  # white space
        self.assertEqual(found, known)

  @parameterized.parameters(b'', b'\xff\x00', b'[]', b'{}', b'{"run": 3}', b'[' * 100_000)
  def test_junk_is_named_and_costs_the_comparison_alone(self, content):
    self.path.write_bytes(content)
    self.assertIsNone(self.read())
    self.assertLen(self.lines, 1)
    self.assertLess(len(self.lines[0]), 300)

  def test_a_disk_that_is_away_is_no_missing_record(self):
    def away(*_):
      raise OSError(errno.EIO, os.strerror(errno.EIO))

    with (
      mock.patch.object(os, 'open', away),
      self.assertRaisesRegex(OSError, f'Input/output error.*{self.path}'),
    ):
      self.read()

  def test_a_lost_record_takes_the_run_of_its_checkpoints(self):
    self.assertRegex(record.read_or_make(self.run_dir, self.lines.append).run, '^[0-9a-f]{16}$')
    self.checkpoints(3, run='mine')
    self.assertEqual(record.read_or_make(self.run_dir, self.lines.append).run, 'mine')

  def compare(self, known, current, *, resumes=True, accept=False):
    return record.changes_of_data(
      known, current, resumes=resumes, accept=accept, log=self.lines.append
    )

  def test_changed_data(self):
    known, other = record.Record('a', fingerprint()), fingerprint(7)
    self.assertEmpty(self.compare(known, fingerprint()))
    # A run that has saved nothing begins with what there is now.
    self.assertEmpty(self.compare(known, other, resumes=False))
    self.assertEmpty(self.lines)
    with self.assertRaisesRegex(
      UsageError,
      '^--data.source: the images have changed since the run began: 7 training images instead of '
      '6; 7 test images instead of 6; .*--data.accept_changes$',
    ):
      self.compare(known, other)
    self.assertLen(self.compare(known, other, accept=True), 2)
    self.assertRegex(self.lines[0], 'changed since the run began, and accepted: 7 training')

  def test_a_run_of_an_older_version_resumes_with_a_line(self):
    self.assertEmpty(self.compare(record.Record('a'), fingerprint()))
    self.assertRegex(self.lines[0], '^data      not compared')

  def refuse(self, known, kept, *, accept=False):
    record.refuse_to_start_over(known, kept, self.run_dir, accept=accept)

  def test_where_no_checkpoint_can_be_used(self):
    kept, known = self.checkpoints(3), record.Record('a')
    self.refuse(known, kept)  # nothing was looked for and refused
    manifest = self.run_dir / 'checkpoints' / '3' / 'manifest.json'
    manifest.write_text(manifest.read_text().replace('float', 'floaT'))
    self.assertIsNone(kept.restore({'a': np.zeros(3)}))
    with self.assertRaisesRegex(
      UsageError, 'none of .*/checkpoints can be used; --checkpoint.start'
    ):
      self.refuse(known, kept)
    self.refuse(known, kept, accept=True)

  def test_where_all_checkpoints_are_gone(self):
    kept = self.checkpoints()
    self.refuse(record.Record('a'), kept)
    for known, result in ((record.Record('a', first_checkpoint=3), False), (None, True)):
      if result:
        (self.run_dir / 'result.json').write_text('{}')
      with self.assertRaisesRegex(UsageError, 'holds none that is whole; is a disk away'):
        self.refuse(known or record.Record('a'), kept)
      self.refuse(known or record.Record('a'), kept, accept=True)

  def test_a_reader_is_told_that_checkpoints_are_gone(self):
    words = lambda: str(record.without_checkpoint('--run_dir', self.run_dir))
    self.assertEqual(
      words(), f'--run_dir: found no checkpoint in {self.run_dir}, must be a run that has saved one'
    )
    record.Record('a', first_checkpoint=3).write(self.run_dir)
    kept = self.run_dir / 'checkpoints'
    told = f'--run_dir: the run has saved checkpoints, and {kept} '
    self.assertEqual(words(), f'{told}is no folder; is a disk away?')
    kept.touch()
    self.assertEqual(words(), f'{told}is no folder; is a disk away?')
    kept.unlink()
    self.checkpoints()
    self.assertEqual(words(), f'{told}holds none that is whole; is a disk away?')

  def test_consents_are_not_stored(self):
    flags = ['--data.accept_changes', '--checkpoint.start_over', '--seed=4']
    config = config_lib.parse(flags)
    self.assertEqual(config.stored, config_lib.parse(['--seed=4']))
    self.assertEmpty(config_lib.differences(config_lib.parse(['--seed=4']), config))

  def test_a_finished_run_of_a_sweep_with_other_images_is_not_finished(self):
    images = self.run_dir / 'a.npz'
    config = config_lib.parse([f'--data.source=npz:{images}', '--data.image_size=8'])
    run = planning.Run('a', 0, self.run_dir, (), config)
    (self.run_dir / 'config.flags').write_text(config_lib.to_flags(config))
    (self.run_dir / 'result.json').write_text('{"knn": {}}')
    self.assertTrue(planning.has_finished(run))  # of an older version

    def write(value):
      planning._fingerprint.cache_clear()
      np.savez(images, train_images=np.full((20, 8, 8, 3), value, np.uint8))

    write(1)
    began = data.fingerprint_dataset(config.data.load(self.lines.append))
    record.Record('a', began).write(self.run_dir)
    self.assertTrue(planning.has_finished(run))
    write(2)
    self.assertFalse(planning.has_finished(run))
    with self.assertRaisesRegex(UsageError, 'the pixels of 18 of 18 training images'):
      planning.finished(run)
