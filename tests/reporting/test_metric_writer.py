"""Metrics on disk: valid JSON, resuming, torn lines, full disks, TensorBoard."""

import errno
import json
import math
import os
import pathlib
import sys
import tempfile
from unittest import mock

import chex
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.reporting import MetricWriter, read_metrics


def steps(path):
  return [row['step'] for row in read_metrics(path)]


def read_events(folder):
  """(step, name, value) of all event files, by the record format: length, check, bytes, check."""
  from tensorboardX.proto.event_pb2 import Event

  found = []
  for path in sorted(
    folder.glob('events.out.tfevents.*'), key=lambda path: path.stat().st_mtime_ns
  ):
    data, at = path.read_bytes(), 0
    while at < len(data):
      size = int.from_bytes(data[at : at + 8], 'little')
      event = Event.FromString(data[at + 12 : at + 12 + size])
      at += 16 + size
      found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
      if event.HasField('session_log'):
        found.append((event.step, 'START', event.session_log.status))
  return found


class MetricWriterTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.run_dir = pathlib.Path(folder.name) / 'new' / 'run'
    self.path = self.run_dir / 'metrics.jsonl'

  def test_metrics_of_version_0_1_have_the_names_of_today(self):
    self.run_dir.mkdir(parents=True)
    row = {'step': 3, 'knn': 0.5, 'meter_rank_me': 7.0, 'meter_chain_bound': 1.5, 'host_loss': None}
    self.path.write_text(json.dumps(row) + '\n')
    (found,) = read_metrics(self.run_dir)
    names = ['step', 'knn', 'spectrum/rank_me', 'bound_chain/bound', 'base_loss']
    self.assertEqual(list(found), names)
    self.assertEqual(found['spectrum/rank_me'], 7.0)

  def write(self, *numbers):
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      for step in numbers:
        writer.write(step, {'loss': step / 8})

  def test_one_json_object_a_line_at_once(self):
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      writer.write(1, {'loss': jnp.float32(0.5), 'knn': np.float64(0.25), 'count': 3})
      row = json.loads(self.path.read_text())
      self.assertEqual((row['step'], row['loss'], row['knn'], row['count']), (1, 0.5, 0.25, 3.0))
      self.assertGreater(row['time'], 1.6e9)
      writer.write(np.int64(2), {'loss': 0.25})
    self.assertLen(self.path.read_text().splitlines(), 2)
    self.assertEqual(steps(self.run_dir), [1, 2])

  @parameterized.parameters(math.nan, math.inf, -math.inf)
  def test_non_finite_values_are_null_and_read_as_nan(self, value):
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      writer.write(1, {'loss': value})

    def refuse(word):
      raise AssertionError(f'{word} is no JSON')

    self.assertIsNone(json.loads(self.path.read_text(), parse_constant=refuse)['loss'])
    self.assertTrue(math.isnan(read_metrics(self.path)[0]['loss']))

  @parameterized.parameters((0, []), (3, [1, 3]), (4, [1, 3]), (99, [1, 3, 5, 5]))
  def test_truncate_after(self, step, expected):
    self.write(1, 3, 5, 5)
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      writer.truncate_after(step)
      self.assertEqual(steps(self.path), expected)
      writer.write(7, {'loss': 1.0})
    self.assertEqual(steps(self.path), [*expected, 7])
    self.assertEqual([path.name for path in self.run_dir.iterdir()], ['metrics.jsonl'])

  @parameterized.parameters('{"step": 9, "loss": 1.', '{"step": 9, "loss": 1.5}', '\0\0\0')
  def test_a_torn_last_line_is_cut_off(self, tail):
    self.write(1, 2)
    with self.path.open('a') as file:
      file.write(tail)
    self.write(3)
    self.assertEqual(steps(self.path), [1, 2, 3])
    for line in self.path.read_text().splitlines():
      json.loads(line)

  def test_a_damaged_line_costs_itself_only(self):
    self.write(1, 2, 3)
    lines = self.path.read_bytes().splitlines(keepends=True)
    self.path.write_bytes(lines[0] + b'\xff\0 {\n[1]\n' + lines[2])
    self.assertEqual(steps(self.path), [1, 3])
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      writer.truncate_after(2)
    self.assertEqual(steps(self.path), [1])

  def test_full_disk_names_the_file_and_keeps_the_rows(self):
    self.write(1)
    writer = MetricWriter(self.run_dir, tensorboard=False)
    whole = writer._file

    class Full:
      """Takes ten bytes, and then has no room."""

      room = 10

      def write(self, data):
        if not self.room:
          raise OSError(errno.ENOSPC, 'No space left on device')
        taken, self.room = self.room, 0
        return whole.write(data[:taken])

      def __getattr__(self, name):
        return getattr(whole, name)

    writer._file = Full()
    with self.assertRaisesRegex(OSError, r'No space left on device.*metrics\.jsonl'):
      writer.write(2, {'loss': 1.0})
    writer.close()
    self.assertTrue(self.path.read_bytes().endswith(b'\n'))
    self.assertEqual(steps(self.path), [1])

  def test_failed_truncation_keeps_the_old_rows(self):
    self.write(1, 2, 3)
    writer = MetricWriter(self.run_dir, tensorboard=False)
    full = OSError(errno.ENOSPC, 'No space left on device')
    with (
      mock.patch.object(os, 'fsync', side_effect=full),
      self.assertRaisesRegex(OSError, r'metrics\.jsonl'),
    ):
      writer.truncate_after(1)
    self.assertEqual([path.name for path in self.run_dir.iterdir()], ['metrics.jsonl'])
    writer.write(4, {'loss': 1.0})
    writer.close()
    self.assertEqual(steps(self.path), [1, 2, 3, 4])

  def test_unwritable_folder(self):
    self.run_dir.parent.mkdir(parents=True)
    self.run_dir.write_text('a file in the way')
    with self.assertRaisesRegex(OSError, str(self.run_dir)):
      MetricWriter(self.run_dir)

  def test_wrong_values(self):
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      with self.assertRaisesRegex(ValueError, r"metrics\['z'\]: found \(3,\), must be one number"):
        writer.write(1, {'z': np.ones(3)})
      with self.assertRaisesRegex(ValueError, r"found the name 'time'"):
        writer.write(1, {'time': 1.0})
    self.assertEqual(self.path.read_bytes(), b'')

  def test_tensorboard_events(self):
    with MetricWriter(self.run_dir) as writer:
      writer.write(1, {'loss': 0.5})
      self.assertEqual(read_events(self.run_dir), [(1, 'loss', 0.5)])
      writer.write(2, {'loss': 0.25})
      writer.truncate_after(1)
      writer.write(2, {'loss': 0.125})
    self.assertEqual(
      read_events(self.run_dir),
      [(1, 'loss', 0.5), (2, 'loss', 0.25), (2, 'START', 1), (2, 'loss', 0.125)],
    )

  def test_without_tensorboard_installed(self):
    hidden = {name: None for name in sys.modules if name.startswith('tensorboardX')}
    without = mock.patch.dict(sys.modules, hidden | {'tensorboardX': None})
    with without, MetricWriter(self.run_dir) as writer:
      writer.write(1, {'loss': 0.5})
      writer.write(2, {'loss': 0.5})
    self.assertEqual(steps(self.path), [1, 2])
    self.assertEqual([path.name for path in self.run_dir.iterdir()], ['metrics.jsonl'])
