"""Every method on several devices, in bfloat16, and killed and resumed.

Six methods take all paths through the code that methods share, and run by default; the others with
`slow`.
"""

import functools
import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from ssl_jax import methods
from ssl_jax.training import Checkpoints
from tests.methods.tiny import FORMS, NAMES
from tests.training import killed_runs, tiny_run
from tests.training.test_loop import assert_same_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS, KILLED_AT = 4, 2
# A projector alone; a predictor and an averaged target; a queue; groups; clustering of features; a
# regularizer with a network of its own.
FAMILIES = ('simclr', 'byol', 'moco_v2', 'truncated_triplet', 'iccl', 'simclr+dsa')
OTHERS = tuple(name for name in (*NAMES, *FORMS) if name not in FAMILIES)


@pytest.fixture(
  scope='module',
  params=[*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def name(request):
  """A method, or a form of one. All tests of one follow each other and share its programs."""
  return request.param


@functools.lru_cache(maxsize=1)
def reference(name):
  """State and metrics after a few steps on one device, never interrupted."""
  return tiny_run.build(name).train(STEPS)


@pytest.fixture(scope='module')
def killed(tmp_path_factory):
  """Trains methods in one process that is killed; returns the folder of their checkpoints."""

  @functools.cache
  def train_and_kill(names):
    folder = tmp_path_factory.mktemp('killed')
    process = subprocess.Popen(
      [sys.executable, killed_runs.__file__, str(folder), str(KILLED_AT), *names],
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    try:
      done = [process.stdout.readline().strip() for _ in names]
    finally:
      process.send_signal(signal.SIGKILL)
      process.wait()
      process.stdout.close()
    assert done == list(names), done
    assert process.returncode == -signal.SIGKILL
    return folder

  return lambda name: train_and_kill(FAMILIES if name in FAMILIES else OTHERS) / name


def test_on_four_devices_as_on_one(name):
  assert_same_run(tiny_run.build(name, devices=4).train(STEPS), reference(name), atol=1e-4)


def test_in_bfloat16_close_to_float32(name):
  found, metrics = tiny_run.build(name, encoder='quarters, bfloat16').train(2)
  for row, wanted in zip(metrics, reference(name)[1][:2], strict=True):
    np.testing.assert_allclose(row['loss'], wanted['loss'], rtol=0.05, atol=0.05)
  assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {np.dtype('float32')}


def test_no_step_collapses_or_stands_still(name):
  start = tiny_run.host(tiny_run.build(name).state)
  state, metrics = reference(name)
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.params, start.params)
  for network, tree in moved.items():
    assert max(jax.tree.leaves(tree)) > 0, network
  for row in metrics:
    assert row['embedding_std'] > 0.05
    assert all(np.isfinite(value) for value in row.values()), row


def test_killed_it_resumes_byte_for_byte(name, killed):
  run = tiny_run.build(name)
  restored, step = Checkpoints(killed(name), read_only=True).restore(run.state)
  assert step == KILLED_AT
  found, _ = run.train(STEPS, restored)
  jax.tree.map(np.testing.assert_array_equal, found, reference(name)[0])


def test_accumulation_equals_the_large_batch_without_batch_norm_and_negatives():
  # Of all methods this holds for `supervised` alone, on an encoder without batch norm: the others
  # have batch norm in their heads or negatives in the batch. For them an update is the mean over
  # its batches, each with its own statistics and negatives, which test_loop.py shows.
  large = tiny_run.build('supervised', encoder='no batch norm')
  parts = tiny_run.build('supervised', encoder='no batch norm', accumulation=2, batch=8)
  rows = large.sampler.batch(0)
  start = tiny_run.host(large.state).params
  gradient = jax.jit(jax.grad(functools.partial(unaugmented_loss, large)))
  whole, first, second = (gradient(start, some) for some in (rows, rows[:8], rows[8:]))
  mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), mean, whole)
  state, _ = parts.train(1)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, start)
  assert max(jax.tree.leaves(moved)) > 0


def unaugmented_loss(run, params, rows):
  """Of rows of the images as they are, in the state at the start of a run."""
  images = run.pixels['images'][rows] / np.float32(255)
  batch = methods.Batch(images[:, None].repeat(2, axis=1), labels=run.pixels['labels'][rows])
  return run.method.loss({**run.state.variables, 'params': params}, batch, 0, run.state.key)[0]


def test_only_methods_and_losses_name_a_method():
  # View recipes bear the names of the papers they are from; recipes of linear probes do too.
  elsewhere = (
    'methods/',
    'losses/',
    'views/',
    'evaluation/probes/recipes.py',
    'config/evaluation.py',
  )
  allowed = {
    # `config` names the default, in one place.
    'simclr': {'config/run.py'},
    # Not the method: the supervised loss, a key of the measured bounds.
    'supervised': {'evaluation/negative_samples.py', 'tasks/negatives/figures.py'},
  }
  bases = [name for name in methods.names() if '+' not in name]
  quoted = re.compile(rf"""['"]({'|'.join(bases)})['"]""")
  wrong = []
  for path in sorted((ROOT / 'ssl_jax').rglob('*.py')):
    file = str(path.relative_to(ROOT / 'ssl_jax'))
    if not file.startswith(elsewhere):
      named = set(quoted.findall(path.read_text()))
      wrong += [f'{file} names {name}' for name in named if file not in allowed.get(name, ())]
  assert not wrong, wrong
