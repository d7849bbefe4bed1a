"""Features kept on disk, so that all protocols, and the next evaluation, share one pass."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pathlib
import re
import time
from collections.abc import Callable

import numpy as np

from ssl_jax.data import Source

# Below the folder of a run.
FOLDER = pathlib.Path('evaluation', 'features')
_SAMPLED = 512
_LETTERS = 16
# Ends in the owner and the digest.
_NAME = re.compile(rf'.+-([0-9a-f]{{{_LETTERS}}})-[0-9a-f]{{{_LETTERS}}}\.npy')
_DAY = 24 * 3600
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class FeatureCache:
  """Arrays in a folder, each in a file that says by its name what it was made of.

  A file appears whole or not at all. Where the folder cannot be written or the disk is full, the
  features stay in memory and a line says so. Files of encoders that this evaluation does not look
  at are deleted by `tidy`.
  """

  def __init__(self, folder: pathlib.Path, log: Callable[[str], None]) -> None:
    self._folder, self._say = folder, log
    self._owners: set[str] = set()
    self._open: dict[str, np.ndarray] = {}

  def get(
    self,
    name: str,
    owner: str,
    digest: str,
    make: Callable[[Callable[[int, int], np.ndarray]], np.ndarray],
  ) -> np.ndarray:
    """The float32 array of this name and digest, mapped from its file where there is one.

    It is read-only. A file that is damaged is made again.

    Args:
      name: what the features are of, in a word; part of the file's name.
      owner: hexadecimal, the digest of the encoder.
      digest: hexadecimal, of everything that the features depend on.
      make: makes them, into the array that the function it is given returns for a shape.
    """
    path = self._folder / f'{name}-{owner[:_LETTERS]}-{digest[:_LETTERS]}.npy'
    self._owners.add(owner[:_LETTERS])
    if path.name not in self._open:
      self._open[path.name] = self._find(path, name, make)
    return self._open[path.name]

  def _find(
    self,
    path: pathlib.Path,
    name: str,
    make: Callable[[Callable[[int, int], np.ndarray]], np.ndarray],
  ) -> np.ndarray:
    kept = _read(path)
    if kept is not None:
      self._say(f'features  {name}: {len(kept):,} x {kept.shape[1]} from {path}')
      return kept
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')

    def store(rows: int, columns: int) -> np.ndarray:
      self._say(f'features  {name}: {rows:,} x {columns}')
      try:
        self._folder.mkdir(parents=True, exist_ok=True)
        return _mapped(partial, (rows, columns))
      except OSError as error:
        _delete(partial)
        self._say(f'features  kept in memory: {self._folder}: {error.strerror or error}')
        return np.empty((rows, columns), np.float32)

    try:
      made = make(store)
      if isinstance(made, np.memmap):
        try:
          made.flush()
          partial.replace(path)
        except OSError as error:
          self._say(f'features  not kept: {path}: {error.strerror or error}')
      # As those that are read from a file.
      made.setflags(write=False)
      return made
    finally:
      _delete(partial)

  def tidy(self) -> None:
    """Deletes the features of encoders that nobody asked for since the cache was opened.

    Nothing, where nobody asked for any; and what evaluations left behind that were killed a day
    ago or longer.
    """
    if not self._owners:
      return
    for path in self._folder.glob('*.npy'):
      named = _NAME.fullmatch(path.name)
      if named and named[1] not in self._owners:
        _delete(path)
    for path in self._folder.glob('.*.npy.*.partial'):
      with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _DAY:
          path.unlink()


def _read(path: pathlib.Path) -> np.ndarray | None:
  """The float32 [n, dim] array in a file, mapped; None where there is no such thing."""
  try:
    array = np.load(path, mmap_mode='r', allow_pickle=False)
  except Exception:  # of damaged bytes NumPy raises nearly anything
    return None
  fits = isinstance(array, np.memmap) and array.dtype == np.float32 and array.ndim == 2
  return array if fits else None


def _delete(path: pathlib.Path) -> None:
  # A read-only disk refuses even to delete what is not there.
  with contextlib.suppress(OSError):
    path.unlink()


def _mapped(path: pathlib.Path, shape: tuple[int, int]) -> np.memmap:
  """A new .npy file of float32, mapped, with its room on the disk claimed.

  Without that, a disk that fills up would end the process at a write to the mapping. Where the
  system or its disk cannot claim room, it goes without.

  Raises:
    OSError: there is no room, or the file cannot be made.
  """
  header = {'descr': np.dtype(np.float32).str, 'fortran_order': False, 'shape': shape}
  with path.open('w+b') as file:
    np.lib.format.write_array_header_1_0(file, header)
    offset = file.tell()
    try:
      os.posix_fallocate(file.fileno(), 0, offset + 4 * shape[0] * shape[1])
    except AttributeError:  # macOS has none
      pass
    except OSError as error:
      if error.errno not in _NOT_SUPPORTED:
        raise
  return np.memmap(path, np.float32, 'r+', offset, shape)


def fingerprint(source: Source) -> str:
  """SHA-256 of the number of images, their labels, and the pixels and shape of a sample of them."""
  digest = hashlib.sha256(f'{len(source)} {source.labels is not None}'.encode())
  if source.labels is not None:
    digest.update(np.ascontiguousarray(source.labels, np.int32).tobytes())
  rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), _SAMPLED)).astype(np.int64))
  for row in rows:
    image = np.ascontiguousarray(source[np.array([row])])
    digest.update(str(image.shape).encode())
    digest.update(image.tobytes())
  return digest.hexdigest()
