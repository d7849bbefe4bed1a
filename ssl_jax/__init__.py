"""Self-supervised visual representation learning in JAX.

`pretrain` and `load_encoder` are the program `ssl-jax` from Python. The parts it is made of can be
used alone, as in `from ssl_jax import losses`:

* `ssl_jax.losses`: self-supervised objectives, pure functions of embeddings
* `ssl_jax.analysis`: measures of features and the theory of negative samples, in NumPy
* `ssl_jax.evaluation`: nearest neighbors, probes, retrieval and clustering of frozen features
* `ssl_jax.methods`: what a loss needs to train: networks, targets, queues
* `ssl_jax.models`: ResNets and heads as pairs of pure functions
* `ssl_jax.views`: augmentation of uint8 images on the device
* `ssl_jax.data`: sources of images, and the order in which they are read
* `ssl_jax.training`: the compiled step, the loop, checkpoints

Importing this package imports none of them.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ssl_jax.arguments import ArgumentError

if TYPE_CHECKING:
  from ssl_jax.tasks.run.frozen_encoder import FrozenEncoder

__version__ = '0.1.0'
__all__ = ['load_encoder', 'pretrain']


def pretrain(flags: Iterable[str]) -> pathlib.Path:
  """Pre-trains as the program `ssl-jax` does, in this process.

  A run that was stopped before continues where it stood.

  Args:
    flags: what would follow `ssl-jax` on a command line, such as
      `['--flagfile=photographs/quickstart', '--steps=100']`.

  Returns:
    The folder of the finished run, for `load_encoder`.

  Raises:
    ValueError: a flag is unknown, has a value that is not allowed, or does not fit the data.
    OSError: data cannot be read, or the folder cannot be written.
    RuntimeError: the loss stopped being finite.
    SystemExit: a signal stopped the run; its state was saved.
  """
  from ssl_jax import cli, config
  from ssl_jax.tasks.protocols import check_protocols

  parsed, _ = config.resolve(flags, check_protocols)
  if parsed.task != 'pretrain':
    raise ArgumentError('--task', parsed.task, 'pretrain')
  if status := cli.run_task(parsed):
    raise SystemExit(status)
  return pathlib.Path(parsed.run_folder)


def load_encoder(run_dir: str | os.PathLike[str]) -> FrozenEncoder:
  """The encoder that a run has trained, at its newest checkpoint, without its training data.

  Args:
    run_dir: the folder of the run.

  Returns:
    A function from images, uint8 [n, height, width, 3], to features, float32 [n, dim].

  Raises:
    ValueError: the folder holds no run, or no checkpoint that can be used.
    OSError: its files cannot be read.
  """
  from ssl_jax.tasks.run import frozen_encoder

  return frozen_encoder.load(pathlib.Path(run_dir).expanduser())
