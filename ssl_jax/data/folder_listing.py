"""Lists the image files of a folder, their classes, and a fixed random order of them."""

import collections
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import stat
import unicodedata
from collections.abc import Callable, Sequence

from ssl_jax.arguments import UNLABELED
from ssl_jax.data.dataset import require_distinct_names
from ssl_jax.data.image_file import OTHER_IMAGES, PLUGINS, extensions
from ssl_jax.data.one_line import printable, shortened, shown_path, some

# Of operating systems and storage devices: copies and thumbnails of what lies beside them.
_SYSTEM_FOLDERS = frozenset(
  ('__macosx', '__pycache__', '@eadir', '#recycle', '$recycle.bin', 'lost+found')
  + ('system volume information',)
)


@dataclasses.dataclass(frozen=True)
class Listing:
  """Image files below `root`.

  Args:
    root: the folder.
    files: their paths relative to `root` with '/' between the parts, ordered by `hash_order`.
    class_names: the names of the classes, sorted; empty when unlabeled.
    labels: for each file the position of its class in `class_names`, or -1 without one; empty when
      unlabeled.
  """

  root: str
  files: tuple[str, ...]
  class_names: tuple[str, ...] = ()
  labels: tuple[int, ...] = ()

  def subset(self, chosen: Sequence[int]) -> 'Listing':
    """The files at these positions."""
    labels = tuple(self.labels[i] for i in chosen) if self.labels else ()
    files = tuple(self.files[i] for i in chosen)
    return dataclasses.replace(self, files=files, labels=labels)


def list_classes(root: str, classes: dict[str, str | None], names: Sequence[str]) -> Listing:
  """The listing of files in the order of their hashes.

  Args:
    root: the folder.
    classes: by path relative to `root`, the class or None without one.
    names: of the classes, in the order of the labels; empty when unlabeled.

  Raises:
    ValueError: two classes have one name, as with accents that are stored in two forms.
  """
  # Equal hashes: the name decides.
  files = tuple(sorted(classes, key=lambda path: (hash_order(path), os.fsencode(path))))
  if not names:
    return Listing(root, files)
  number = {name: label for label, name in enumerate(names)}
  labels = tuple(UNLABELED if (of := classes[path]) is None else number[of] for path in files)
  shown = tuple(printable(name) for name in names)
  require_distinct_names(printable(root), shown)
  return Listing(root, files, shown, labels)


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


@dataclasses.dataclass
class Tree:
  """What lies below a folder.

  Attributes:
    images: paths of the image files relative to the folder, with '/' between the parts.
    folders: paths of the folders.
  """

  images: list[str] = dataclasses.field(default_factory=list)
  folders: list[str] = dataclasses.field(default_factory=list)


def list_tree(root: str, damaged: Callable[[str], None], log: Callable[[str], None]) -> Tree:
  """Lists the images and folders below `root`.

  Hidden files and folders and those of operating systems are passed over. Files without the
  ending of an image that can be read are counted, those of other images by what they need. Links
  are followed, but none into a folder that is listed already below the same two folders.

  Args:
    root: an existing folder.
    damaged: called with one line for each sub-folder that cannot be read.
    log: called with one line for each thing that a user may not have meant.

  Raises:
    OSError: `root` cannot be read, or holds no image.
  """
  tree, others, hidden = _walk(root, damaged, log)
  shown, readable = printable(root), extensions()
  lines = []
  for ending, count in sorted(others.items()):
    if ending in PLUGINS:
      package = PLUGINS[ending][2]
      lines.append(
        f'{count:,} {_plural(count, "image")} ({ending}) not read, which would need {package}'
        f' (pip install {package})'
      )
  unread = {ending: count for ending, count in others.items() if ending in OTHER_IMAGES}
  if unread:
    total = sum(unread.values())
    lines.append(
      f'{total:,} {_plural(total, "image")} of formats that are not read ({_counts(unread)});'
      ' convert them'
    )
  rest = {
    ending: count
    for ending, count in others.items()
    if ending not in PLUGINS and ending not in OTHER_IMAGES
  }
  if rest:
    total = sum(rest.values())
    kind = 'file that is no image' if total == 1 else 'files that are no images'
    lines.append(f'ignored {total:,} {kind} ({_counts(rest)})')
  if not tree.images:
    found = f'; {"; ".join(lines)}' if lines else ''
    raise OSError(
      f'{shown}: holds no image; allowed files ending in {" ".join(sorted(readable))}{found}'
    )
  if hidden:
    lines.append(f'ignored folders of the system: {some(hidden)}')
  for line in lines:
    log(f'{shown}: {line}')
  return tree


def image_files(root: str) -> list[str]:
  """The paths of all images below `root`, sorted; as `list_tree`, but nothing is left out.

  Raises:
    OSError: a folder cannot be read, or there is no image.
  """

  def damaged(line: str) -> None:
    raise OSError(line)

  return sorted(list_tree(root, damaged, lambda line: None).images)


def log_first(lines: Sequence[str], log: Callable[[str], None], most: int = 5) -> None:
  """Logs the first lines, and how many more there are."""
  for line in lines[:most]:
    log(line)
  if len(lines) > most:
    log(f'... and {len(lines) - most:,} more like the last')


def _plural(count: int, noun: str) -> str:
  return noun if count == 1 else f'{noun}s'


def _counts(kinds: dict[str, int]) -> str:
  """The most frequent kinds with their counts, by name."""
  most = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:8]
  listed = ', '.join(f'{kinds[kind]} {kind}' for kind in sorted(most))
  return listed if len(kinds) <= 8 else f'{listed}, others'


def _folder_identity(entry: os.DirEntry) -> tuple[int, int] | None:
  """Device and inode of a folder or a link to one; None for anything else, dead links included.

  Raises:
    OSError: a folder cannot be read.
  """
  try:
    status = entry.stat()
  except OSError:
    if entry.is_dir(follow_symlinks=False):
      raise
    return None
  return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _walk(
  root: str, damaged: Callable[[str], None], log: Callable[[str], None]
) -> tuple[Tree, collections.Counter, list[str]]:
  """Image files and folders, the number of other files by ending, and names passed over."""
  tree, readable = Tree(), extensions()
  others: collections.Counter = collections.Counter()
  hidden: dict[str, None] = {}
  links: list[str] = []
  status = pathlib.Path(root).stat()
  # Folders met below each class of each split: links between folders could otherwise be followed
  # in every order.
  met: dict[tuple[str, ...], set] = collections.defaultdict(set)
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
      damaged(f'{shown_path(folder)}: folder cannot be read: {error.strerror}')
      continue
    for entry in entries:
      if entry.name.startswith('.'):
        continue
      try:
        identity = _folder_identity(entry)
      except OSError as error:
        damaged(f'{shown_path(entry.path)}: folder cannot be read: {error.strerror}')
        continue
      if identity is not None:
        if entry.name.casefold() in _SYSTEM_FOLDERS:
          hidden[entry.name] = None
          continue
        if identity in above:
          links.append(f'{shown_path(entry.path)}: a link to a folder it lies in; not followed')
          continue
        path = f'{prefix}{entry.name}/'
        branch = tuple(path.split('/')[:2])
        if identity in met[branch]:
          links.append(f'{shown_path(entry.path)}: its folder is listed already; not followed')
          continue
        met[branch].add(identity)
        tree.folders.append(path)
        pending.append((path, (*above, identity)))
        continue
      suffix = pathlib.PurePath(entry.name).suffix
      if suffix.lower() in readable:
        tree.images.append(f'{prefix}{entry.name}')
      elif suffix.lower() in PLUGINS or suffix.lower() in OTHER_IMAGES:
        others[suffix.lower()] += 1
      else:
        others[shortened(suffix, 16) or 'without extension'] += 1
  log_first(links, log)
  return tree, others, list(hidden)
