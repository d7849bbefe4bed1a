"""What a run remembers of itself in `run.json`: its identifier, its data, and that it has saved."""

from __future__ import annotations

import dataclasses
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

import jax

from ssl_jax.config.flags import UsageError
from ssl_jax.data.fingerprint import Fingerprint
from ssl_jax.tasks.run import folder
from ssl_jax.training import Checkpoints, multihost, sealed

FILE_NAME = 'run.json'


@dataclasses.dataclass(frozen=True)
class Record:
  """The content of `run.json`.

  Attributes:
    run: identifier of the run, which its checkpoints carry.
    data: the fingerprint of its images; None for a run of a version that took none.
    data_changes: the changes of the images that `--data.accept_changes` accepted: what, and the
      step from which on the run had the new ones.
    first_checkpoint: step of the first checkpoint known to be complete; None before.
    initial_weights: what `--model.init_from` gave, see `initial_weights.starting_state`; None for a
      random start.
  """

  run: str
  data: Fingerprint | None = None
  data_changes: tuple[dict[str, Any], ...] = ()
  first_checkpoint: int | None = None
  initial_weights: dict[str, Any] | None = None

  def begun(self, data: Fingerprint, resumed_step: int | None, changes: list[str]) -> Record:
    """The record of a run that begins, or goes on from a step with data that may have changed."""
    if resumed_step is None:
      return Record(self.run, data)
    accepted = ({'step': resumed_step, 'changes': changes},) if changes else ()
    first = resumed_step if self.first_checkpoint is None else self.first_checkpoint
    return Record(self.run, data, (*self.data_changes, *accepted), first)

  def write(self, run_dir: pathlib.Path) -> None:
    """Writes the record into the folder of the run, on the first process alone.

    Raises:
      OSError: it cannot be written.
    """
    if jax.process_index() == 0:
      data = None if self.data is None else self.data.to_json()
      changes = list(self.data_changes)
      content = {**vars(self), 'data': data, 'data_changes': changes}
      sealed.write(run_dir / FILE_NAME, {'version': 1, **content})


def read(run_dir: pathlib.Path, log: Callable[[str], None]) -> Record | None:
  """The record of the run in a folder; None where it has none, or a damaged one, which is logged.

  Raises:
    OSError: the disk cannot be read.
  """
  path = run_dir / FILE_NAME
  try:
    content, is_sealed = sealed.read(path)
    if not is_sealed:
      raise ValueError('altered (no SHA-256 of its own)')
    data, first = content['data'], content['first_checkpoint']
    return Record(
      run=str(content['run']),
      data=None if data is None else Fingerprint.from_json(data),
      data_changes=tuple(dict(change) for change in content['data_changes']),
      first_checkpoint=None if first is None else int(first),
      initial_weights=content.get('initial_weights'),
    )
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (KeyError, TypeError, ValueError, OverflowError) as error:
    reason = error if isinstance(error, ValueError) else type(error).__name__
    log(f'warning   {path} is {reason}; the images are not compared with those of the run')
    return None


def checkpoints_of(run_dir: pathlib.Path, log: Callable[[str], None] = print) -> Checkpoints:
  """The checkpoints of the run in a folder, to read; those of another run are not used.

  Raises:
    OSError: the disk cannot be read.
  """
  known = read(run_dir, log)
  run = '' if known is None else known.run
  return Checkpoints(run_dir / folder.CHECKPOINTS, read_only=True, log=log, run=run)


def without_checkpoint(flag: str, run_dir: pathlib.Path) -> UsageError:
  """The error of a flag that names a run of which no checkpoint can be used.

  Raises:
    OSError: the disk cannot be read.
  """
  lost = _lost_checkpoints(read(run_dir, lambda line: None), run_dir)
  return UsageError(
    f'{flag}: {lost or f"found no checkpoint in {run_dir}, must be a run that has saved one"}'
  )


def _lost_checkpoints(record: Record | None, run_dir: pathlib.Path) -> str:
  """What has become of the checkpoints of a run without a usable one; '' if it never saved."""
  has_saved = record is not None and record.first_checkpoint is not None
  if not has_saved and not (run_dir / folder.RESULT).exists():
    return ''
  kept = run_dir / folder.CHECKPOINTS
  found = 'holds none that is whole' if kept.is_dir() else 'is no folder'
  return f'the run has saved checkpoints, and {kept} {found}; is a disk away?'


def read_or_make(run_dir: pathlib.Path, log: Callable[[str], None]) -> Record:
  """The record in the folder, or the one of a run that begins there or is of an older version."""
  found = read(run_dir, log) if jax.process_index() == 0 else None
  if found is not None or jax.process_index():
    return found or Record('')
  saved = Checkpoints(run_dir / folder.CHECKPOINTS, read_only=True, log=log)
  return Record(saved.run_of_newest() or secrets.token_hex(8))


def changes_of_data(
  record: Record, current: Fingerprint, *, resumes: bool, accept: bool, log: Callable[[str], None]
) -> list[str]:
  """What the images of a run that resumes have otherwise than when it was begun.

  A collective of all processes, of which the first has the record.

  Raises:
    UsageError: they have changed, and `accept` is False.
  """
  changes = []
  if resumes and record.data is not None:
    changes = record.data.differences(current)
  elif resumes and jax.process_index() == 0:
    log('data      not compared with those that the run began with, which it did not record')
  if not multihost.any_process(bool(changes)):
    return []
  told = '; '.join(changes) or 'as process 0 reports'
  if not accept:
    raise UsageError(
      f'--data.source: the images have changed since the run began: {told}; take another '
      '--run_dir, or go on with the new ones by --data.accept_changes'
    )
  log(f'data      changed since the run began, and accepted: {told}')
  return changes or [told]


def refuse_to_start_over(
  record: Record, checkpoints: Checkpoints, run_dir: pathlib.Path, *, accept: bool
) -> None:
  """Refuses to begin at step 0 where the run has saved checkpoints; a collective of all processes.

  Raises:
    UsageError: there are checkpoints of which none can be used, or they are all gone, and `accept`
      is False.
  """
  problem = ''
  if jax.process_index() == 0 and not accept:
    if checkpoints.refused():
      problem = f'none of the checkpoints in {checkpoints.folder} can be used'
    else:
      problem = _lost_checkpoints(record, run_dir)
  if multihost.any_process(bool(problem)):
    told = problem or 'no checkpoint can be used'
    raise UsageError(f'--run_dir: {told}; --checkpoint.start_over begins again at step 0')
