"""The folder of the checkpoints of a run: which ones are kept, and one-line errors."""

import errno
import pathlib
import shutil
import tempfile
from collections.abc import Mapping


class CheckpointError(OSError):
  """A checkpoint cannot be written or read; the message is one line that names the path."""


def prepare(folder: pathlib.Path) -> None:
  """Creates the folder and writes a byte to it, so that an error comes before training.

  Raises:
    CheckpointError: the path is a file, or cannot be written to.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b'0')
      file.flush()
  except (FileExistsError, NotADirectoryError):
    raise CheckpointError(f'{folder}: is or lies under a file; checkpoints need a folder') from None
  except OSError as error:
    reason = error.strerror or type(error).__name__
    raise CheckpointError(f'{folder}: cannot write checkpoints here: {reason}') from error


def steps_in(folder: pathlib.Path) -> list[int]:
  """Steps that have a sub-folder, usable or not, ascending."""
  if not folder.is_dir():
    return []
  # The name must be the number as `save` writes it: '007' is another program's folder.
  return sorted(
    int(path.name)
    for path in folder.iterdir()
    if path.name.isdecimal() and path.name == str(int(path.name)) and path.is_dir()
  )


def by_score(scores: Mapping[int, float | None]) -> list[int]:
  """Steps that have a score, best first; of equals the newest first."""
  scored = [(score, step) for step, score in scores.items() if score is not None]
  return [step for _, step in sorted(scored, reverse=True)]


def kept(scores: Mapping[int, float | None], keep_last: int, keep_best: int) -> set[int]:
  """The steps to keep: the `keep_last` newest and the `keep_best` with the highest scores."""
  return {*sorted(scores)[-keep_last:], *by_score(scores)[:keep_best]}


def check_space(folder: pathlib.Path, each: int, held: int, keep_last: int, keep_best: int) -> None:
  """Refuses a disk without room for all checkpoints that are kept and the one being written.

  Args:
    folder: on the disk in question.
    each: bytes of one checkpoint.
    held: bytes of the checkpoints that are already there.
    keep_last: number of newest ones kept.
    keep_best: number of best ones kept besides.

  Raises:
    CheckpointError: too little free space.
  """
  count = keep_last + keep_best + 1
  needed = count * each - held
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise CheckpointError(
      f'{folder}: {size_text(free)} free on the disk, {size_text(needed)} needed for {count} '
      f'checkpoints of {size_text(each)} ({keep_last} last, {keep_best} best, 1 being written)'
    )


def save_error(path: pathlib.Path, size: int, error: Exception) -> CheckpointError:
  """The exception for a save of `size` bytes at `path` that failed with `error`."""
  text = str(error)
  full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
  # The storage library reports a full disk in words only.
  if full or 'No space left' in text or 'quota exceeded' in text:
    try:
      free = size_text(shutil.disk_usage(path.parent).free)
    except OSError:
      free = 'nothing'
    reason = f'the disk is full ({free} free, up to {size_text(size)} needed)'
  else:
    reason = one_line(error)
  return CheckpointError(f'{path}: checkpoint not saved: {reason}')


def one_line(error: Exception) -> str:
  """The message of an exception, on one line of at most 300 characters."""
  return ' '.join(str(error).split())[:300] or type(error).__name__


def size_text(count: float) -> str:
  """Bytes for people: decimal megabytes or gigabytes."""
  return f'{count / 1e9:.1f} GB' if count >= 1e9 else f'{count / 1e6:.1f} MB'
