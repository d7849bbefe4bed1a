"""The manifest of a checkpoint: what it holds and the SHA-256 of every file it is made of."""

import dataclasses
import hashlib
import os
import pathlib
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ssl_jax.training import sealed
from ssl_jax.training.atomic import sync_folder, with_path

FILE_NAME = 'manifest.json'
# Version 1 has neither a digest of its own nor the run.
_VERSIONS = (1, 2)
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
    run: identifier of the run that saved it; '' where it is not known.
  """

  step: int
  score: float | None
  arrays: Mapping[str, tuple[tuple[int, ...], str]]
  files: Mapping[str, FileRecord]
  run: str = ''


class CorruptCheckpointError(Exception):
  """A checkpoint does not match its manifest; the message names the difference.

  Attributes:
    unfinished: whether it has no manifest at all, as a save that is under way or was interrupted.
    foreign: whether another run saved it.
  """

  def __init__(self, message: str, *, unfinished: bool = False, foreign: bool = False) -> None:
    super().__init__(message)
    self.unfinished, self.foreign = unfinished, foreign


def create(
  folder: pathlib.Path,
  step: int,
  score: float | None,
  arrays: Mapping[str, tuple[tuple[int, ...], str]],
  run: str = '',
) -> Manifest:
  """Hashes the files under `folder`, forces them to disk, and writes the manifest beside them.

  Raises:
    OSError: a file cannot be read, or the manifest cannot be written.
  """
  files = {}
  folders = {folder, folder.parent}
  for name, _ in sorted(_files(folder)):
    path = folder / name
    files[name] = _record(path, sync=True)
    folders.update(parent for parent in path.parents if folder in parent.parents)
  # Older checkpoints are deleted once the manifest exists, so everything it lists must be on disk
  # before it.
  for path in folders:
    sync_folder(path)
  manifest = Manifest(step, score, dict(arrays), files, run)
  write(folder, manifest)
  return manifest


def write(folder: pathlib.Path, manifest: Manifest) -> None:
  """Writes `manifest` into the checkpoint `folder`, atomically, with its own digest."""
  sealed.write(folder / FILE_NAME, {'version': _VERSIONS[-1], **dataclasses.asdict(manifest)})


def read(folder: pathlib.Path) -> Manifest:
  """Reads the manifest and compares names and sizes of the files with it, not their content.

  Raises:
    CorruptCheckpointError: there is no readable manifest, or a file is missing, extra or of another
      size.
    OSError: the disk cannot be read, which says nothing of the checkpoint.
  """
  try:
    content, is_sealed = sealed.read(folder / FILE_NAME)
  except (FileNotFoundError, NotADirectoryError):
    raise CorruptCheckpointError(
      'it has no manifest (its save was interrupted, or is under way)', unfinished=True
    ) from None
  except sealed.CorruptFileError as error:
    raise CorruptCheckpointError(f'{FILE_NAME} is {error}') from error
  manifest = _parse(content, is_sealed)
  if str(manifest.step) != folder.name:
    raise CorruptCheckpointError(f'{FILE_NAME} belongs to step {manifest.step}')
  sizes = dict(_files(folder))
  for name, record in manifest.files.items():
    if name not in sizes:
      raise CorruptCheckpointError(f'file {name} is missing')
    if sizes[name] != record.bytes:
      found = 'is no regular file' if sizes[name] < 0 else f'has {sizes[name]} bytes'
      raise CorruptCheckpointError(f'file {name} {found} instead of {record.bytes}')
  for name in sizes:
    if name not in manifest.files:
      raise CorruptCheckpointError(f'file {name} is not in {FILE_NAME}')
  return manifest


def verify(folder: pathlib.Path) -> Manifest:
  """As `read`, and compares the SHA-256 of every file.

  Raises:
    CorruptCheckpointError: the checkpoint is not, byte for byte, the one that was written.
    OSError: the disk cannot be read.
  """
  manifest = read(folder)
  for name, record in manifest.files.items():
    try:
      found = _record(folder / name)
    except FileNotFoundError:
      raise CorruptCheckpointError(f'file {name} is missing') from None
    if found != record:
      raise CorruptCheckpointError(f'file {name} was altered (its SHA-256 differs)')
  return manifest


def require_run(manifest: Manifest, run: str) -> Manifest:
  """The manifest, where it is of the run `run` or says of none; '' takes those of any run.

  Raises:
    CorruptCheckpointError: another run saved the checkpoint.
  """
  if run and manifest.run and manifest.run != run:
    raise CorruptCheckpointError('it was saved by another run', foreign=True)
  return manifest


def _parse(content: Mapping[str, Any], is_sealed: bool) -> Manifest:
  try:
    version = content['version']
    if version not in _VERSIONS:
      readable = ' and '.join(map(str, _VERSIONS))
      raise CorruptCheckpointError(
        f'{FILE_NAME} has version {str(version)[:40]!r}; this release reads {readable}'
      )
    if version > 1 and not is_sealed:
      raise CorruptCheckpointError(f'{FILE_NAME} is malformed (no SHA-256 of its own)')
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
      run=str(content.get('run', '')),
    )
  except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
    raise CorruptCheckpointError(f'{FILE_NAME} is malformed ({type(error).__name__})') from error


def _files(folder: pathlib.Path) -> Iterator[tuple[str, int]]:
  """Relative path and size of all but the manifest in a folder; -1 of what is no regular file."""

  def refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
      raise error

  for parent, folders, names in os.walk(folder, onerror=refuse):
    # A link to a folder, perhaps to one above it, is not followed.
    linked = [name for name in folders if pathlib.Path(parent, name).is_symlink()]
    for name in (*names, *linked):
      path = pathlib.Path(parent, name)
      # Also a half-written manifest, left by a process killed while it updated a score.
      if path.parent == folder and name.removeprefix('.').startswith(FILE_NAME):
        continue
      try:
        found = path.lstat()
      except FileNotFoundError:
        continue
      is_file = stat.S_ISREG(found.st_mode)
      yield path.relative_to(folder).as_posix(), found.st_size if is_file else -1


def _record(path: pathlib.Path, sync: bool = False) -> FileRecord:
  digest = hashlib.sha256()
  size = 0
  try:
    with path.open('rb') as file:
      while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
      if sync:
        os.fsync(file.fileno())
  except FileNotFoundError:
    raise
  except OSError as error:
    raise with_path(error, path) from error
  return FileRecord(size, digest.hexdigest())
