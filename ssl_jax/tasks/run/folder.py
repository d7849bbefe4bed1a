"""The folder of a run: the names of its files, its lock, and whether its configuration agrees."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import stat
from collections.abc import Callable, Iterator

import jax

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flag_files import STORED, UsageError
from ssl_jax.reporting import Stopwatch
from ssl_jax.training.atomic import delete_partial, with_path
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

_LONGEST_SECONDS = 1e10

# Network file systems without a lock service, and parallel ones without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@contextlib.contextmanager
def opened(config: Config, log: Callable[[str], None] = print) -> Iterator[pathlib.Path]:
  """The run's folder, made where it is missing, and locked against other runs.

  Args:
    config: of the run.
    log: takes a line where the disk has no locks.

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
  with _locked(folder, log):
    # What killed processes left of the files that only the holder of the lock writes.
    for name in (CONFIG, METRICS, SECONDS, RESULT, 'run.json'):
      delete_partial(folder, name)
    delete_partial(folder / FIGURES)
    try:
      yield folder
    finally:
      if new:
        _remove_if_unused(folder)


@contextlib.contextmanager
def _locked(folder: pathlib.Path, log: Callable[[str], None]) -> Iterator[None]:
  """Holds the lock of a folder; where the disk has none, a line says so."""
  path = folder / LOCK
  try:
    # Neither waits for a pipe nor empties a file that a link leads to.
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path, flags, 0o666)
  except OSError as error:
    if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
      raise UsageError(f'--run_dir: {path} is no regular file; delete it') from error
    raise with_path(error, path) from error
  try:
    if not stat.S_ISREG(os.fstat(lock).st_mode):
      raise UsageError(f'--run_dir: {path} is no regular file; delete it')
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
        raise UsageError(f'--run_dir: {folder} is in use by another process') from error
      if error.errno not in _NO_LOCKS:
        raise with_path(error, path) from error
      log(
        f'warning   the disk of {folder} has no locks ({os.strerror(error.errno)}); nothing keeps '
        'a second run out of the folder'
      )
    yield
  finally:
    os.close(lock)


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
    old = config_lib.read(stored)
  except UsageError as error:
    raise UsageError(
      f'--run_dir: {stored} cannot be read ({error}); take another folder'
    ) from error
  if lines := config_lib.differences(old, config):
    longer = all(line.startswith(('--epochs:', '--steps:')) for line in lines)
    raise UsageError(
      f'--run_dir: {folder} holds a run with other flags: {"; ".join(lines)}; take another folder'
      f'{", or train on by --extend" if longer else ""}'
    )


def read_seconds(folder: pathlib.Path) -> dict[str, float]:
  """Seconds by phase of the earlier processes of the run; empty for the first."""
  stored = read_json(folder / SECONDS)
  known = Stopwatch().totals()
  is_time = lambda value: isinstance(value, int | float) and 0 <= value < _LONGEST_SECONDS
  return {name: value for name, value in stored.items() if name in known and is_time(value)}


def write_seconds(folder: pathlib.Path, seconds: dict[str, float]) -> None:
  """Writes the seconds by phase for `read_seconds`, on the first process."""
  if jax.process_index() == 0:
    write_json(folder / SECONDS, seconds)
