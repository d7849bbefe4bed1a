"""Atomic replacement of a file: after a crash it holds the old content or the new, never a part."""

import os
import pathlib


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
  """Replaces the content of `path`; a crash or a power cut leaves the old file or the new one.

  Args:
    path: file to write; its folder exists.
    data: whole content; text is encoded as UTF-8.

  Raises:
    OSError: the file cannot be written; `path` is then as it was before.
  """
  path = pathlib.Path(path)
  content = data.encode() if isinstance(data, str) else data
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    with partial.open('wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  except OSError as error:
    partial.unlink(missing_ok=True)
    raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
  """Flushes the names in a folder to disk; without it a power cut may undo a rename."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
