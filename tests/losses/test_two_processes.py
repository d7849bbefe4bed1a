"""Two processes of two devices each find the value and gradient that one device finds."""

import functools
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import tempfile

import chex
import jax
import pytest

from tests.losses import tiny_encoder, two_processes, ways
from tests.losses.cases import all_cases

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


@pytest.mark.slow
class TwoProcessesTest(chex.TestCase):
  def test_equal_to_one_device(self):
    folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    port = free_port()
    processes = []
    for rank in range(two_processes.PROCESSES):
      process = subprocess.Popen(
        [sys.executable, two_processes.__file__, str(port), str(rank), str(folder / str(rank))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Where one process takes a program from the cache and the other compiles it, the order of
        # collectives may differ, and each waits for the other for ever.
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'JAX_ENABLE_COMPILATION_CACHE': 'false'},
      )
      self.addCleanup(process.kill)
      processes.append(process)
    expected = self.on_one_device()
    for process in processes:
      output, _ = process.communicate(timeout=600)
      self.assertEqual(process.returncode, 0, output)

    for rank in range(two_processes.PROCESSES):
      found = pickle.loads((folder / str(rank)).read_bytes())
      self.assertLen(found, 2)
      for way, results in found.items():
        self.assertEqual({name for name, _ in results}, {name for name, _ in expected})
        for (name, block_size), result in results.items():
          with self.subTest(rank=rank, way=way, case=name, block_size=block_size):
            chex.assert_trees_all_close(
              result, expected[name, tiny_encoder.WHOLE], rtol=1e-12, atol=1e-12
            )

  def on_one_device(self):
    with jax.enable_x64(True):
      return jax.device_get(
        ways.one_device(
          functools.partial(tiny_encoder.every_result, all_cases()),
          tiny_encoder.random_parameters(0),
          tiny_encoder.random_inputs(),
        )
      )
