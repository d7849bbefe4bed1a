"""Whole runs small enough for a test: 64 images of 8 pixels in a file, a ResNet of 4 channels."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from tests import compiling

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BASE = (
  '--data.image_size=8',
  '--data.batch_size=16',
  '--model.name=resnet10',
  '--model.width=4',
  '--steps=10',
  '--knn.k=5',
  '--knn.every_epochs=0',
  '--report.every_steps=2',
  '--report.html=false',
  '--report.tensorboard=false',
  '--checkpoint.every_steps=3',
)
METHODS = {
  'simclr': ('--method.name=simclr',),
  'byol': (
    '--method.name=byol',
    '--method.projector_hidden=16',
    '--method.projector_out=8',
    '--method.predictor_hidden=16',
  ),
  'truncated_triplet': (
    '--method.name=truncated_triplet',
    '--method.projector_hidden=16',
    '--method.projector_out=8',
    '--method.predictor_hidden=16',
    '--method.rank_low=2',
    '--method.rank_high=4',
  ),
}


def write_images(path: pathlib.Path, labeled: bool = True) -> pathlib.Path:
  """Writes two classes that differ in brightness, 64 training and 16 test images."""
  rng = np.random.default_rng(0)
  arrays = {}
  for split, count in (('train', 64), ('test', 16)):
    labels = np.arange(count) % 2
    coarse = rng.integers(0, 128, (count, 2, 2, 3)) + 100 * labels[:, None, None, None]
    arrays[f'{split}_images'] = coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    if labeled:
      arrays[f'{split}_labels'] = labels.astype(np.int32)
  np.savez(path, **arrays)
  return path


def arguments(images: pathlib.Path, run_dir: pathlib.Path, *flags: str, method: str = 'simclr'):
  """The command line of a small run, without the program."""
  return [*BASE, *METHODS[method], f'--data.source=npz:{images}', f'--run_dir={run_dir}', *flags]


def start(argv: list[str], **environment: str) -> subprocess.Popen:
  """Starts `experiments/run.py` in a process of its own, on one device."""
  env = {**os.environ, 'XLA_FLAGS': compiling.xla_flags(), **environment}
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'experiments' / 'run.py'), *argv],
    cwd=ROOT,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen, seconds: float = 240) -> tuple[int, str, str]:
  """Waits; returns exit status, standard output and standard error."""
  out, err = process.communicate(timeout=seconds)
  return process.returncode, out, err


def wait_for(condition, seconds: float = 180) -> None:
  """Waits until `condition()` holds."""
  limit = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > limit:
      raise TimeoutError('the run did not get there')
    time.sleep(0.01)
