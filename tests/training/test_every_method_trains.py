"""Every method, held together: devices, kills, precision, accumulation, and who knows its name."""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import chex
import jax
import numpy as np
from absl.testing import parameterized

from ssl_jax import methods
from ssl_jax.training import Checkpoints
from tests.methods.tiny import FORMS, NAMES
from tests.training import killed_runs, tiny_run
from tests.training.test_loop import assert_same_run, place

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS, KILLED_AT = 4, 2
TRAINED = (*NAMES, *FORMS)


def build(name, **settings):
  return tiny_run.build(name, recipe=tiny_run.QUICK_RECIPE, **settings)


@functools.cache
def whole(name):
  """The run on one device, its state at the start, and its end, never interrupted."""
  run = build(name)
  start = tiny_run.host(run.state)
  return run, start, run.train(STEPS)


def reference(name):
  """State and metrics after a few steps on one device."""
  return whole(name)[2]


class EveryMethodTrainsTest(chex.TestCase):
  @parameterized.parameters(*TRAINED)
  def test_on_four_devices_as_on_one(self, name):
    chex.assert_devices_available(8, 'cpu')
    assert_same_run(build(name, devices=4).train(STEPS), reference(name), atol=1e-4)

  @parameterized.parameters(*TRAINED)
  def test_in_bfloat16_close_to_float32(self, name):
    found, metrics = build(name, encoder='quarters, bfloat16').train(2)
    expected = reference(name)[1][:2]
    for row, wanted in zip(metrics, expected, strict=True):
      np.testing.assert_allclose(row['loss'], wanted['loss'], rtol=0.05, atol=0.05)
    for leaf in jax.tree.leaves(found.params):
      self.assertEqual(leaf.dtype, np.float32)

  @parameterized.parameters(*TRAINED)
  def test_no_step_collapses_or_stands_still(self, name):
    _, start, (state, metrics) = whole(name)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.params, start.params)
    for network, tree in moved.items():
      self.assertGreater(max(jax.tree.leaves(tree)), 0, network)
    for row in metrics:
      self.assertGreater(row['feature_std'], 0.05)
      self.assertTrue(all(np.isfinite(value) for value in row.values()), row)


class KilledTest(chex.TestCase):
  """One process trains all methods and is killed; each resumes to the same bytes."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    process = subprocess.Popen(
      [sys.executable, killed_runs.__file__, str(cls.folder), str(KILLED_AT), *TRAINED],
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    cls.addClassCleanup(process.kill)
    done = [process.stdout.readline().strip() for _ in TRAINED]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert done == list(TRAINED), done
    assert process.returncode == -signal.SIGKILL

  @parameterized.parameters(*TRAINED)
  def test_resumes_byte_for_byte(self, name):
    run, start, (expected, _) = whole(name)
    checkpoints = Checkpoints(self.folder / name, read_only=True)
    restored, step = checkpoints.restore(place(start, run))
    self.assertEqual(step, KILLED_AT)
    found, _ = run.train(STEPS, restored)
    chex.assert_trees_all_equal(found, expected)


class AccumulationTest(chex.TestCase):
  def test_equals_the_large_batch_without_batch_norm_and_negatives(self):
    # Of all methods this holds for `supervised` alone, on an encoder without batch norm: the others
    # have batch norm in their heads or negatives in the batch. For them an update is the mean over
    # its batches, each with its own statistics and negatives, which test_loop.py shows.
    large = build('supervised', encoder='no batch norm')
    parts = build('supervised', encoder='no batch norm', accumulation=2, batch=8)
    rows = large.order.batch(0)
    start = jax.tree.map(np.asarray, tiny_run.host(large.state).params)
    plain = lambda run, rows: gradient(run, rows)
    whole = plain(large, rows)
    first, second = plain(large, rows[:8]), plain(large, rows[8:])
    mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
    chex.assert_trees_all_close(mean, whole, rtol=1e-5, atol=1e-7)
    state, _ = parts.train(1)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, start)
    self.assertGreater(max(jax.tree.leaves(moved)), 0)


def gradient(run, rows):
  """Of the loss of un-augmented rows, in the state at the start."""
  images = np.asarray(run.pixels['images'])[rows] / np.float32(255)
  batch = methods.Batch(
    np.stack([images, images], axis=1), labels=np.asarray(run.pixels['labels'])[rows]
  )
  variables = run.state.variables

  def loss(params):
    return run.method.loss({**variables, 'params': params}, batch, 0, run.state.key)[0]

  return jax.grad(loss)(run.state.params)


class NamesTest(chex.TestCase):
  @parameterized.parameters(*(name for name in methods.names() if '+' not in name))
  def test_only_methods_and_losses_know_it(self, name):
    # As code would name it: quoted. `config` alone names the default, in one place.
    quoted = re.compile(rf"""['"]{name}['"]""")
    knowing = {
      str(path.relative_to(ROOT / 'ssl_jax'))
      for path in (ROOT / 'ssl_jax').rglob('*.py')
      # View recipes bear the names of the papers they are from.
      if path.relative_to(ROOT / 'ssl_jax').parts[0] not in ('methods', 'losses', 'views')
      and quoted.search(path.read_text())
    }
    # Recipes of linear probes do too.
    knowing -= {'evaluation/probe_presets.py', 'config/measuring.py'}
    allowed = {
      'simclr': {'config/__init__.py'},
      # Not the method: the supervised loss, a key of the measured bounds.
      'supervised': {'evaluation/negative_samples.py', 'tasks/negatives_figures.py'},
    }
    self.assertLessEqual(knowing, allowed.get(name, set()))
