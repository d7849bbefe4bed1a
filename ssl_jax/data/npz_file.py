"""Reads arrays of a NumPy .npz file, each checked by its header before it takes memory."""

import collections
import math
import os
import pathlib
import stat
import zipfile
from collections.abc import Sequence
from typing import IO

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.memory import check_memory
from ssl_jax.data.one_line import printable, reason, some

_PLAIN = 'biufcSU'  # kinds of arrays that hold numbers or text, and nothing to unpickle
_MOST_HEADER = 10_000  # bytes, as numpy.load allows


def read_arrays(
  path: str | os.PathLike, names: Sequence[str], needed: Sequence[str]
) -> dict[str, np.ndarray]:
  """The arrays of `names` that the file holds, by name; others stay unread.

  An array's header is checked against the size that the archive states, and that against the memory
  of the machine, before any of it is decompressed: a file of a few kilobytes may state terabytes.

  Args:
    path: of the file.
    names: of the arrays wanted.
    needed: those of them that must be there.

  Raises:
    ValueError: an array is missing, there twice, of Python objects, or too large.
    OSError: the file cannot be read, is no .npz file, or is damaged.
  """
  path = pathlib.Path(path)
  shown = printable(path)
  try:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for a writer
      raise OSError('found no regular file; npz:PATH allows a .npz file')
    file = path.open('rb')
  except FileNotFoundError as error:
    line = f'{shown}: there is no such file; npz:PATH allows a .npz file'
    raise FileNotFoundError(line) from error
  except OSError as error:
    raise OSError(f'{shown}: {reason(error)}') from error
  with file:
    try:
      archive = zipfile.ZipFile(file)
    except Exception as error:  # of damaged bytes zipfile raises nearly anything
      raise OSError(
        f'{shown}: found {path.stat().st_size:,} bytes that are no complete .npz (zip) file;'
        ' allowed what numpy.savez writes'
      ) from error
    with archive:
      members = _members(archive)
      if missing := [name for name in needed if name not in members]:
        found = f'no array {missing[0]!r} but {some(list(members)) or "none"}'
        raise ArgumentError(shown, found, f'arrays of the names {", ".join(names)}')
      arrays: dict[str, np.ndarray] = {}
      for name in names:
        if name in members:
          held = sum(array.nbytes for array in arrays.values())
          arrays[name] = _read(shown, archive, name, members[name], held)
      return arrays


def _members(archive: zipfile.ZipFile) -> dict[str, list[zipfile.ZipInfo]]:
  """The members by the name of their array."""
  members = collections.defaultdict(list)
  for info in archive.infolist():
    members[info.filename.removesuffix('.npy')].append(info)
  return members


def _read(
  shown: str, archive: zipfile.ZipFile, name: str, members: list[zipfile.ZipInfo], held: int
) -> np.ndarray:
  where = f"{shown}: array '{name}'"
  if len(members) > 1:
    raise ArgumentError(where, f'{len(members)} times in the file', 'there once')
  info = members[0]
  try:
    if info.flag_bits & 1:
      raise ArgumentError(where, 'encrypted', 'a plain array')
    with archive.open(info) as member:
      check_memory(where, held + _stated_bytes(where, member, info.file_size))
    with archive.open(info) as member:
      return np.lib.format.read_array(member, allow_pickle=False, max_header_size=_MOST_HEADER)
  except ArgumentError:
    raise
  except MemoryError as error:
    raise ArgumentError(
      where, f'{info.file_size:,} bytes', 'what the memory has room for'
    ) from error
  # Of damaged bytes zipfile, the decompressors and NumPy raise nearly anything.
  except Exception as error:
    raise OSError(f'{where} is damaged: {reason(error)}') from error


def _stated_bytes(where: str, member: IO[bytes], size: int) -> int:
  """The size of an array by its header; raises unless the member holds just this plain array."""
  try:
    version = np.lib.format.read_magic(member)
    read = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read(member, max_header_size=_MOST_HEADER)
  except Exception as error:  # a text that is no Python literal, a type that is none, bytes in it
    raise OSError('it has no header of a NumPy array') from error
  if dtype.hasobject:
    raise ArgumentError(where, 'pickled Python objects, which are never loaded', 'a plain array')
  if dtype.kind not in _PLAIN:
    raise ArgumentError(where, f'values of type {dtype.kind}', 'numbers or text')
  # Python's integers: those of a shape may be beyond any type of NumPy.
  if any(type(length) is not int or length < 0 for length in shape):
    raise OSError('its header states no shape')
  stated, held = math.prod(shape) * dtype.itemsize, size - member.tell()
  if stated != held:
    raise OSError(f'its header states {_digits(stated)} bytes, and the file holds {_digits(held)}')
  return stated


def _digits(number: int) -> str:
  return f'{number:,}' if number < 10**15 else 'more than 10**15'
