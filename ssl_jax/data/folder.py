"""A folder of image files, decoded into memory."""

import concurrent.futures
import contextlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ssl_jax.data.dataset import ArraySource, Dataset
from ssl_jax.data.folder_layout import Split, find_layout
from ssl_jax.data.folder_listing import Listing, hash_order, list_classes, list_tree
from ssl_jax.data.image_file import Decoded, decode_image, plugin_formats, quiet_pillow, used_depth
from ssl_jax.data.memory import check_images
from ssl_jax.data.one_line import printable, reason, shown_path
from ssl_jax.data.resizing import require_pillow

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

  `folder_layout.find_layout` says which images are for training and for testing, and of which
  class. Without a test folder, an image is held out when the hash of its relative path falls into
  the lowest `test_fraction`: the same images on every machine, and an image never changes sides
  when others are added; an unlabeled image beside labeled ones is never held out. Images stand in
  the order of that hash, so that the first n are a fair sample. `image_file.read_image` states what
  becomes of every kind of image, `list_tree` which files are read.

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
  try:
    is_folder = stat.S_ISDIR(pathlib.Path(path).stat().st_mode)
  except FileNotFoundError as error:
    raise FileNotFoundError(f'{root}: found nothing; folder:PATH allows a folder') from error
  except OSError as error:
    raise OSError(f'{root}: {reason(error)}') from error
  if not is_folder:
    raise NotADirectoryError(f'{root}: found a file; folder:PATH allows a folder')

  def damaged(line: str) -> None:
    if on_error == 'fail':
      raise OSError(f'{line}; on_error=skip goes on without it')
    log(f'{line}; skipped')

  def incomplete(line: str) -> None:
    if on_error == 'fail':
      raise OSError(f'{line}; on_error=skip goes on with what is there')
    log(line)

  try:
    tree = list_tree(path, damaged, log)
  except OSError as error:
    if error.strerror is None:
      raise
    raise OSError(f'{printable(error.filename or path)}: {error.strerror}') from error
  splits = find_layout(root, tree.images, tree.folders, log)
  train, test = _listings(path, splits, test_fraction, seed)
  if splits[1] is None and test_fraction:
    held, total = len(test.files), len(test.files) + len(train.files)
    log(f'{root}: {held:,} of {total:,} images are held out for testing')
  listings = (train, test)
  check_images(root, sum(len(listing.files) for listing in listings), image_size)
  decoded = [decode(x.root, x.files, image_size, damaged, incomplete) for x in listings]
  _scale(listings, decoded, image_size, log)
  train_source, test_source = (
    _source(listing, found, log) for listing, found in zip(listings, decoded, strict=True)
  )
  if not len(train_source):
    raise OSError(f'{root}: no training image is left; allowed at least one that can be read')
  return Dataset(f'folder:{root}', train_source, test_source, train.class_names or test.class_names)


def _listings(
  path: str, splits: tuple[Split, Split | None], test_fraction: float, seed: int
) -> tuple[Listing, Listing]:
  train, test = splits
  names = train.class_names or (test.class_names if test else [])
  listings = [
    list_classes(
      f'{path}/{split.folder}'.rstrip('/'), split.classes, names if split.class_names else ()
    )
    for split in (train, test)
    if split is not None
  ]
  if test is None:
    return _hold_out(listings[0], test_fraction, seed)
  return listings[0], listings[1]


def _source(listing: Listing, found: 'Images', log: Callable[[str], None]) -> ArraySource:
  if len(found.rows) < len(listing.files):
    lost = len(listing.files) - len(found.rows)
    log(f'{printable(listing.root)}: skipped {lost:,} of {len(listing.files):,} image files')
  kept = listing.subset(found.rows.tolist())
  labels = np.asarray(kept.labels, np.int32) if listing.labels else None
  return ArraySource(found.pixels, labels, kept.files)


def _scale(
  listings: Sequence[Listing],
  decoded: Sequence['Images'],
  image_size: int,
  log: Callable[[str], None],
) -> None:
  """Reads gray images of 16 bits again where all of the data set use fewer bits than that."""
  for color in (False, True):
    peaks = [found.peaks[found.deep_color == color] for found in decoded]
    peak = max((int(x.max()) for x in peaks if x.size), default=0)
    depth, count = used_depth(peak), sum(int((x > 0).sum()) for x in peaks)
    if not peak or depth == 16:
      continue
    where = printable(listings[0].root)
    if color:
      log(
        f'warning   {where}: {count:,} color images of 16 bits a channel hold values up to'
        f' {peak:,} ({depth} bits) and are dark; store them with the full range'
      )
      continue
    for listing, found in zip(listings, decoded, strict=True):
      for row in np.flatnonzero((found.peaks > 0) & ~found.deep_color):
        file = f'{listing.root}/{listing.files[found.rows[row]]}'
        with quiet_pillow():
          found.pixels[row] = decode_image(file, image_size, depth).pixels
    log(
      f'{where}: {count:,} gray images of 16 bits hold values up to {peak:,}; read as {depth} bits'
    )


def _hold_out(listing: Listing, fraction: float, seed: int) -> tuple[Listing, Listing]:
  # Not those of unlabeled images beside labeled ones: nothing is measured on them.
  candidates = [
    i for i in range(len(listing.files)) if not listing.labels or listing.labels[i] >= 0
  ]
  hashes = {i: hash_order(listing.files[i], seed) for i in candidates}
  testing = {i for i in candidates if hashes[i] < fraction * 2**64}
  # Chance must not leave a small folder without either side.
  if len(testing) == len(listing.files):
    testing -= {max(candidates, key=hashes.__getitem__)}
  elif fraction and len(candidates) > 1 and not testing:
    testing = {min(candidates, key=hashes.__getitem__)}
  training = [i for i in range(len(listing.files)) if i not in testing]
  return listing.subset(training), listing.subset(sorted(testing))


class Images(NamedTuple):
  """Images of a list of files.

  Attributes:
    pixels: uint8 [k, image_size, image_size, 3].
    rows: int64 [k], the positions of their files in the list.
    peaks: int32 [k], the greatest value in a file of 16 bits a channel, 0 of others.
    deep_color: bool [k], whether it is such a file with several channels.
  """

  pixels: np.ndarray
  rows: np.ndarray
  peaks: np.ndarray
  deep_color: np.ndarray


def decode(
  root: str,
  files: Sequence[str],
  image_size: int,
  damaged: Callable[[str], None],
  incomplete: Callable[[str], None],
) -> Images:
  """Decodes files in threads.

  `damaged` gets one line for each unreadable one, in their order, and `incomplete` for each that
  was read without its end.
  """
  images = np.empty((len(files), image_size, image_size, 3), np.uint8)

  def read(row: int) -> Decoded | str:
    try:
      found = decode_image(f'{root}/{files[row]}', image_size)
    except OSError as error:
      return str(error)
    images[row] = found.pixels
    return found._replace(pixels=images[row, :0])

  plugin_formats()  # registered once, before the threads
  kept: list[tuple[int, int, bool]] = []
  with quiet_pillow(), _threads() as pool:
    for row, found in enumerate(pool.map(read, range(len(files)))):
      if isinstance(found, str):
        damaged(found)
        continue
      kept.append((row, found.peak, found.color))
      if found.missing is not None:
        lost = f'{found.missing:.1%} of its pixels are missing and gray'
        lost = lost if found.missing else 'no pixel is missing'
        incomplete(f'{shown_path(f"{root}/{files[row]}")}: the file ends early; {lost}')
  rows, peaks, color = np.asarray(kept, np.int64).reshape(-1, 3).T
  pixels = images if len(kept) == len(files) else images[rows]
  return Images(pixels, rows, peaks.astype(np.int32), color.astype(bool))


@contextlib.contextmanager
def _threads() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
  pool = concurrent.futures.ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
  try:
    yield pool
  finally:
    # Leaving at the first damaged file must not wait for the rest of the folder.
    pool.shutdown(cancel_futures=True)
