"""Opens the stored run of a folder read-only: configuration, experiment and newest state."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax

from ssl_jax import config as config_lib
from ssl_jax.arguments import shown
from ssl_jax.config import Config, Knn
from ssl_jax.config.flags import COMMAND_LINE, UsageError, flags_of
from ssl_jax.methods.dsa import frozen_encoder_run, init_from
from ssl_jax.tasks.run import folder, record
from ssl_jax.tasks.run.experiment import Experiment, build_experiment
from ssl_jax.training import Checkpoints, TrainState, state
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.checkpoints.folder import CheckpointError

_T = TypeVar('_T')


class StoredRun(NamedTuple):
  """The `state` after `step` optimizer steps of the run in `path`."""

  path: pathlib.Path
  experiment: Experiment
  state: TrainState
  step: int


def open_run(config: Config, log: Callable[[str], None] = print) -> StoredRun:
  """The run in `config.run_dir` with the state of its newest checkpoint, or its best one.

  The run's own flags are used. Flags of `config` that affect the result must agree with them or be
  left out, except `data.source`: the images may have moved.

  Raises:
    UsageError: the folder holds no run or no checkpoint, or a flag contradicts the run.
    OSError: the data cannot be read.
  """
  if not config.run_dir:
    raise UsageError('--run_dir: found nothing, must be the folder of a run')
  path, own = pathlib.Path(config.run_dir), run_config(config)
  experiment = build_experiment(own, log=log)
  if config.data.source in (own.data.source, Config().data.source):
    known = record.read(path, log)
    if known is not None and known.data is not None:
      for change in known.data.differences(experiment.fingerprint):
        log(f'warning   the images have changed since training: {change}')
  with flags_of('method', experiment.method):
    template = state.create(
      experiment.method, experiment.optimizer, own.seed, own.view_size, experiment.mesh
    )
  kept = record.checkpoints_of(path, log)
  restored = _best(kept, template, log) if config.evaluate.checkpoint == 'best' else None
  restored = restored or restored_from(kept, template)
  if restored is None:
    raise record.without_checkpoint('--run_dir', path)
  return StoredRun(path, experiment, *restored)


def _best(
  kept: Checkpoints, template: TrainState, log: Callable[[str], None]
) -> tuple[TrainState, int] | None:
  """The state of the best usable checkpoint, which the run may replace meanwhile; None where none
  has a score."""
  while (step := kept.best_step()) is not None:
    try:
      return restored_from(kept, template, step)
    except (UsageError, CheckpointError) as error:
      if step in kept.steps():
        raise
      log(str(error))
  return None


def restored_from(
  checkpoints: Checkpoints, template: TrainState, step: int | None = None
) -> tuple[TrainState, int] | None:
  """As `Checkpoints.restore`.

  Raises:
    UsageError: the checkpoint holds another state than this version of the library has.
  """
  try:
    return checkpoints.restore(template, step)
  except ValueError as error:
    raise UsageError(str(error)) from error


def read_config(path: pathlib.Path) -> Config:
  """The configuration of the run in a folder.

  Raises:
    UsageError: the folder holds no run.
  """
  stored = path / folder.CONFIG
  if not stored.is_file():
    raise UsageError(
      f'--run_dir: found {path} without {folder.CONFIG}, must be the folder of a run'
    )
  return config_lib.read(stored)


def check_run(config: Config) -> None:
  """Checks, as far as that is quick, that `open_run` would open the run of `config`.

  Raises:
    UsageError: the folder holds no run or no checkpoint, or a flag contradicts the run.
  """
  run_config(config)
  path = pathlib.Path(config.run_dir)
  if record.checkpoints_of(path, lambda line: None).latest_step() is None:
    raise record.without_checkpoint('--run_dir', path)


def run_config(config: Config) -> Config:
  """The configuration of the run in `config.run_dir`, with the settings that its reader may change.

  Raises:
    UsageError: the folder holds no run, or a flag contradicts the run.
  """
  own = read_config(pathlib.Path(config.run_dir))
  parser = config_lib.parser()
  declared, values, stored = parser.metadata(config), parser.render(config), parser.render(own)
  affecting = parser.affecting_result(config)
  # Of a configuration made by Python, what is not the default counts as given.
  defaults = config_lib.default_flags(config)
  for name, value in values.items():
    readers = declared[name].get('read_by')
    if readers is None or config.reader in readers or value == stored.get(name):
      continue
    origin = config.given.get(name)
    if name not in affecting and origin != COMMAND_LINE:
      continue  # a recipe may have other periods of log lines and checkpoints than the run
    moved = declared[name].get('path') and config_lib.same_place(stored.get(name, ''), value)
    if (origin or value != defaults[name]) and not moved:
      raise UsageError(
        f'--{name}: found {shown(value)}, must be left out: the run in {config.run_dir} has '
        f'{stored.get(name, "no such flag")}'
      )
  is_given = values['data.source'] != defaults['data.source'] or 'data.source' in config.given
  source = config.data.source if is_given else own.data.source
  return dataclasses.replace(
    own,
    task=config.task,
    protocols=config.protocols,
    run_dir=config.run_dir,
    given=config.given,
    data=dataclasses.replace(own.data, source=source),
    devices=config.devices,
    report=config.report,
    negatives=config.negatives,
    evaluate=config.evaluate,
    knn=dataclasses.replace(
      config.knn,
      k=_own_first(own.knn.k, config.knn.k, Knn().k),
      temperature=_own_first(own.knn.temperature, config.knn.temperature, Knn().temperature),
    ),
  )


def _own_first(
  own: tuple[_T, ...], given: tuple[_T, ...], default: tuple[_T, ...]
) -> tuple[_T, ...]:
  """What is given, but the run's own numbers, as in its training, before those of the default."""
  return given if given != default else tuple(dict.fromkeys((*own, *default)))


def with_frozen_encoder(
  experiment: Experiment, state: TrainState, log: Callable[[str], None]
) -> TrainState:
  """`state` with the newest encoder of the run that DSA takes its prior from in its `method_state`.

  Raises:
    UsageError: there is no such run, it has no checkpoint, or its encoder is another one.
    OSError: its files cannot be read.
  """
  run = pathlib.Path(frozen_encoder_run(experiment.method))
  if not run.is_dir():
    where = '' if run.is_absolute() else f' (relative to {pathlib.Path.cwd()})'
    raise UsageError(f'--method.dsa_prior_run: {run}{where} is not the folder of a run')
  found = record.checkpoints_of(run, log).read()
  if found is None:
    raise record.without_checkpoint('--method.dsa_prior_run', run)
  stored, step = found
  same = mesh_lib.replicated(experiment.mesh)
  frozen = []
  for part, own in (('params', state.params), ('batch_stats', state.batch_stats)):
    theirs = stored.get(part, {}).get('encoder')
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)
    if shapes(theirs) != shapes(own['encoder']):
      raise UsageError(
        f'--method.dsa_prior_run: the encoder of {run} is not the one of this run '
        f'({experiment.config.model.name}, width {experiment.config.model.width})'
      )
    frozen.append(jax.tree.map(lambda x: mesh_lib.put(x, same), theirs))
  log(f'prior     the encoder of {run} at step {step}, frozen')
  return dataclasses.replace(state, method_state=init_from(state.method_state, *frozen))
