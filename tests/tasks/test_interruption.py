"""A run that is killed, stopped or resumed elsewhere ends as one that was left alone."""

import pathlib
import random
import re
import signal
import time

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import config as config_lib
from ssl_jax.tasks.run import folder
from ssl_jax.tasks.run.experiment import build_experiment
from ssl_jax.training import Checkpoints, state
from tests.tasks import small_runs


def final_state(run_dir: pathlib.Path) -> dict:
  """The newest checkpoint of a run as NumPy arrays, and its step."""
  config = config_lib.parse([f'--flagfile={run_dir / folder.CONFIG}'])
  parts = build_experiment(config)
  template = state.create(parts.method, parts.optimizer, 0, config.view_size, parts.mesh)
  kept = Checkpoints(run_dir / folder.CHECKPOINTS, read_only=True)
  restored, step = kept.restore(template)
  flat = jax.tree_util.tree_flatten_with_path(restored)[0]
  as_array = lambda leaf: np.asarray(
    jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
  )
  return {'step': step, **{jax.tree_util.keystr(path): as_array(leaf) for path, leaf in flat}}


def assert_same_bytes(found: dict, expected: dict) -> None:
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert np.asarray(found[name]).tobytes() == np.asarray(value).tobytes(), name


@pytest.mark.slow
class KilledTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path
    self.images = small_runs.write_images(tmp_path / 'images.npz')

  def run_to_the_end(self, name, *flags, method='simclr'):
    argv = small_runs.arguments(self.images, self.folder / name, *flags, method=method)
    status, out, err = small_runs.finish(small_runs.start(argv))
    self.assertEqual(status, 0, err)
    return out

  @parameterized.parameters(*small_runs.METHODS)
  def test_sigkill_costs_nothing(self, method):
    # Epochs of 4 steps, checkpoints every 3: those kept are nearly all from within an epoch.
    long = ('--steps=90', '--checkpoint.every_steps=3')
    self.run_to_the_end('whole', *long, method=method)
    argv = small_runs.arguments(self.images, self.folder / 'killed', *long, method=method)
    process = small_runs.start(argv)
    manifests = self.folder / 'killed' / folder.CHECKPOINTS
    small_runs.wait_for(lambda: any(manifests.glob('*/manifest.json')))
    time.sleep(random.Random(method).uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    status, _, _ = small_runs.finish(process)
    self.assertEqual(status, -signal.SIGKILL, 'the run ended before it was killed')
    out = self.run_to_the_end('killed', *long, method=method)
    self.assertRegex(out, r'resume    from step [1-9]')
    assert_same_bytes(final_state(self.folder / 'killed'), final_state(self.folder / 'whole'))

  def test_sigterm_saves_and_the_same_command_goes_on(self):
    long = ('--steps=1000', '--report.every_steps=5', '--checkpoint.every_steps=0')
    self.run_to_the_end('whole', *long)
    process = small_runs.start(small_runs.arguments(self.images, self.folder / 'stopped', *long))
    metrics = self.folder / 'stopped' / folder.METRICS
    small_runs.wait_for(lambda: metrics.exists() and metrics.read_text().count('\n') > 2)
    process.send_signal(signal.SIGTERM)
    known = _rows(metrics)[-1]['step']
    status, out, err = small_runs.finish(process)
    self.assertEqual(status, 143, err)
    stopped = int(re.search(r'stopped   at step (\d+)', out)[1])
    # Metrics are read one interval late, and the signal takes a moment to arrive.
    self.assertBetween(stopped, known, known + 4 * 5)
    out = self.run_to_the_end('stopped', *long)
    self.assertIn('resume    from step', out)
    assert_same_bytes(final_state(self.folder / 'stopped'), final_state(self.folder / 'whole'))
    steps = [row['step'] for row in _rows(metrics)]
    self.assertEqual(steps, sorted(steps))

  def test_resumes_on_another_number_of_devices(self):
    # A gentle learning rate: a great one doubles the rounding of the sums with every step.
    gentle = '--optimizer.learning_rate=0.001'
    self.run_to_the_end('whole', gentle)
    self.run_to_the_end('moved', gentle, '--devices.num_cpu_devices=4')
    # Stop half way by hiding the later checkpoints, then go on with one device.
    for newer in (self.folder / 'moved' / folder.CHECKPOINTS).iterdir():
      if newer.name.isdigit() and int(newer.name) > 9:
        newer.rename(self.folder / f'hidden-{newer.name}')
    out = self.run_to_the_end('moved', gentle)
    self.assertIn('resume    from step 9', out)
    found, expected = final_state(self.folder / 'moved'), final_state(self.folder / 'whole')
    for name, value in expected.items():
      np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-5, err_msg=name)


def _rows(path):
  from ssl_jax.reporting import read_metrics

  return read_metrics(path)
