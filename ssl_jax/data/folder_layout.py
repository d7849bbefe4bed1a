"""Finds the splits and classes that the paths of image files stand for."""

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from ssl_jax.arguments import ArgumentError, nearest
from ssl_jax.data.folder_listing import log_first
from ssl_jax.data.one_line import printable, shortened, some

# Names of split folders, after `_word`; of several test folders the first in this order is taken.
_TRAIN = ('train', 'training')
_TEST = ('test', 'testing', 'eval', 'evaluation', 'val', 'valid', 'validation', 'dev', 'holdout')
_UNLABELED = ('unlabeled', 'unlabelled')
_IMAGES = ('images', 'image', 'imgs', 'img', 'jpeg', 'jpegs', 'jpg', 'png', 'data')
# What lies beside images: their annotations, often as images too.
_ANNOTATIONS = re.compile(
  'annotations?|annots?|labels?|masks?|seg|segmentations?|segmentation_?(class|object)|gts?'
  '|ground_?truths?|trimaps?|bbox(es)?|depths?|edges|keypoints|landmarks|imagesets|meta(data)?'
)
_MANY = 20  # classes, of which most have a single image, that look like no classes


@dataclasses.dataclass(frozen=True)
class Split:
  """The files of a split.

  Attributes:
    folder: that the paths are relative to, relative to the data set: '' or ending in '/'.
    classes: by path, its class, or None for an image without one.
  """

  folder: str
  classes: dict[str, str | None]

  @property
  def class_names(self) -> list[str]:
    names = {name for name in self.classes.values() if name is not None}
    return sorted(names, key=lambda name: name.encode('utf-8', 'surrogateescape'))

  def describe(self) -> str:
    """Number of images, and names of the classes."""
    names, count = self.class_names, len(self.classes)
    images = _images(count)
    if not names:
      return f'{images} without classes'
    unlabeled = sum(name is None for name in self.classes.values())
    extra = f', {unlabeled:,} of them unlabeled' if unlabeled else ''
    return f'{images}{extra}, {len(names):,} class{"es" * (len(names) > 1)}: {some(names)}'


def find_layout(
  root: str, images: Sequence[str], folders: Sequence[str], log: Callable[[str], None]
) -> tuple[Split, Split | None]:
  """Training and test images of a folder; no test images where the layout has none.

  What the names and places of folders say is described in docs/data.md. One log line says what is
  taken as split and as class, others what is not read and what looks like a mistake.

  Args:
    root: the folder, as messages name it.
    images: paths of the image files relative to it.
    folders: paths of all its folders, ending in '/'.
    log: called with one line at a time.

  Raises:
    ValueError: the layout is ambiguous, or test images have classes that training images lack.
    OSError: a split holds no image.
  """
  return _Finder(root, folders, log).find(images)


def _images(count: int) -> str:
  return f'{count:,} image{"s" * (count != 1)}'


def _word(name: str) -> str:
  """A folder's name without case and without `_set`, `_images` or a year, as in `train2017`."""
  word = re.sub(r'[\s.-]+', '_', unicodedata.normalize('NFC', name).casefold())
  word = re.sub(r'^(images|imgs|data)_', '', word)
  return re.sub(r'_?(set|split|images|imgs|data|(19|20)\d\d)$', '', word) or word


def _is(words: Sequence[str], name: str) -> bool:
  return _word(name) in words


def _is_annotation(name: str) -> bool:
  return bool(_ANNOTATIONS.fullmatch(re.sub(r'[\s.-]+', '_', name.casefold())))


def _by_folder(paths: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
  """Paths by their first folder, relative to it; and those in no folder."""
  inside: dict[str, list[str]] = {}
  direct = []
  for path in paths:
    folder, slash, rest = path.partition('/')
    if slash:
      inside.setdefault(folder, []).append(rest)
    else:
      direct.append(path)
  return inside, direct


class _Finder:
  def __init__(self, root: str, folders: Sequence[str], log: Callable[[str], None]):
    self.root, self.folders, self.log = root, folders, log

  def find(self, images: Sequence[str]) -> tuple[Split, Split | None]:
    prefix, paths = self._unwrapped('', list(images), any_name=True)
    inside, direct = _by_folder(paths)
    empty = [name for name in self._folders_in(prefix) if name not in inside]
    names = [*inside, *empty]
    trains = [name for name in names if _is(_TRAIN, name)]
    if trains and not self._is_class(trains[0], names, inside):
      return self._of_splits(prefix, inside, direct, names)
    tests = [name for name in names if _is(_TEST, name)]
    # Sorted products are valid and invalid.
    if tests and not trains and not any(re.search('invalid|not.?valid', _word(x)) for x in names):
      raise ArgumentError(
        self.root,
        f'{self._shown(tests[0])}/ without train/',
        'both, or class folders of other names',
      )
    if splits := self._of_classes_with_splits(prefix, inside, direct):
      return splits
    split = self._of_classes(prefix, paths)
    self._warn_of_inner_classes(prefix, inside)
    self.log(f'{self._where(prefix)}: {split.describe()}')
    self._warn(split)
    return split, None

  def _unwrapped(self, prefix: str, paths: list[str], any_name: bool) -> tuple[str, list[str]]:
    """Goes into folders that hold everything: those named `images`, and with `any_name` any that
    holds its images in folders, as an unpacked archive does; leaves out annotations beside them."""
    while True:
      inside, direct = _by_folder(paths)
      notes = [name for name in inside if _is_annotation(name)]
      others = [name for name in inside if name not in notes]
      of_splits = any_name and any(_is(_TRAIN, name) for name in others)
      beside = of_splits or all(_is(_IMAGES, name) for name in others)
      if notes and others and beside and not direct:
        self._not_read(prefix, {name: inside.pop(name) for name in notes})
        paths = [f'{name}/{path}' for name, below in inside.items() for path in below]
      if len(inside) != 1:
        return prefix, paths
      ((name, below),) = inside.items()
      # In a split it is train/train/, of an archive that was unpacked there.
      is_split = _is((*_TRAIN, *_TEST), name)
      if is_split and any_name:
        return prefix, paths
      has_splits = any_name and any(_is(_TRAIN, x) for x in _by_folder(below)[0])
      nested = any_name and all('/' in path for path in below)
      if direct and not has_splits:
        return prefix, paths
      if not (has_splits or nested or is_split or _is((*_IMAGES, *_UNLABELED), name)):
        return prefix, paths
      self._not_read(prefix, {}, direct)
      prefix, paths = f'{prefix}{name}/', below

  def _is_class(self, train: str, names: list[str], inside: dict[str, list[str]]) -> bool:
    """Whether a folder named `train` is one of several class folders: trains beside planes."""
    others = [name for name in inside if name != train and not _is(_UNLABELED, name)]
    flat = not any('/' in path for name in (train, *others) for path in inside.get(name, ()))
    if any(_is((*_TEST, *_TRAIN), name) for name in names if name != train):
      return False
    if len(others) < 2 or not flat:
      return False
    self.log(
      f'warning   {self.root}: {self._shown(train)}/ is taken as a class, since it lies beside'
      f' {some(others)} and no folder is named test or val'
    )
    return True

  def _of_splits(
    self, prefix: str, inside: dict[str, list[str]], direct: list[str], names: list[str]
  ) -> tuple[Split, Split | None]:
    trains = [name for name in names if _is(_TRAIN, name)]
    if len(trains) > 1:
      raise ArgumentError(
        self.root, f'{" and ".join(f"{self._shown(x)}/" for x in trains[:3])}', 'one of them'
      )
    self._require_images(prefix, trains[0], inside)
    train = self._of_classes(*self._unwrapped(f'{prefix}{trains[0]}/', inside[trains[0]], False))
    name, test = self._test_split(prefix, inside, names, bool(train.class_names))
    extra = [x for x in inside if _is(_UNLABELED, x)]
    used = f'{self._shown(prefix)}{self._shown(trains[0])}/'
    if extra:
      both = {f'{train.folder[len(prefix) :]}{path}': c for path, c in train.classes.items()}
      both |= {f'{x}/{path}': None for x in extra for path in inside[x]}
      train, used = Split(prefix, both), f'{used} and {self._shown(extra[0])}/'
    rest = {
      x: below for x, below in inside.items() if x not in (trains[0], name) and x not in extra
    }
    self._not_read(prefix, rest, direct)
    if test is None:
      self.log(f'{self.root}: training images are in {used} ({train.describe()})')
    else:
      if train.class_names and test.class_names:
        test = self._with_classes_of(train, test, name)
      elif train.class_names:
        self.log(
          f'warning   {self.root}: {self._shown(name)}/ has no classes, so that no accuracy can be'
          f' measured; without it, images of {used} would be held out'
        )
      self.log(
        f'{self.root}: training images are in {used} ({train.describe()}), test images in'
        f' {self._shown(prefix)}{self._shown(name)}/ ({test.describe()})'
      )
    self._warn(train)
    return train, test

  def _test_split(
    self, prefix: str, inside: dict[str, list[str]], names: list[str], labeled: bool
  ) -> tuple[str, Split | None]:
    """The first test folder in the order of `_TEST`; one with classes, where training has some."""
    tests = sorted((x for x in names if _is(_TEST, x)), key=lambda x: _TEST.index(_word(x)))
    words = [_word(x) for x in tests]
    if twins := [x for x in tests if words.count(_word(x)) > 1]:
      raise ArgumentError(
        self.root, f'{" and ".join(f"{self._shown(x)}/" for x in twins[:3])}', 'one of them'
      )
    if not tests:
      return '', None
    if not any(x in inside for x in tests):
      self._require_images(prefix, tests[0], inside)
    found = {
      x: self._of_classes(*self._unwrapped(f'{prefix}{x}/', inside[x], False))
      for x in tests
      if x in inside
    }
    best = next((x for x in found if found[x].class_names or not labeled), next(iter(found)))
    return best, found[best]

  def _with_classes_of(self, train: Split, test: Split, name: str) -> Split:
    """The test images with the spelling of the training classes."""
    known = {unicodedata.normalize('NFC', x): x for x in train.class_names}
    known |= {x: x for x in train.class_names}
    spelled = {
      x: known.get(x, known.get(unicodedata.normalize('NFC', x))) for x in test.class_names
    }
    unknown = [x for x, found in spelled.items() if found is None]
    where = f'{self.root}/{printable(test.folder.rstrip("/"))}'
    if not unknown:
      classes = {path: x if x is None else spelled[x] for path, x in test.classes.items()}
      return Split(test.folder, classes)
    only = test.class_names[0]
    if len(spelled) == 1 and (_is((*_TEST, 'unknown', 'all', 'unlabeled'), only)):
      self.log(f'{where}: {self._shown(only)}/ is no class of {train.folder}; taken as unlabeled')
      return Split(test.folder, dict.fromkeys(test.classes))
    if len(unknown) == len(spelled):
      found = f'{some(unknown)}, of which train/ has none'
    else:
      found = f'class {self._shown(unknown[0])!r}, which train/ does not have'
    allowed = f'of its {len(train.class_names)} classes: {some(train.class_names)}'
    raise ArgumentError(where, found, allowed, nearest(unknown[0], train.class_names, 1))

  def _of_classes_with_splits(
    self, prefix: str, inside: dict[str, list[str]], direct: list[str]
  ) -> tuple[Split, Split | None] | None:
    """CLASS/train/IMAGE and CLASS/test/IMAGE; None for another layout."""
    parts = {name: _by_folder(below) for name, below in inside.items() if not _is(_UNLABELED, name)}
    # A folder `train` beside others that are no splits, as in vehicles/, is none.
    split = {
      x: sorted(map(_word, below))
      for x, (below, _) in parts.items()
      if below and all(_is((*_TRAIN, *_TEST), name) for name in below)
    }
    if not split:
      return None
    trains = [x for x, words in split.items() if any(word in _TRAIN for word in words)]
    one = min(trains or split)
    where = f'{self._shown(one)}/{self._shown(next(iter(parts[one][0])))}/'
    if not trains:
      self.log(
        f'warning   {self.root}: images of {where} are taken for images of the class'
        f' {self._shown(one)}, although they look like test images'
      )
      return None
    if other := [x for x, (_, beside) in parts.items() if x not in trains or beside]:
      raise ArgumentError(
        self.root,
        f'{where}, but {self._shown(other[0])}/ otherwise',
        'train/ and test/ in each class, or in none',
      )
    inner = [
      {
        x
        for folder, paths in parts[name][0].items()
        if _is(_TRAIN, folder)
        for x in _by_folder(paths)[0]
        if not _is(_IMAGES, x)
      }
      for name in parts
    ]
    if len(inner) > 1 and (shared := set.intersection(*inner)):
      raise ArgumentError(
        self.root,
        f'{self._shown(min(shared))}/ inside {where} and its like',
        'one train/ with a folder for each class',
      )
    train: dict[str, str | None] = {}
    test: dict[str, str | None] = {}
    unread: dict[str, list[str]] = {}
    # One name for the test images of all classes.
    words = {_word(name) for below, _ in parts.values() for name in below} - set(_TRAIN)
    taken = min(words, key=_TEST.index, default='')
    for name, (below, _) in parts.items():
      for folder, paths in below.items():
        files = {f'{name}/{folder}/{path}': name for path in paths}
        if _is(_TRAIN, folder):
          train |= files
        elif _word(folder) == taken:
          test |= files
        else:
          unread[f'{name}/{folder}'] = paths
    for name in inside:
      if name not in parts:
        train |= dict.fromkeys((f'{name}/{path}' for path in inside[name]), None)
    self._not_read(prefix, unread, direct)
    line = f'training images are in CLASS/train/ ({Split(prefix, train).describe()})'
    if test:
      line += f', test images in CLASS/{taken}/ ({Split(prefix, test).describe()})'
    self.log(f'{self._where(prefix)}: {line}')
    self._warn(Split(prefix, train))
    return Split(prefix, train), Split(prefix, test) if test else None

  def _of_classes(self, folder: str, paths: list[str]) -> Split:
    """The class folders in `folder`, or all its images without classes."""
    inside, direct = _by_folder(paths)
    classes = [name for name in inside if not _is(_UNLABELED, name)]
    if not classes:
      return Split(folder, dict.fromkeys(paths))
    where, count = self._where(folder), sum(len(inside[name]) for name in classes)
    if len(direct) > count:
      raise ArgumentError(
        where,
        f'{len(direct):,} images beside folders with {count:,} ({some(classes)})',
        'all in class folders, or none',
      )
    if direct:
      self.log(
        f'{where}: ignored {_images(len(direct))} beside the class folders, which have no class'
      )
    empty = [name for name in self._folders_in(folder) if name not in inside]
    if len(empty) > 3:
      self.log(f'{where}: {some(empty)} hold no image; left out of the classes')
    else:
      for name in empty:
        self.log(f'{where}/{self._shown(name)}: holds no image; left out of the classes')
    self._report_twins(where, classes)
    return Split(
      folder,
      {
        f'{name}/{path}': None if _is(_UNLABELED, name) else name
        for name, below in inside.items()
        for path in below
      },
    )

  def _report_twins(self, where: str, names: list[str]) -> None:
    seen: dict[str, str] = {}
    lines = []
    for name in sorted(names, key=lambda x: x.encode('utf-8', 'surrogateescape')):
      composed = unicodedata.normalize('NFC', name)
      first = seen.setdefault(composed.casefold(), composed)
      if first != composed:
        lines.append(
          f'{where}: class folders {self._shown(first)!r} and {self._shown(composed)!r} differ only'
          ' in spelling; they stay two classes'
        )
    log_first(lines, self.log)

  def _warn(self, train: Split) -> None:
    names = train.class_names
    sizes = dict.fromkeys(names, 0)
    for name in train.classes.values():
      if name is not None:
        sizes[name] += 1
    single = sum(size == 1 for size in sizes.values())
    if len(names) >= _MANY and 2 * single > len(names):
      self.log(
        f'warning   {self.root}: {single:,} of {len(names):,} classes have a single image; folders'
        ' that are no classes, such as one for each image, make accuracies meaningless'
      )
    if len(names) == 1:
      self.log(
        f'warning   {self.root}: one class ({self._shown(names[0])}), so that every accuracy is'
        ' 100 %; images without classes lie in no folder'
      )
    if suspects := [x for x in names if _is_annotation(x) or _is(_IMAGES, x)]:
      self.log(
        f'warning   {self.root}: {some([f"{x}/" for x in suspects])} taken as a class; elsewhere,'
        ' annotations are not read'
      )

  def _warn_of_inner_classes(self, prefix: str, inside: dict[str, list[str]]) -> None:
    """Warns if the same folders are in most class folders, as when a folder is one of a source."""
    found = collections.Counter(
      x for below in inside.values() for x in _by_folder(below)[0] if not _is(_IMAGES, x)
    )
    again = [x for x, count in found.items() if count > max(1, len(inside) / 2)]
    if len(again) > 1:
      self.log(
        f'warning   {self._where(prefix)}: {some(again)} are folders in most of'
        f' {some(list(inside))}; classes are the outer ones'
      )

  def _not_read(
    self, prefix: str, unread: dict[str, list[str]], direct: Sequence[str] = ()
  ) -> None:
    lines = [f'{self._shown(name)}/ ({_images(len(paths))})' for name, paths in unread.items()]
    if direct:
      lines.append(f'{_images(len(direct))} in no folder')
    if lines:
      self.log(f'{self._where(prefix)}: not read: {some(lines, characters=60)}')

  def _require_images(self, prefix: str, name: str, inside: dict[str, list[str]]) -> None:
    if name not in inside:
      raise OSError(f'{self._where(f"{prefix}{name}")}: holds no image')

  def _folders_in(self, prefix: str) -> list[str]:
    start = len(prefix)
    return sorted(
      path[start:-1]
      for path in self.folders
      if path.startswith(prefix) and path != prefix and '/' not in path[start:-1]
    )

  def _where(self, prefix: str) -> str:
    return f'{self.root}/{printable(prefix)}'.rstrip('/')

  def _shown(self, name: str) -> str:
    return shortened(name, 60)
