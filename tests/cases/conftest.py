"""Tests of single faults that users met, each through what they did: flags, a folder, a call.

A fault that is still there is marked `xfail(strict=True)`: mending it fails the test until the mark
is gone. Where a fault shows in some runs only, the mark is not strict.
"""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests import compiling

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = (
  '--data.image_size=8',
  '--model.name=resnet10',
  '--model.width=4',
  '--data.batch_size=8',
  '--report.html=false',
)


class Ended(NamedTuple):
  """Exit status of a process, and all that it printed."""

  status: int
  text: str


class Program:
  """The program, run in a folder as a user would, on one device."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder

  def start(self, *flags: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
      [sys.executable, str(ROOT / 'experiments' / 'run.py'), *TINY, *flags],
      cwd=self.folder,
      env={**os.environ, 'XLA_FLAGS': compiling.xla_flags(), **environment},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      errors='replace',
    )

  def finish(self, process: subprocess.Popen, seconds: float = 240) -> Ended:
    try:
      text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
      process.kill()
      return Ended(-1, 'did not end: ' + process.communicate()[0])
    return Ended(process.returncode, text)

  def __call__(self, *flags: str, **environment: str) -> Ended:
    return self.finish(self.start(*flags, **environment))


@pytest.fixture
def program(tmp_path):
  return Program(tmp_path)


@pytest.fixture
def write_images(tmp_path):
  """Writes so many PNGs into each class folder of a folder below the temporary one."""

  def write(name: str, count: int, classes='.') -> pathlib.Path:
    rng = np.random.default_rng(0)
    for number, label in enumerate(classes):
      folder = tmp_path / name / label
      folder.mkdir(parents=True, exist_ok=True)
      for index in range(count):
        image = rng.integers(0, 256, (12, 12, 3))
        image[..., number % 3] //= 4
        Image.fromarray(image.astype(np.uint8)).save(folder / f'{index}.png')
    return tmp_path / name

  return write
