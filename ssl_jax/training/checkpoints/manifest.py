"""The manifest of a checkpoint: what it holds and the SHA-256 of every file it is made of."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from ssl_jax.training.atomic import atomic_write, sync_folder

FILE_NAME = 'manifest.json'
_VERSION = 1
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class FileRecord:
  """Size in bytes and SHA-256 (64 hex digits) of one file."""

  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Content of `manifest.json`.

  Attributes:
    step: the step the state was saved at.
    score: what the best checkpoint is chosen by (higher is better), or None.
    arrays: (shape, dtype name) of every leaf of the state, by its path.
    files: record of every file of the checkpoint, by its path relative to the folder.
  """

  step: int
  score: float | None
  arrays: Mapping[str, tuple[tuple[int, ...], str]]
  files: Mapping[str, FileRecord]


class CorruptCheckpointError(Exception):
  """A checkpoint does not match its manifest; the message names the difference."""


def create(
  folder: pathlib.Path,
  step: int,
  score: float | None,
  arrays: Mapping[str, tuple[tuple[int, ...], str]],
) -> Manifest:
  """Hashes the files under `folder`, forces them to disk, and writes the manifest beside them.

  Raises:
    OSError: a file cannot be read, or the manifest cannot be written.
  """
  files = {}
  folders = {folder, folder.parent}
  for name, path in sorted(_files(folder)):
    files[name] = _record(path, sync=True)
    folders.update(parent for parent in path.parents if folder in parent.parents)
  # Older checkpoints are deleted once the manifest exists, so everything it lists must be on disk
  # before it.
  for path in folders:
    sync_folder(path)
  manifest = Manifest(step, score, dict(arrays), files)
  write(folder, manifest)
  return manifest


def write(folder: pathlib.Path, manifest: Manifest) -> None:
  """Writes `manifest` into the checkpoint `folder`, atomically."""
  content = {'version': _VERSION, **dataclasses.asdict(manifest)}
  atomic_write(folder / FILE_NAME, json.dumps(content, indent=1, allow_nan=False) + '\n')


def read(folder: pathlib.Path) -> Manifest:
  """Reads the manifest and compares names and sizes of the files with it, not their content.

  Raises:
    CorruptCheckpointError: there is no readable manifest, or a file is missing, extra or of another
      size.
  """
  try:
    content = json.loads((folder / FILE_NAME).read_bytes())
  except FileNotFoundError:
    raise CorruptCheckpointError('it has no manifest (its save was interrupted)') from None
  except (OSError, ValueError) as error:
    raise CorruptCheckpointError(f'{FILE_NAME} is unreadable ({type(error).__name__})') from error
  manifest = _parse(content)
  if str(manifest.step) != folder.name:
    raise CorruptCheckpointError(f'{FILE_NAME} belongs to step {manifest.step}')
  try:
    sizes = {name: path.stat().st_size for name, path in _files(folder)}
  except OSError as error:
    raise CorruptCheckpointError(f'its files cannot be listed ({error.strerror})') from error
  for name, record in manifest.files.items():
    if name not in sizes:
      raise CorruptCheckpointError(f'file {name} is missing')
    if sizes[name] != record.bytes:
      raise CorruptCheckpointError(f'file {name} has {sizes[name]} bytes instead of {record.bytes}')
  for name in sizes:
    if name not in manifest.files:
      raise CorruptCheckpointError(f'file {name} is not in {FILE_NAME}')
  return manifest


def verify(folder: pathlib.Path) -> Manifest:
  """As `read`, and compares the SHA-256 of every file.

  Raises:
    CorruptCheckpointError: the checkpoint is not, byte for byte, the one that was written.
  """
  manifest = read(folder)
  for name, record in manifest.files.items():
    try:
      found = _record(folder / name)
    except OSError as error:
      raise CorruptCheckpointError(f'file {name} is unreadable ({error.strerror})') from error
    if found != record:
      raise CorruptCheckpointError(f'file {name} was altered (its SHA-256 differs)')
  return manifest


def _parse(content: Any) -> Manifest:
  try:
    version = content['version']
    if version != _VERSION:
      raise CorruptCheckpointError(
        f'{FILE_NAME} has version {version!r}; this release reads {_VERSION}'
      )
    score = content['score']
    return Manifest(
      step=int(content['step']),
      score=None if score is None else float(score),
      arrays={
        str(name): (tuple(int(size) for size in shape), str(dtype))
        for name, (shape, dtype) in content['arrays'].items()
      },
      files={
        str(name): FileRecord(int(record['bytes']), str(record['sha256']))
        for name, record in content['files'].items()
      },
    )
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise CorruptCheckpointError(f'{FILE_NAME} is malformed ({type(error).__name__})') from error


def _files(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
  for path in folder.rglob('*'):
    # Also a half-written manifest, left by a process killed while it updated a score.
    is_manifest = path.parent == folder and path.name.removeprefix('.').startswith(FILE_NAME)
    if not is_manifest and not path.is_dir():
      yield path.relative_to(folder).as_posix(), path


def _record(path: pathlib.Path, sync: bool = False) -> FileRecord:
  digest = hashlib.sha256()
  size = 0
  with path.open('rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
      size += len(chunk)
    if sync:
      os.fsync(file.fileno())
  return FileRecord(size, digest.hexdigest())
