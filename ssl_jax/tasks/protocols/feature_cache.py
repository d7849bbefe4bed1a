"""A cache of features on disk: one pass of an encoder serves all protocols and evaluations."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import time
from collections.abc import Callable

import numpy as np

# Below the folder of a run.
FOLDER = pathlib.Path('evaluation', 'features')
_LETTERS = 16
# Ends in the owner and the digest.
_NAME = re.compile(rf'.+-([0-9a-f]{{{_LETTERS}}})-[0-9a-f]{{{_LETTERS}}}\.npy')
_DAY = 24 * 3600


class FeatureCache:
  """Float32 arrays in a folder, each in a file named by what it was computed from.

  A file is written under another name and renamed, so it is complete or absent. Where it cannot be
  written, as on a full disk, the features stay in memory and a line is logged.
  """

  def __init__(self, folder: pathlib.Path, log: Callable[[str], None]) -> None:
    self._folder, self._log = folder, log
    self._owners: set[str] = set()
    self._open: dict[str, np.ndarray] = {}

  def get(self, name: str, owner: str, digest: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The float32 array of this name and digest, mapped from its file; read-only.

    A missing or damaged file is written anew.

    Args:
      name: what the features are of; part of the file's name.
      owner: hexadecimal digest of the encoder.
      digest: hexadecimal digest of everything that the features depend on.
      make: computes them, float32 [n, dim].
    """
    path = self._folder / f'{name}-{owner[:_LETTERS]}-{digest[:_LETTERS]}.npy'
    self._owners.add(owner[:_LETTERS])
    if path.name not in self._open:
      self._open[path.name] = self._find(path, name, make)
    return self._open[path.name]

  def _find(self, path: pathlib.Path, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    stored = _read(path)
    if stored is not None:
      self._log(f'features  {name}: {len(stored):,} x {stored.shape[1]} from {path}')
      return stored
    made = make()
    self._log(f'features  {name}: {len(made):,} x {made.shape[1]}')
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      with partial.open('wb') as file:
        np.save(file, made)
        file.flush()
        os.fsync(file.fileno())
      partial.replace(path)
    except OSError as error:
      self._log(f'features  kept in memory: {self._folder}: {error.strerror or error}')
    finally:
      _delete(partial)
    # The mapped file frees the memory of what was made.
    stored = _read(path)
    if stored is not None:
      return stored
    made.setflags(write=False)
    return made

  def tidy(self) -> None:
    """Deletes the features of all encoders but those that `get` was called for, and the incomplete
    files of processes that were killed a day ago or longer.

    Deletes nothing before the first `get`.
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
  """The float32 [n, dim] array in a file, mapped; None without such a file."""
  try:
    if not path.is_file():  # a pipe would be waited for
      return None
    array = np.load(path, mmap_mode='r', allow_pickle=False)
  except Exception:  # NumPy raises nearly anything for damaged bytes
    return None
  fits = isinstance(array, np.memmap) and array.dtype == np.float32 and array.ndim == 2
  return array if fits else None


def _delete(path: pathlib.Path) -> None:
  # A read-only disk refuses to delete even a file that does not exist.
  with contextlib.suppress(OSError):
    path.unlink()
