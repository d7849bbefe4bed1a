"""Queries and a gallery of persons seen by cameras, for re-identification."""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from ssl_jax.arguments import ArgumentError, expand_home
from ssl_jax.data.folder_listing import image_files
from ssl_jax.data.image_file import decode_image, quiet_pillow
from ssl_jax.data.npz_file import read_arrays
from ssl_jax.data.one_line import printable, shown_path
from ssl_jax.data.resizing import require_pillow

# Of the truncated triplet loss's SYSU-30k evaluation; Market-1501's files have it too.
HEIGHT, WIDTH = 256, 128
# As many digits as int64 holds.
_NAME = re.compile(r'(-?[0-9]{1,18})_c([0-9]{1,18})(?![0-9])')
_ARRAYS = tuple(
  f'{part}_{what}' for part in ('query', 'gallery') for what in ('images', 'ids', 'cameras')
)


_MARKET = {'query': 'query', 'gallery': 'bounding_box_test'}


class Reid(NamedTuple):
  """uint8 images [n, height, width, 3], and int64 identities and cameras [n].

  Identities below 0 are distractors: they stay in every ranking and match nobody.
  """

  query: np.ndarray
  query_ids: np.ndarray
  query_cameras: np.ndarray
  gallery: np.ndarray
  gallery_ids: np.ndarray
  gallery_cameras: np.ndarray


def load_reid(source: str) -> Reid:
  """Reads `npz:PATH` or `folder:PATH`.

  The file holds `query_images`, `query_ids`, `query_cameras` and the same of `gallery`, images
  uint8 of any size. The folder holds `query/` and `gallery/` (or `bounding_box_test/`), whose
  images, in folders of their own or not, are named IDENTITY_cCAMERA, as Market-1501's
  `0002_c1s1_000451_03.jpg`; they are resized to 256 x 128 pixels, bicubic. Hidden files and those
  that are no images are passed over.

  Negative identities are distractors, as in SYSU-30k, where theirs is -1000. So are the images
  `-1_c...` of Market-1501, which its own evaluation leaves out of the gallery instead: remove them
  to be compared with it. Its distractors, `0000_c...`, match nobody because no query has this name.

  Source: the evaluation on SYSU-30k of Wang et al., ICCV 2021.

  Raises:
    ValueError: the source is none of these, what it holds does not fit, or Pillow is missing.
    OSError: it cannot be read, or an image is damaged.
  """
  kind, _, path = expand_home('source', source).partition(':')
  if kind == 'npz' and path:
    return _of_arrays(path)
  if kind == 'folder' and path:
    parts = [_of_folder(_part(pathlib.Path(path), name)) for name in ('query', 'gallery')]
    return Reid(*parts[0], *parts[1])
  raise ArgumentError('source', repr(source), 'npz:PATH or folder:PATH')


def _of_arrays(path: str) -> Reid:
  found = read_arrays(path, _ARRAYS, needed=_ARRAYS)
  path = printable(path)
  for part in ('query', 'gallery'):
    images = found[f'{part}_images']
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3
    if not fits or 0 in images.shape:
      raise ArgumentError(
        f'{path}: {part}_images',
        f'{images.dtype} {list(images.shape)}',
        'uint8 [n, height, width, 3], nothing 0',
      )
    for what in ('ids', 'cameras'):
      array = found[f'{part}_{what}']
      if array.dtype.kind not in 'iu' or array.shape != images.shape[:1]:
        raise ArgumentError(
          f'{path}: {part}_{what}',
          f'{array.dtype} {list(array.shape)}',
          f'integers [{len(images)}]',
        )
      if array.max() > np.iinfo(np.int64).max:
        raise ArgumentError(f'{path}: {part}_{what}', array.max(), 'below 2**63')
      found[f'{part}_{what}'] = array.astype(np.int64)
  return Reid(*(found[name] for name in _ARRAYS))


def _part(folder: pathlib.Path, name: str) -> pathlib.Path:
  """The folder of a part, in any capitals or under its name in Market-1501."""
  names = (name, _MARKET[name])
  found = sorted(x for x in folder.glob('*') if x.name.casefold() in names and x.is_dir())
  if len(found) > 1:
    shown = ' and '.join(f'{printable(x.name)}/' for x in found)
    raise ArgumentError(printable(folder), shown, 'one of them')
  return found[0] if found else folder / name


def _of_folder(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  if not folder.is_dir():
    raise NotADirectoryError(
      f'{printable(folder)}: there is no such folder; folder:PATH allows one with '
      'query/ and gallery/'
    )
  require_pillow()
  files = [folder / name for name in image_files(str(folder))]
  # Names first: decoding may take long.
  ids, cameras = np.array([_identity_and_camera(file) for file in files], np.int64).T
  images = np.empty((len(files), HEIGHT, WIDTH, 3), np.uint8)
  with quiet_pillow():
    for row, file in enumerate(files):
      images[row] = decode_image(file, (WIDTH, HEIGHT)).pixels
  return images, ids, cameras


def _identity_and_camera(file: pathlib.Path) -> tuple[int, int]:
  match = _NAME.match(file.name)
  if match is None:
    found = 'a name without identity and camera'
    raise ArgumentError(shown_path(file), found, 'one that begins with IDENTITY_cCAMERA')
  return int(match[1]), int(match[2])
