"""Reads an image file as uint8 RGB of a given size; the table has the treatment of each kind.

| file | treatment |
|---|---|
| gray, palette, CMYK, YCbCr | converted to RGB |
| transparent (RGBA, LA, palette or color key) | composited on white |
| 16 bits a channel | the high byte; of gray ones that use fewer bits, the highest 8 of those |
| 1 bit | black and white |
| EXIF orientation | applied; one that is none, or unreadable, is ignored |
| damaged or oversized metadata | left out |
| animation, several pages | the first frame |
| 1x1, or any other shape | shorter side to the image size, then the central square |
| JPEG without its end | recovered and reported if at most a quarter of its pixels are missing |
| HEIC, AVIF | read where Pillow or an installed plug-in does |
| more than 89,478,485 pixels | refused before a pixel is decoded |
| 32-bit integers, floats, LAB | refused: no stated range |
| truncated, empty, no image, no regular file | refused |
"""

import contextlib
import ctypes
import functools
import importlib
import io
import os
import pathlib
import stat
import warnings
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from ssl_jax.data import image_bytes, one_line
from ssl_jax.data.one_line import shown_path
from ssl_jax.data.resizing import to_square

EXTENSIONS = frozenset(
  f'.{ending}'
  for ending in ('apng', 'bmp', 'gif', 'jfif', 'jpe', 'jpeg', 'jpg', 'mpo', 'pbm', 'pgm', 'png')
  + ('pnm', 'ppm', 'tif', 'tiff', 'webp')
)

# Images that Pillow reads with a plug-in: ending, Pillow's name of the format, module, package.
PLUGINS = {
  **dict.fromkeys(('.heic', '.heif', '.hif'), ('HEIF', 'pillow_heif', 'pillow-heif')),
  **dict.fromkeys(('.avif', '.avifs'), ('AVIF', 'pillow_avif', 'pillow-avif-plugin')),
}

# Images that are never read.
OTHER_IMAGES = frozenset(
  f'.{ending}'
  for ending in ('arw', 'cr2', 'cr3', 'dcm', 'dds', 'dng', 'exr', 'hdr', 'ico', 'j2k', 'jp2')
  + ('jpf', 'jpx', 'jxl', 'nef', 'orf', 'psd', 'qoi', 'raf', 'rw2', 'svg', 'tga')
)

# Pillow's own threshold for a decompression bomb: 256 MiB of 24-bit pixels.
MAX_PIXELS = 89_478_485

# Others stay closed: some of Pillow's readers start external programs.
_FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')

_MOST_BYTES = 2**30  # of a file: MAX_PIXELS of four channels of 16 bits are fewer
_MOST_RECOVERED = 2**27  # bytes of a file that is read whole and copied to be read again
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258  # a tag of TIFF
_MOST_MISSING = 0.25  # of the pixels of a JPEG
_FULL_DEPTH = 16
_DEPTHS = (8, 10, 12, 14, _FULL_DEPTH)  # bits that sensors give


class Decoded(NamedTuple):
  """An image as it was read.

  Attributes:
    pixels: uint8 [height, width, 3].
    peak: the greatest value in the file, of an image of 16 bits a channel; 0 of others.
    color: whether it is such an image with several channels, whose low bytes Pillow drops.
    missing: the share of its pixels that the file does not have; None of a whole file.
  """

  pixels: np.ndarray
  peak: int = 0
  color: bool = False
  missing: float | None = None


def read_image(path: str | os.PathLike, size: int) -> np.ndarray:
  """Reads an image file as uint8 [size, size, 3], as in the table above.

  Raises:
    OSError: the file is refused. The message is one line: the path and the reason.
  """
  return decode_image(path, size).pixels


def decode_image(
  path: str | os.PathLike, size: int | tuple[int, int], depth: int = _FULL_DEPTH
) -> Decoded:
  """Reads an image file as in the table above, and what was noticed.

  Args:
    path: of the file.
    size: side in pixels of the central square, or width and height that the whole is resized to.
    depth: bits that the values of gray images of 16 bits use; see `used_depth`.

  Raises:
    OSError: the file is refused. The message is one line: the path and the reason.
  """
  try:
    status = pathlib.Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
      raise _Refused('no regular file')
    if not status.st_size:
      raise _Refused('empty file')
    if status.st_size > _MOST_BYTES:
      raise _Refused(f'{status.st_size:,} bytes, more than any image that is read')
    with pathlib.Path(path).open('rb') as file:
      return _read(file, size, depth)
  # A damaged file makes Pillow's readers raise nearly anything, even SyntaxError and IndexError.
  except Exception as error:
    raise OSError(f'{shown_path(path)}: {_reason(error, path)}') from error


def used_depth(peak: int) -> int:
  """The bits that values up to `peak` use, of those that sensors give: 8, 10, 12, 14 or 16.

  One image may be dark; that all images of a data set are, each below a quarter of the range, means
  that fewer bits are used than stored. So this is asked of the greatest value of all.
  """
  return next(bits for bits in _DEPTHS if peak < 2**bits)


@functools.cache
def plugin_formats() -> frozenset[str]:
  """Pillow's names of the formats of `PLUGINS` that can be read here; registers their plug-ins."""
  from PIL import features

  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of an older Pillow, which does not know the word
    found = {'AVIF'} if features.check('avif') else set()
  for name, module, _ in set(PLUGINS.values()):
    try:
      plugin = importlib.import_module(module)
    except (ImportError, OSError):  # missing, or a library that it needs is
      continue
    if hasattr(plugin, 'register_heif_opener'):
      plugin.register_heif_opener()
    found.add(name)
  return frozenset(found)


def extensions() -> frozenset[str]:
  """The endings of the files that are read here."""
  return EXTENSIONS | {ending for ending, (name, *_) in PLUGINS.items() if name in plugin_formats()}


def _read(file: IO[bytes], size: int | tuple[int, int], depth: int) -> Decoded:
  try:
    return _decode(file, size, depth)
  except Exception as error:
    if _is_bomb(error):
      raise
    if file.seek(0, io.SEEK_END) > _MOST_RECOVERED:
      raise
    file.seek(0)
    content = file.read()
    # Pillow refuses files whose pixels are fine for what is beside them.
    for bare in image_bytes.without_metadata(content):
      try:
        return _decode(io.BytesIO(bare), size, depth)
      except Exception:  # the first error says more
        continue
    if not content.startswith(b'\xff\xd8'):
      raise
    recovered = _decode_cut_jpeg(content, size, depth)
    if recovered is None:
      raise
    return recovered


def _decode(file: IO[bytes], size: int | tuple[int, int], depth: int) -> Decoded:
  opened = _opened(file, size)
  with opened.image:
    return _converted(opened, size, depth)


class _Opened(NamedTuple):
  """An image of Pillow's with its pixels, the turn they need, and whether they had 16 bits each."""

  image: Any
  orientation: int
  deep: bool


def _opened(file: IO[bytes], size: int | tuple[int, int]) -> _Opened:
  from PIL import Image

  image = Image.open(file, formats=(*_FORMATS, *plugin_formats()))
  if image.width * image.height > MAX_PIXELS:
    raise _too_large(f'{image.width}x{image.height} pixels')
  # Asked first: to find the orientation of a PNG, Pillow loads it, and has no tiles any more.
  deep = any(';16' in str(tile[3]) for tile in image.tile)
  # Pillow itself turns a TIFF while it loads it.
  orientation = 1 if image.format == 'TIFF' else _orientation(image)
  if isinstance(size, int):
    # JPEG shrinks by 2, 4 or 8 while decoding; from twice the size on the bicubic filter does it.
    image.draft(None, (2 * size, 2 * size))
  image.load()
  return _Opened(image, orientation, deep)


def _converted(opened: _Opened, size: int | tuple[int, int], depth: int) -> Decoded:
  from PIL import Image

  image, orientation, deep = opened
  peak, color = 0, False
  if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
    values = np.asarray(image).astype(np.uint16)
    stated = _stated_depth(image)
    # A PGM states its greatest value, by which Pillow has scaled it.
    if stated == _FULL_DEPTH and deep:
      peak = int(values.max())
    used = min(depth, stated)
    high = np.minimum(values >> (used - 8), 255).astype(np.uint8)
    image = Image.fromarray(high).convert('RGB')
  else:
    color, image = deep, _to_rgb(image)
    if color:
      peak = max(high for _, high in image.getextrema()) << 8 | 0xFF
  if isinstance(size, int):
    # The central square stays the central square: turning it is turning the whole image.
    sized = to_square(image, size)
  else:
    sized = image.resize(size[::-1] if orientation in range(5, 9) else size, _bicubic())
  transposes = Image.Transpose
  transpose = {
    2: transposes.FLIP_LEFT_RIGHT,
    3: transposes.ROTATE_180,
    4: transposes.FLIP_TOP_BOTTOM,
    5: transposes.TRANSPOSE,
    6: transposes.ROTATE_270,
    7: transposes.TRANSVERSE,
    8: transposes.ROTATE_90,
  }.get(orientation)
  return Decoded(
    np.asarray(sized if transpose is None else sized.transpose(transpose)), peak, color
  )


def _bicubic() -> Any:
  from PIL import Image

  return Image.Resampling.BICUBIC


def _stated_depth(image: Any) -> int:
  """The bits of a gray value that the file states, of those it is stored in: TIFF has 12 and 16."""
  bits = getattr(image, 'tag_v2', {}).get(_BITS_PER_SAMPLE, _FULL_DEPTH)
  bits = bits[0] if isinstance(bits, tuple) and bits else bits
  return bits if isinstance(bits, int) and 8 <= bits <= _FULL_DEPTH else _FULL_DEPTH


def _orientation(image: Any) -> int:
  try:
    found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1
  except Exception:  # unreadable metadata costs no image: its pixels are fine
    return 1


def _to_rgb(image: Any) -> Any:
  from PIL import Image

  if image.mode in ('I', 'F', 'LAB'):
    raise _Refused(f'pixels of mode {image.mode}, which have no stated range; allowed 8 or 16 bits')
  if image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')
  return image.convert('RGB')


def _decode_cut_jpeg(content: bytes, size: int | tuple[int, int], depth: int) -> Decoded | None:
  """A JPEG that ends too early, its missing pixels gray; None where too many are missing."""
  if not image_bytes.has_all_frequencies(content):
    return None
  try:
    opened = _opened(io.BytesIO(image_bytes.ended_jpeg(content)), size)
  except Exception:  # it is damaged otherwise; the first error says how
    return None
  with opened.image as image:
    missing = image_bytes.gray_end(np.asarray(image))
    if missing > _MOST_MISSING:
      raise _Refused(
        f'the file ends early, {missing:.0%} of its pixels are missing; allowed {_MOST_MISSING:.0%}'
      )
    return _converted(opened, size, depth)._replace(missing=missing)


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
  """What Pillow warns of is either harmless here or reported with the path of the file."""
  from PIL import Image

  _silence_libtiff()
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', module=r'PIL\.')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    yield


@functools.cache
def _silence_libtiff() -> None:
  """Keeps the libtiff of Pillow from printing beside the exceptions that it causes."""
  from PIL import features

  if not features.check('libtiff'):
    return
  with contextlib.suppress(OSError, AttributeError):
    maps = pathlib.Path('/proc/self/maps').read_text(errors='replace')
    found = next(
      (line.split(maxsplit=5)[-1] for line in maps.splitlines() if '/libtiff' in line), ''
    )
    if found:
      library = ctypes.CDLL(found)
      library.TIFFSetErrorHandler(None)
      library.TIFFSetWarningHandler(None)


class _Refused(Exception):
  """A file that Pillow would read and this module does not."""


def _too_large(found: str) -> _Refused:
  return _Refused(f'{found}, {_BOMB}; allowed {MAX_PIXELS:,} pixels')


_BOMB = 'refused as a decompression bomb'


def _is_bomb(error: Exception) -> bool:
  from PIL import Image

  kinds = Image.DecompressionBombError | Image.DecompressionBombWarning
  return isinstance(error, kinds) or (isinstance(error, _Refused) and _BOMB in str(error))


def _reason(error: Exception, path: str | os.PathLike) -> str:
  from PIL import UnidentifiedImageError

  if isinstance(error, _Refused):
    return str(error)
  if isinstance(error, UnidentifiedImageError):
    return _what_it_is(path)
  if _is_bomb(error):
    return str(_too_large('too many pixels'))
  if isinstance(error, FileNotFoundError):
    return 'broken link' if pathlib.Path(path).is_symlink() else 'file vanished'
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  if isinstance(error, MemoryError):
    return 'not enough memory to decode it'
  return f'damaged image: {one_line.reason(error)}'


def _what_it_is(path: str | os.PathLike) -> str:
  """Why Pillow finds no image in a file, by its first bytes."""
  with pathlib.Path(path).open('rb') as file:
    start = file.read(64)
  if start.startswith(b'version https://git-lfs'):
    return 'a pointer of Git LFS, not the image; git lfs pull downloads it'
  if start[4:8] == b'ftyp':
    brand = start[8:12]
    ending = '.avif' if brand in (b'avif', b'avis') else '.heic'
    name, _, package = PLUGINS[ending]
    if name not in plugin_formats():
      return f'a {name} image, which needs {package} (pip install {package})'
  return 'no image of a format that is read (BMP, GIF, JPEG, PNG, PPM, TIFF, WebP)'
