"""Replaces a file as a whole, and reads one that ought to be small, whatever is in its place."""

import contextlib
import errno
import os
import pathlib
import stat

PARTIAL = '.partial'
MOST_BYTES = 1 << 28


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
  """Replaces the content of `path`; a crash or a power cut leaves the old file or the new one.

  A process killed meanwhile leaves `.NAME.PID.partial`, which `delete_partial` deletes.

  Args:
    path: file to write; its folder exists.
    data: whole content; text is encoded as UTF-8.

  Raises:
    OSError: the file cannot be written; `path` is then as it was before.
  """
  path = pathlib.Path(path)
  content = data.encode(errors='surrogateescape') if isinstance(data, str) else data
  partial = path.with_name(f'.{path.name}.{os.getpid()}{PARTIAL}')
  try:
    with partial.open('wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    if isinstance(error, OSError):
      raise with_path(error, path) from error
    raise
  sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
  """Flushes the names in a folder to disk; without it a power cut may undo a rename."""
  try:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)
  except OSError as error:
    # Network and user-space file systems that have no such operation for folders.
    if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
      raise with_path(error, folder) from error


def delete_partial(folder: pathlib.Path, names: str = '*') -> None:
  """Deletes what killed processes left of files called `names` (a pattern) in a folder.

  No process may be writing such a file.
  """
  with contextlib.suppress(OSError):
    for path in folder.glob(f'.{names}.*{PARTIAL}'):
      with contextlib.suppress(OSError):
        path.unlink()


def read_small(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
  """The content of a regular file of at most `most` bytes; never waits for a pipe or a device.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: something else is in its place, or the file is larger.
    OSError: it cannot be read.
  """
  try:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, 'rb') as file:
      mode = os.fstat(descriptor).st_mode
      if not stat.S_ISREG(mode):
        raise ValueError('it is no regular file')
      content = file.read(most + 1)
  except OSError as error:
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
      raise ValueError('it is no regular file') from error
    raise with_path(error, path) from error
  if len(content) > most:
    raise ValueError(f'it is larger than {most:,} bytes')
  return content


def with_path(error: OSError, path: str | os.PathLike[str]) -> OSError:
  """The error of the same kind that names a file, which many errors of a full disk do not."""
  return OSError(error.errno or errno.EIO, error.strerror or str(error), str(path))
