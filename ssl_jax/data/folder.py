"""A folder of image files, decoded into memory."""

import concurrent.futures
import contextlib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.dataset import ArraySource, Dataset
from ssl_jax.data.folder_listing import Listing, hash_order, list_images
from ssl_jax.data.image_file import printable, read_image
from ssl_jax.data.resizing import require_pillow

_TEST_FOLDERS = ('test', 'val')
# Each thread may hold one full-size image.
_MAX_THREADS = 8


def load_folder(
  path: str,
  image_size: int,
  test_fraction: float,
  on_error: str,
  seed: int,
  log: Callable[[str], None],
) -> Dataset:
  """Decodes the images of PATH to squares of `image_size` pixels.

  Layouts: PATH/CLASS/IMAGE; PATH/IMAGE, unlabeled; or one of them in PATH/train and another in
  PATH/test (or PATH/val). Without the latter, an image is held out when the hash of its relative
  path falls into the lowest `test_fraction`: the same images on every machine, and an image never
  changes sides when others are added. Images stand in the order of that hash, so that the first n
  are a fair sample. `image_file.read_image` states what becomes of every kind of image,
  `list_images` which files are read.

  Args:
    path: the folder.
    image_size: pixels.
    test_fraction: at least 0, below 1.
    on_error: 'skip' reports a damaged file in one line and goes on, 'fail' raises for the first
      one.
    seed: another one holds out other images.
    log: called with one line for each thing worth knowing.

  Raises:
    ValueError: the layout is ambiguous, the images do not fit in memory, or Pillow is missing.
    OSError: the folder cannot be read, no image is left, or one is damaged and `on_error` is
      'fail'.
  """
  require_pillow()
  path = path.rstrip('/') or '/'
  root = printable(path)
  if not pathlib.Path(path).is_dir():
    found = 'a file' if pathlib.Path(path).exists() else 'nothing'
    raise NotADirectoryError(f'{root}: found {found}; folder:PATH allows a folder')

  def damaged(line: str) -> None:
    if on_error == 'fail':
      raise OSError(f'{line}; on_error=skip goes on without it')
    log(f'{line}; skipped')

  try:
    train, test = _splits(path, test_fraction, seed, damaged, log)
  except OSError as error:
    if error.strerror is None:
      raise
    raise OSError(f'{printable(error.filename or path)}: {error.strerror}') from error
  _check_memory(root, len(train.files) + len(test.files), image_size)

  def read(listing: Listing) -> ArraySource:
    images, kept = decode(listing.root, listing.files, image_size, damaged)
    if len(kept) < len(listing.files):
      lost = len(listing.files) - len(kept)
      log(f'{printable(listing.root)}: skipped {lost:,} of {len(listing.files):,} image files')
    labels = np.asarray(listing.labels, np.int32)[kept] if listing.labels else None
    return ArraySource(images, labels, tuple(listing.files[row] for row in kept))

  train_source, test_source = read(train), read(test)
  if not len(train_source):
    raise OSError(f'{root}: no training image is left; allowed at least one that can be read')
  class_names = train.class_names or test.class_names
  return Dataset(f'folder:{root}', train_source, test_source, class_names)


def _splits(
  path: str,
  test_fraction: float,
  seed: int,
  damaged: Callable[[str], None],
  log: Callable[[str], None],
) -> tuple[Listing, Listing]:
  tests = [name for name in _TEST_FOLDERS if pathlib.Path(path, name).is_dir()]
  if not pathlib.Path(path, 'train').is_dir():
    if tests:
      raise ArgumentError(
        printable(path), f'{tests[0]}/ without train/', 'both, or class folders alone'
      )
    return _hold_out(list_images(path, damaged, log), test_fraction, seed)
  train = list_images(f'{path}/train', damaged, log)
  if not tests:
    return _hold_out(train, test_fraction, seed)
  test = list_images(f'{path}/{tests[0]}', damaged, log)
  if not train.class_names or not test.class_names:
    return train, test
  unknown = [name for name in test.class_names if name not in train.class_names]
  if unknown:
    raise ArgumentError(
      printable(test.root),
      f'class {unknown[0]!r}, which train/ does not have',
      f'its {len(train.class_names)} classes',
    )
  number = [train.class_names.index(name) for name in test.class_names]
  labels = tuple(number[label] for label in test.labels)
  return train, Listing(test.root, test.files, train.class_names, labels)


def _hold_out(listing: Listing, fraction: float, seed: int) -> tuple[Listing, Listing]:
  hashes = [hash_order(path, seed) for path in listing.files]
  testing = [number < fraction * 2**64 for number in hashes]
  # Chance must not leave a small folder without either side.
  if all(testing):
    testing[hashes.index(max(hashes))] = False
  elif fraction and len(hashes) > 1 and not any(testing):
    testing[hashes.index(min(hashes))] = True

  def part(side: bool) -> Listing:
    chosen = [i for i, is_test in enumerate(testing) if is_test == side]
    files = tuple(listing.files[i] for i in chosen)
    labels = tuple(listing.labels[i] for i in chosen) if listing.labels else ()
    return Listing(listing.root, files, listing.class_names, labels)

  return part(False), part(True)


def decode(
  root: str, files: Sequence[str], image_size: int, damaged: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
  """Decodes files in threads; `damaged` gets one line for each unreadable one, in their order.

  Returns:
    uint8 [k, image_size, image_size, 3] and the positions int64 [k] in `files` of those that are
    read.
  """
  images = np.empty((len(files), image_size, image_size, 3), np.uint8)

  def read(row: int) -> str | None:
    try:
      images[row] = read_image(f'{root}/{files[row]}', image_size)
    except OSError as error:
      return str(error)
    return None

  kept = []
  with _quiet_pillow(), _threads() as pool:
    for row, line in enumerate(pool.map(read, range(len(files)))):
      if line is None:
        kept.append(row)
      else:
        damaged(line)
  positions = np.asarray(kept, np.int64)
  return (images if len(kept) == len(files) else images[positions]), positions


@contextlib.contextmanager
def _threads() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
  pool = concurrent.futures.ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
  try:
    yield pool
  finally:
    # Leaving at the first damaged file must not wait for the rest of the folder.
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
  """What Pillow warns of is either harmless here or reported with the path of the file."""
  from PIL import Image

  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', module=r'PIL\.')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    yield


def _check_memory(root: str, count: int, image_size: int) -> None:
  needed = count * image_size * image_size * 3
  try:
    there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  except (AttributeError, ValueError, OSError):
    return
  if needed > there:
    found = f'{count:,} images of {image_size}x{image_size} pixels, {needed / 2**30:.1f} GiB'
    allowed = f'at most {there / 2**30:.1f} GiB, the memory of this machine: smaller images'
    raise ArgumentError(root, found, allowed)
