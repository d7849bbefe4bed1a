"""Lists the image files of a folder, their classes, and a fixed random order of them."""

import collections
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import stat
import unicodedata
from collections.abc import Callable

from ssl_jax.data.image_file import EXTENSIONS, printable


@dataclasses.dataclass(frozen=True)
class Listing:
  """The image files below `root`.

  Args:
    root: the folder.
    files: their paths relative to `root` with '/' between the parts, ordered by `hash_order`.
    class_names: the names of the class sub-folders that hold one, sorted; empty when unlabeled.
    labels: for each file the position of its class in `class_names`; empty when unlabeled.
  """

  root: str
  files: tuple[str, ...]
  class_names: tuple[str, ...]
  labels: tuple[int, ...]


def hash_order(relative_path: str, seed: int = 0) -> int:
  """A number below 2**64 that orders files at random, but on every machine alike.

  It depends on `seed` and the path relative to the data set, in its composed Unicode form where
  it is Unicode: a macOS disk stores the decomposed one.
  """
  name = os.fsencode(relative_path)
  with contextlib.suppress(UnicodeDecodeError):
    name = unicodedata.normalize('NFC', name.decode()).encode()
  digest = hashlib.blake2b(name, digest_size=8, salt=seed.to_bytes(16, 'little')).digest()
  return int.from_bytes(digest, 'little')


def list_images(root: str, damaged: Callable[[str], None], log: Callable[[str], None]) -> Listing:
  """Lists the images below `root`.

  Sub-folders that hold images are the classes, images deeper inside them included; without any, the
  images in `root` itself are an unlabeled data set. Hidden files and folders are passed over;
  files without the extension of an image are counted in one log line. Links are followed, except
  into a folder they lie in.

  Args:
    root: an existing folder.
    damaged: called with one line for each sub-folder that cannot be read.
    log: called with one line for each thing that a user may not have meant.

  Raises:
    OSError: `root` cannot be read, or holds no image.
  """
  files, folders, ignored = _walk(root, damaged, log)
  shown = printable(root)
  if ignored:
    kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(ignored.items()))
    log(f'{shown}: ignored {ignored.total():,} files that are no images ({kinds})')
  in_classes = [path for path in files if '/' in path]
  if not in_classes:
    if not files:
      raise OSError(
        f'{shown}: holds no image; allowed files ending in {" ".join(sorted(EXTENSIONS))}'
      )
    return Listing(root, _in_order(files), (), ())
  if len(in_classes) < len(files):
    count = len(files) - len(in_classes)
    log(f'{shown}: ignored {count:,} images beside the class folders, which have no class')
  names = sorted({path.partition('/')[0] for path in in_classes}, key=os.fsencode)
  for name in sorted(folders - set(names), key=os.fsencode):
    log(f'{printable(pathlib.Path(root, name))}: holds no image; left out of the classes')
  _report_twins(shown, names, log)
  number = {name: label for label, name in enumerate(names)}
  ordered = _in_order(in_classes)
  labels = tuple(number[path.partition('/')[0]] for path in ordered)
  return Listing(root, ordered, tuple(printable(name) for name in names), labels)


def _in_order(files: list[str]) -> tuple[str, ...]:
  # Equal hashes: the name decides.
  return tuple(sorted(files, key=lambda path: (hash_order(path), os.fsencode(path))))


def _report_twins(shown: str, names: list[str], log: Callable[[str], None]) -> None:
  seen: dict[str, str] = {}
  for name in names:
    first = seen.setdefault(unicodedata.normalize('NFC', name).casefold(), name)
    if first != name:
      log(
        f'{shown}: class folders {printable(first)!r} and {printable(name)!r} differ only in'
        ' spelling; they stay two classes'
      )


def _folder_identity(entry: os.DirEntry) -> tuple[int, int] | None:
  """Device and inode of a folder or a link to one; None for anything else, dead links included."""
  try:
    status = entry.stat()
  except OSError:
    return None
  return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _walk(
  root: str, damaged: Callable[[str], None], log: Callable[[str], None]
) -> tuple[list[str], set[str], collections.Counter]:
  """Image files, folders directly below `root`, and the number of other files by extension."""
  files: list[str] = []
  folders: set[str] = set()
  ignored: collections.Counter = collections.Counter()
  status = pathlib.Path(root).stat()
  # A stack, not recursion: trees may be deeper than Python's. With each folder go those it lies in.
  pending: list[tuple[str, tuple]] = [('', ((status.st_dev, status.st_ino),))]
  while pending:
    prefix, above = pending.pop()
    folder = f'{root}/{prefix}'
    try:
      with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
      if not prefix:
        raise
      damaged(f'{printable(folder)}: folder cannot be read: {error.strerror}')
      continue
    for entry in entries:
      if entry.name.startswith('.'):
        continue
      identity = _folder_identity(entry)
      if identity is not None:
        if identity in above:
          log(f'{printable(entry.path)}: a link to a folder it lies in; not followed')
          continue
        if not prefix:
          folders.add(entry.name)
        pending.append((f'{prefix}{entry.name}/', (*above, identity)))
        continue
      suffix = pathlib.PurePath(entry.name).suffix
      if suffix.lower() in EXTENSIONS:
        files.append(f'{prefix}{entry.name}')
      else:
        ignored[printable(suffix) or 'without extension'] += 1
  return files, folders, ignored
