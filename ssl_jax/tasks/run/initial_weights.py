"""Weights of another run, or of a file, that training starts from: `--model.init_from`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import models
from ssl_jax.config.flags import UsageError, flags_of
from ssl_jax.methods.dsa import frozen_encoder_run
from ssl_jax.models import weights_file
from ssl_jax.models.weights_file import Stored
from ssl_jax.tasks.run import record
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.tasks.run.stored import with_frozen_encoder
from ssl_jax.training import TrainState
from ssl_jax.training import mesh as mesh_lib

# The parts of a train state that hold networks; all else starts anew.
_PARTS = ('params', 'batch_stats', 'target')
# What became of an array: of this run ('loaded', 'left', 'shape', 'equal') or of the source alone.
_LOADED, _LEFT, _SHAPE, _EQUAL, _UNUSED = 'loaded', 'left', 'shape', 'equal', 'unused'


@dataclasses.dataclass(frozen=True)
class Source:
  """Arrays by path, `params/encoder/conv/kernel`, of the run or the file `name`.

  Attributes:
    name: as `--model.init_from` has it.
    digest: SHA-256 of the file, or of the arrays of the run.
    step: optimizer steps behind them; None for a file.
    arrays: by path, not read yet.
  """

  name: str
  digest: str
  step: int | None
  arrays: Mapping[str, Stored]


def given(
  experiment: Experiment, initial: TrainState, log: Callable[[str], None]
) -> tuple[TrainState, dict[str, Any] | None]:
  """The state that a run begins with: weights of other runs and files in place of random ones.

  A run that resumes has them in its checkpoint, so those runs and files may be gone by then.

  Returns:
    The state, and a record of the weights of `--model.init_from`, None without.

  Raises:
    UsageError, OSError: as `starting_state`; or the run of a frozen prior cannot be used.
  """
  start, weights = initial, None
  if experiment.config.model.init_from:
    start, weights = starting_state(experiment, start, log)
  if frozen_encoder_run(experiment.method):
    start = with_frozen_encoder(experiment, start, log)
  return start, weights


def starting_state(
  experiment: Experiment, state: TrainState, log: Callable[[str], None]
) -> tuple[TrainState, dict[str, Any]]:
  """`state`, drawn at random, with every array of `--model.init_from` that fits it.

  A moving average starts equal to the networks it is of, unless it is in a run and fits as a whole.
  What becomes of each array is logged, a line each.

  Returns:
    The state, and what `run.json` records: the source, its digest, and the arrays by what became of
    them.

  Raises:
    UsageError: there is no such run or file, no array fits the encoder, or a number is not finite.
    OSError: the weights cannot be read.
  """
  settings = experiment.config.model
  with _opened(settings.init_from, log) as source, flags_of('model', settings=()):
    taken, fate = _take(source, state, whole=settings.init_networks == 'all')
  if not any(name.startswith('params/encoder/') for name in taken):
    raise UsageError(
      f'--model.init_from: found {source.name}, of which no array fits the encoder, must hold '
      f'weights of {settings.name}, width {settings.width}'
    )
  counts = [f'{sum(one == kind for one, _ in fate.values())} {kind}' for kind in _KINDS]
  at = '' if source.step is None else f', step {source.step:,}'
  log(f'weights   of {source.name}{at}: {", ".join(counts)}')
  for name, (kind, fact) in sorted(fate.items(), key=lambda item: _KINDS.index(item[1][0])):
    log(f'  {kind:<8}{name} {fact}')
  record: dict[str, Any] = {'from': source.name, 'step': source.step, 'sha256': source.digest}
  record |= {kind: [name for name, (one, _) in fate.items() if one == kind] for kind in _KINDS}
  return _with_arrays(state, taken, experiment, fate), record


def warn_of_other_weights(
  experiment: Experiment, record: Mapping[str, Any] | None, log: Callable[[str], None]
) -> None:
  """Logs a warning where a run that resumes finds other weights under the name it started from."""
  path = pathlib.Path(experiment.config.model.init_from)
  if record and path.is_file() and _digest(path) != record.get('sha256'):
    log(
      f'warning   {path} holds other weights than the run started from (SHA-256 '
      f'{record.get("sha256", "")[:12]}); they are not used'
    )


_KINDS = (_LOADED, _EQUAL, _LEFT, _SHAPE, _UNUSED)


def _take(
  source: Source, state: TrainState, *, whole: bool
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
  """The arrays that fit, by path, and what becomes of each array of both."""
  own = models.flatten({part: getattr(state, part) for part in _PARTS})
  asked = {name for name in own if whole or name.split('/')[1] == 'encoder'}
  targets = {name for name in own if name.startswith('target/')}
  fits = lambda name: name in source.arrays and source.arrays[name].shape == own[name].shape
  if not (targets <= asked and all(map(fits, targets))):
    asked -= targets
  taken, fate = {}, {}
  for name, array in own.items():
    shape = str(list(array.shape))
    if name in asked and fits(name):
      taken[name] = models.fitting(f'{source.name}: {name}', source.arrays[name], array)
      fate[name] = (_LOADED, shape)
    elif name in targets:
      fate[name] = (_EQUAL, f'to params{name.removeprefix("target")}')
    elif name not in asked or name not in source.arrays:
      fate[name] = (_LEFT, f'{shape} as drawn')
    else:
      fate[name] = (_SHAPE, f'{list(source.arrays[name].shape)} there, {shape} here, as drawn')
  for name, stored in source.arrays.items():
    fate.setdefault(name, (_UNUSED, str(list(stored.shape))))
  return taken, fate


def _with_arrays(
  state: TrainState,
  taken: Mapping[str, np.ndarray],
  experiment: Experiment,
  fate: Mapping[str, tuple[str, str]],
) -> TrainState:
  same = mesh_lib.replicated(experiment.mesh)

  def part_of(part: str, tree: Any) -> Any:
    named = models.flatten({part: tree})
    # Copies: a state that is donated must not hold one buffer twice.
    leaves = [
      mesh_lib.put(taken[name], same) if name in taken else jnp.copy(leaf)
      for name, leaf in named.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)

  params = part_of('params', state.params)
  average = state.target
  if any(kind == _EQUAL for kind, _ in fate.values()):
    average = {name: params[name] for name in state.target}
  return dataclasses.replace(
    state,
    params=params,
    batch_stats=part_of('batch_stats', state.batch_stats),
    target=part_of('target', average),
  )


@contextlib.contextmanager
def _opened(name: str, log: Callable[[str], None]) -> Iterator[Source]:
  """The weights in the folder of a run, at its newest checkpoint, or in a file of an encoder."""
  path = pathlib.Path(name)
  if not path.exists():
    where = '' if path.is_absolute() else f', relative to {pathlib.Path.cwd()}'
    raise UsageError(
      f'--model.init_from: found {name}, must be the folder of a run or a file of weights{where}'
    )
  if path.is_dir():
    found = record.checkpoints_of(path, log).read()
    if found is None:
      raise record.without_checkpoint('--model.init_from', path)
    saved, step = found
    arrays = models.flatten({part: saved.get(part, {}) for part in _PARTS})
    digest = hashlib.sha256()
    for key, array in sorted(arrays.items()):
      digest.update(f'{key} {array.dtype} {array.shape}'.encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    stored = {
      key: Stored(array.shape, array.dtype.name, functools.partial(np.asarray, array))
      for key, array in arrays.items()
    }
    yield Source(name, digest.hexdigest(), step, stored)
    return
  with flags_of('model', settings=()):
    path = weights_file.checked_path(path)
  with weights_file.opened(path) as in_file:
    # A file holds an encoder alone: params/conv/kernel.
    named = {key.replace('/', '/encoder/', 1): array for key, array in in_file.items()}
    yield Source(name, _digest(path), None, named)


def _digest(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
