"""Checkpoints seen from outside: killed processes, a disk that is really full, two processes."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import chex
import numpy as np
import pytest

from ssl_jax.training.checkpoints.manager import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[3]

SAVE_FOR_EVER = """
import itertools, sys
import numpy as np
from ssl_jax.training.checkpoints.manager import Checkpoints
checkpoints = Checkpoints(sys.argv[1], log=lambda line: None)
state, first = checkpoints.restore({'x': np.zeros(50_000)}) or (None, -1)
assert state is None or (state['x'] == first).all()
for step in itertools.count(first + 1):
  checkpoints.save(step, {'x': np.full(50_000, float(step))})
  print(step, flush=True)
"""

FILL_THE_DISK = """
import shutil, sys
import jax
from ssl_jax.training.checkpoints.folder import CheckpointError
from ssl_jax.training.checkpoints.manager import Checkpoints
state = {'x': jax.random.normal(jax.random.key(0), (250_000,)), 'key': jax.random.key(1)}
checkpoints = Checkpoints(sys.argv[1], keep_last=5)
for step in range(9):
  try:
    checkpoints.save(step, state)
    checkpoints.finish()
  except CheckpointError as error:
    print(error)
    break
restored, found = checkpoints.restore(state)
assert (restored['x'] == state['x']).all()
assert checkpoints.steps() == list(range(step)) and found == step - 1
try:
  checkpoints.check_space(state)
except CheckpointError as error:
  print(error)
"""

TWO_PROCESSES = """
import os, sys, pathlib
folder, port, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2'
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.distributed.initialize(f'127.0.0.1:{port}', num_processes=2, process_id=rank)
from ssl_jax.training.checkpoints import manifest
from ssl_jax.training.checkpoints.folder import CheckpointError
from ssl_jax.training.checkpoints.manager import Checkpoints
from ssl_jax.training.preemption import Preemption
mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))

def state(value):
  def place(array, spec):
    return jax.make_array_from_callback(
      array.shape, NamedSharding(mesh, spec), lambda index: array[index])
  key = jax.jit(lambda: jax.random.key(3), out_shardings=NamedSharding(mesh, P()))()
  return {'rows': place(np.arange(8.0, dtype=np.float32) * value, P('data')),
          'all': place(np.full(3, value, np.float32), P()), 'key': key, 'count': np.int64(value)}

lines = []
checkpoints = Checkpoints(folder, keep_last=2, log=lines.append)
for step in (1, 2, 3):
  checkpoints.save(step, state(step), score=-step)
checkpoints.save(3, state(3), score=5.0)
checkpoints.finish()
assert checkpoints.steps() == [2, 3], checkpoints.steps()
assert checkpoints.best_step() == 3
checkpoints.finish()  # The other process has looked as well.
if rank == 0:
  (pathlib.Path(folder) / '3' / 'more').touch()
restored, found = checkpoints.restore(state(0))
assert found == 2
wanted = state(2)
for name in ('rows', 'all'):
  for a, b in zip(restored[name].addressable_shards, wanted[name].addressable_shards):
    assert (np.asarray(a.data) == np.asarray(b.data)).all()
assert restored['count'] == 2
assert (jax.random.key_data(restored['key']).addressable_data(0)
        == jax.random.key_data(jax.random.key(3))).all()
assert len(lines) == (1 if rank == 0 else 0)
checkpoints.save(3, restored)
checkpoints.finish()
assert checkpoints.restore(state(0))[1] == 3
if rank == 0:
  def full(*arguments):
    raise OSError(28, 'No space left on device')
  manifest.create = full
checkpoints.save(4, state(4))
try:
  checkpoints.finish()
  raise SystemExit('no error')
except CheckpointError as error:
  assert ('No space left' if rank == 0 else 'another process') in str(error), error
with Preemption() as preemption:
  assert not preemption.agree()
  if rank == 1:
    os.kill(os.getpid(), 15)
  assert preemption.requested == (rank == 1)
  assert preemption.agree()
print('done')
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, '-c', code, *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  )


class ProcessesTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def test_kill_at_any_moment(self):
    reached = -1
    for wait in (0.0, 0.013, 0.029):
      process = start(SAVE_FOR_EVER, self.folder)
      for _ in range(4):
        line = process.stdout.readline()
        self.assertNotEqual(line, '', '' if line else process.communicate()[1])
        started = int(line)
      time.sleep(wait)
      process.send_signal(signal.SIGKILL)
      process.communicate()
      lines = []
      checkpoints = Checkpoints(self.folder, log=lines.append)
      state, step = checkpoints.restore({'x': np.zeros(50_000)})
      np.testing.assert_array_equal(state['x'], float(step))
      # Of the saves announced all but the last two are certain to have been completed.
      self.assertGreaterEqual(step, started - 1)
      self.assertGreater(step, reached)
      reached = step
      # At most the one that was being finished is in the way, and all of the rest is cleaned up.
      self.assertLessEqual(len(lines), 1)
      self.assertLessEqual(len(list(self.folder.iterdir())), 2 + 1 + len(lines))

  def test_full_disk(self):
    if shutil.which('mount') is None:
      raise unittest.SkipTest('no mount command')
    mounting = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'none', str(self.folder)]
    if subprocess.run(mounting, capture_output=True).returncode:
      raise unittest.SkipTest('mounting is not permitted')
    try:
      process = start(FILL_THE_DISK, self.folder / 'run')
      out, err = process.communicate()
    finally:
      subprocess.run(['umount', str(self.folder)], check=True)
    self.assertEqual(process.returncode, 0, err)
    # Nothing of the libraries underneath: our two lines and no other.
    self.assertEqual(err, '')
    failed, refused = out.splitlines()
    self.assertRegex(
      failed,
      rf'^{self.folder}/run/2: checkpoint not saved: No space left on device \(0.\d MB free; up to',
    )
    self.assertRegex(refused, rf'^{self.folder}/run: 0.\d MB free on the disk, 5.\d MB needed')

  @pytest.mark.slow
  def test_two_processes(self):
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = free.getsockname()[1]
    processes = [start(TWO_PROCESSES, self.folder / 'run', port, rank) for rank in range(2)]
    for process in processes:
      self.addCleanup(process.kill)
    for process in processes:
      out, err = process.communicate(timeout=120)
      self.assertEqual(process.returncode, 0, err)
      self.assertEndsWith(out, 'done\n')
