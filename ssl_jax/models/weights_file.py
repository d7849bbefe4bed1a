"""Reads arrays of a .npz or .safetensors file by their headers, before any takes memory."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import IO, Any, NamedTuple

import numpy as np

from ssl_jax.arguments import ArgumentError, shown

FORMATS = ('.npz', '.safetensors')
_MOST_HEADER = 10_000  # bytes, as numpy.load allows
# What version 0.1 called `batch_stats`; its files are read until 0.3.
_FORMER_STATS = 'stats/'
# Types of safetensors that NumPy has too, but for those of a single byte.
_DTYPES = {
  f'{letter}{bits}': f'{kind}{bits}'
  for letter, kind in (('F', 'float'), ('I', 'int'), ('U', 'uint'))
  for bits in (16, 32, 64)
}


class Stored(NamedTuple):
  """An array in a file: its shape, the name of its dtype, and what reads it."""

  shape: tuple[int, ...]
  dtype: str
  read: Callable[[], np.ndarray]


def checked_path(path: str | os.PathLike[str]) -> pathlib.Path:
  """The path, `~` replaced.

  Raises:
    ArgumentError: it ends in something else than .npz or .safetensors.
  """
  path = pathlib.Path(path).expanduser()
  if path.suffix not in FORMATS:
    raise ArgumentError(path, f'the ending {path.suffix!r}', ' or '.join(FORMATS))
  return path


def safetensors() -> ModuleType:
  """The package.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import safetensors
    import safetensors.numpy
  except ImportError as error:
    raise ValueError(
      '.safetensors: this ending needs the package safetensors: pip install safetensors; '
      'allowed without it is .npz'
    ) from error
  return safetensors


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Mapping[str, Stored]]:
  """The arrays of a file by name, none of them read yet; for as long as the block lasts.

  Raises:
    ValueError: the package for its ending is missing.
    OSError: the file cannot be read, or is damaged. Reading an array raises the same.
  """
  if not path.is_file():
    found = 'this is no regular file' if path.exists() else 'there is no such file'
    raise FileNotFoundError(f'{path}: {found}; must be one of exported weights')
  with contextlib.ExitStack() as stack:
    if path.suffix == '.safetensors':
      package = safetensors()
      with _damage(path):
        file = stack.enter_context(package.safe_open(path, 'numpy'))
        arrays = {name: _in_safetensors(path, file, name) for name in file.keys()}  # noqa: SIM118
    else:
      with _damage(path):
        archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(path.open('rb'))))
        arrays = {
          info.filename.removesuffix('.npy'): _in_npz(path, archive, info)
          for info in archive.infolist()
        }
    yield {
      f'batch_{name}' if name.startswith(_FORMER_STATS) else name: array
      for name, array in arrays.items()
    }


@contextlib.contextmanager
def _damage(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except ArgumentError:
    raise
  # Of damaged bytes the readers raise nearly anything.
  except Exception as error:
    if isinstance(error, zipfile.BadZipFile) and 'not a zip' in str(error):
      line = 'it is no complete .npz (zip) file'
    else:
      line = shown(' '.join(str(error).split())) or type(error).__name__
    raise OSError(f'{path}: the file is damaged: {line}') from error


def _in_safetensors(path: pathlib.Path, file: Any, name: str) -> Stored:
  part = file.get_slice(name)
  kind = part.get_dtype()

  def read() -> np.ndarray:
    with _damage(path):
      return file.get_tensor(name)

  if kind not in _DTYPES:
    raise ArgumentError(path, f'arrays of type {kind!r}', 'F16, F32 or F64')
  return Stored(tuple(part.get_shape()), _DTYPES[kind], read)


def _in_npz(path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stored:
  name = info.filename.removesuffix('.npy')
  with archive.open(info) as member:
    shape, fortran, dtype = _header(member, name)
    start = member.tell()
  size = math.prod(shape) * dtype.itemsize
  if info.file_size - start != size:
    raise ValueError(f'{shown(name)} has another size than its header states')

  def read() -> np.ndarray:
    with _damage(path), archive.open(info) as member:
      member.read(start)
      content = member.read(size)
      if len(content) != size or member.read(1):  # the end also compares the checksum
        raise ValueError(f'{shown(name)} has another size than its header states')
      return np.frombuffer(content, dtype).reshape(shape, order='F' if fortran else 'C')

  return Stored(shape, dtype.name, read)


def _header(member: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
  try:
    version = np.lib.format.read_magic(member)
  except ValueError as error:
    raise ValueError(f'{shown(name)} is no array') from error
  readers = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  if version not in readers:
    raise ValueError(f'{shown(name)} has a header of version {version}')
  shape, fortran, dtype = readers[version](member, max_header_size=_MOST_HEADER)
  if dtype.hasobject:
    raise ValueError(f'{shown(name)} holds Python objects, which allow_pickle=False leaves out')
  if any(type(length) is not int or length < 0 for length in shape):
    raise ValueError(f'{shown(name)} has a header without a shape')
  return shape, fortran, dtype
