"""The folder of the checkpoints of a run: which ones are kept, and one-line errors."""

import errno
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping

MOST_STEPS = 2**31 - 1  # the state counts steps in int32
# System errors that the storage library reports in words only.
_TOLD = tuple(
  getattr(errno, name)
  for name in ('ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EACCES', 'EPERM', 'ESTALE', 'EMFILE', 'ENFILE')
) + (errno.EFBIG, errno.ENOTCONN, errno.ENOENT)
_NUMBER = re.compile(r'0|[1-9][0-9]{0,9}')


class CheckpointError(OSError):
  """A checkpoint cannot be written or read; the message is one line that names the path."""


def prepare(folder: pathlib.Path) -> None:
  """Creates the folder and writes a byte to it, so that an error comes before training.

  Raises:
    CheckpointError: the path, or one of a checkpoint in it, is a file, or cannot be written to.
  """
  try:
    if folder.is_symlink() and not folder.exists():
      raise CheckpointError(f'{folder}: a link to {folder.readlink()}, which is not there')
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b'0')
      file.flush()
    with os.scandir(folder) as entries:
      for entry in entries:
        if _is_step(entry.name) and not _is_dir(entry):
          raise CheckpointError(f'{entry.path}: is no folder, as a checkpoint is; move it away')
  except CheckpointError:
    raise
  except (FileExistsError, NotADirectoryError):
    raise CheckpointError(f'{folder}: is or lies under a file; checkpoints need a folder') from None
  except OSError as error:
    raise CheckpointError(f'{folder}: cannot write checkpoints here: {reason(error)}') from error


def steps_in(folder: pathlib.Path) -> list[int]:
  """Steps that have a sub-folder, usable or not, ascending.

  Raises:
    CheckpointError: the folder is there and cannot be read.
  """
  found = []
  try:
    with os.scandir(folder) as entries:
      for entry in entries:
        if _is_step(entry.name) and _is_dir(entry):
          found.append(int(entry.name))
  except (FileNotFoundError, NotADirectoryError):
    return []
  except OSError as error:
    raise unreadable(folder, error) from error
  return sorted(found)


def _is_step(name: str) -> bool:
  """Whether it is a number as `save` writes it: '007' is another program's."""
  return bool(_NUMBER.fullmatch(name)) and int(name) <= MOST_STEPS


def _is_dir(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError as error:
    # A link to itself is no folder; a disk that is away may well hold one.
    if error.errno == errno.ELOOP:
      return False
    raise


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
  full = errno_of(error)
  if full in (errno.ENOSPC, errno.EDQUOT):
    told = f'{os.strerror(full)} ({_free_text(path.parent)}; up to {size_text(size)} needed)'
  else:
    told = reason(error)
  return CheckpointError(f'{path}: checkpoint not saved: {told}')


def unreadable(path: pathlib.Path, error: Exception) -> CheckpointError:
  """The exception for a path that the disk does not give out, which says nothing of its content."""
  named = getattr(error, 'filename', None) or path
  return CheckpointError(
    f'{named}: cannot be read: {reason(error)}; nothing is changed or started over'
  )


def _free_text(folder: pathlib.Path) -> str:
  """What the disk has left: bytes, or files where it is those that it lacks."""
  try:
    found = os.statvfs(folder)
  except OSError:
    return 'the free space is unknown'
  if found.f_files and not found.f_favail:
    return 'no more files can be made on it'
  return f'{size_text(found.f_bavail * found.f_frsize)} free'


def errno_of(error: BaseException) -> int | None:
  """The number of the system error behind an exception, also where only its text tells."""
  seen: BaseException | None = error
  while seen is not None:
    if isinstance(seen, OSError) and seen.errno:
      return seen.errno
    seen = seen.__cause__ or seen.__context__
  text = str(error).lower()
  return next((number for number in _TOLD if os.strerror(number).lower() in text), None)


def reason(error: BaseException) -> str:
  """Why an operation failed: in the system's words where it was a system error."""
  number = errno_of(error)
  return os.strerror(number) if number else one_line(error)


def one_line(error: BaseException) -> str:
  """The message of an exception, on one line of at most 300 characters."""
  return ' '.join(str(error).split())[:300] or type(error).__name__


def size_text(count: float) -> str:
  """Bytes for people: decimal megabytes or gigabytes."""
  return f'{count / 1e9:.1f} GB' if count >= 1e9 else f'{count / 1e6:.1f} MB'
