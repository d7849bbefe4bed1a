"""The folder of a run: the names of its files, its lock, and whether its configuration agrees."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

import jax

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flag_files import STORED, UsageError
from ssl_jax.training.json_file import read_json, write_json

CONFIG = STORED
LOCK = '.lock'
METRICS = 'metrics.jsonl'
CHECKPOINTS = 'checkpoints'
REPORT = 'report.html'
RESULT = 'result.json'
EVALUATION = 'evaluation.json'
FIGURES = 'figures'
SECONDS = 'seconds.json'


@contextlib.contextmanager
def opened(config: Config) -> Iterator[pathlib.Path]:
  """The run's folder, made where it is missing, and locked against other runs.

  Raises:
    UsageError: the folder belongs to a run with another configuration (the differing flags are
    named) or is in use.
    OSError: it cannot be made or written.
  """
  folder = pathlib.Path(config.run_folder)
  refuse_other_configuration(folder, config)
  new = not folder.exists()
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(
      f'--run_dir: {folder} cannot be made ({error.strerror}); must be a folder that can be written'
    ) from error
  if jax.process_index():
    yield folder
    return
  with (folder / LOCK).open('w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UsageError(f'--run_dir: {folder} is in use by another process') from error
    try:
      yield folder
    finally:
      if new:
        _remove_if_unused(folder)


def _remove_if_unused(folder: pathlib.Path) -> None:
  """Removes a folder that nothing was written to, as after a refusal."""
  with contextlib.suppress(OSError):
    if {path.name for path in folder.iterdir()} <= {LOCK, CHECKPOINTS}:
      if (folder / CHECKPOINTS).exists():
        (folder / CHECKPOINTS).rmdir()
      (folder / LOCK).unlink()
      folder.rmdir()


def refuse_other_configuration(folder: pathlib.Path, config: Config) -> None:
  """Raises UsageError when the folder holds a run with other flags that affect the result."""
  stored = folder / CONFIG
  if not stored.is_file():
    kept = folder / CHECKPOINTS
    if kept.is_dir() and any(kept.iterdir()):
      raise UsageError(
        f'--run_dir: {folder} holds checkpoints but no {CONFIG}; take another folder'
      )
    return
  try:
    old = config_lib.parse([f'--flagfile={stored}'])
  except UsageError as error:
    raise UsageError(
      f'--run_dir: {stored} cannot be read ({error}); take another folder'
    ) from error
  if lines := config_lib.differences(old, config):
    raise UsageError(
      f'--run_dir: {folder} holds a run with other flags: {"; ".join(lines)}; take another folder'
    )


def read_seconds(folder: pathlib.Path) -> dict[str, float]:
  """Seconds by phase of the earlier processes of the run; empty for the first."""
  stored = read_json(folder / SECONDS)
  return {name: value for name, value in stored.items() if isinstance(value, int | float)}


def write_seconds(folder: pathlib.Path, seconds: dict[str, float]) -> None:
  """Writes the seconds by phase for `read_seconds`, on the first process."""
  if jax.process_index() == 0:
    write_json(folder / SECONDS, seconds)
