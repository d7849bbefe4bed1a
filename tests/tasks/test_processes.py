"""Two processes of two devices each train the run that one process of four devices trains."""

import re
import signal
import socket

import chex
import numpy as np
import pytest

from ssl_jax.reporting import read_metrics
from tests.tasks import small_runs


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


@pytest.mark.slow
class ProcessesTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path
    self.images = small_runs.write_images(tmp_path / 'images.npz')

  def run_in(self, name, processes, *flags):
    """The metrics of a run in so many processes, and what the first of them printed."""
    together = (
      f'--devices.coordinator_address=127.0.0.1:{free_port()}',
      '--devices.connect_seconds=60',
      f'--devices.num_processes={processes}',
    )
    running = []
    for number in range(processes):
      alone = together if processes > 1 else ()
      share = (f'--devices.process_id={number}', f'--devices.num_cpu_devices={4 // processes}')
      argv = small_runs.arguments(self.images, self.folder / name, *alone, *share, *flags)
      running.append(small_runs.start(argv))
    results = [small_runs.finish(process) for process in running]
    for status, _, err in results:
      self.assertEqual(status, 0, err)
    return read_metrics(self.folder / name), results

  def test_a_signal_to_one_makes_all_save_at_the_same_step(self):
    flags = ('--steps=100000', '--checkpoint.every_steps=0', '--report.every_steps=5')
    together = (
      f'--devices.coordinator_address=127.0.0.1:{free_port()}',
      '--devices.connect_seconds=60',
      '--devices.num_processes=2',
    )
    running = []
    for number in range(2):
      share = (f'--devices.process_id={number}', '--devices.num_cpu_devices=2')
      argv = small_runs.arguments(self.images, self.folder / 'run', *together, *share, *flags)
      running.append(small_runs.start(argv))
    metrics = self.folder / 'run' / 'metrics.jsonl'
    small_runs.wait_for(lambda: metrics.exists() and b'"loss"' in metrics.read_bytes())
    running[1].send_signal(signal.SIGUSR1)
    results = [small_runs.finish(process) for process in running]
    # The one that was told, and the one that learned of it.
    self.assertEqual([status for status, _, _ in results], [128 + 15, 128 + signal.SIGUSR1])
    step = re.search(r'stopped   at step (\d+)', results[0][1])[1]
    self.assertTrue((self.folder / 'run' / 'checkpoints' / step / 'manifest.json').exists())

  def test_same_losses_and_one_report(self):
    gentle = ('--optimizer.learning_rate=0.001', '--report.html=true')
    expected, _ = self.run_in('one', 1, *gentle)
    found, results = self.run_in('whole', 2, *gentle)
    losses = lambda rows: {row['step']: row['loss'] for row in rows if 'loss' in row}
    self.assertEqual(losses(found).keys(), losses(expected).keys())
    for step, loss in losses(expected).items():
      np.testing.assert_allclose(losses(found)[step], loss, rtol=1e-4, err_msg=str(step))
    self.assertTrue((self.folder / 'whole' / 'report.html').exists())
    # The second process says nothing of its own.
    self.assertNotIn('kNN', results[1][1])
    self.assertIn('kNN', results[0][1])

    # One process goes on with what two have saved: here, finds it finished.
    resumed, _ = self.run_in('whole', 1, *gentle)
    self.assertEqual(losses(resumed), losses(found))
