"""Reads an image file as a square uint8 RGB image; the table has the treatment of each kind.

| file | treatment |
|---|---|
| gray, palette, CMYK, YCbCr | converted to RGB |
| transparent (RGBA, LA, palette or color key) | composited on white |
| 16 bits a channel | the high byte of each value |
| 1 bit | black and white |
| EXIF orientation | applied |
| animation, several pages | the first frame |
| 1x1, or any other shape | shorter side to the image size, then the central square |
| more than 89,478,485 pixels | refused before a pixel is decoded |
| 32-bit integers, floats, LAB | refused: no stated range |
| truncated, empty, no image, no regular file | refused |
"""

import os
import pathlib
import stat

import numpy as np

from ssl_jax.data.resizing import to_square

EXTENSIONS = frozenset(
  f'.{ending}'
  for ending in ('bmp', 'gif', 'jfif', 'jpe', 'jpeg', 'jpg', 'pbm', 'pgm', 'png', 'pnm', 'ppm')
  + ('tif', 'tiff', 'webp')
)

# Pillow's own threshold for a decompression bomb: 256 MiB of 24-bit pixels.
MAX_PIXELS = 89_478_485

# Others stay closed: some of Pillow's readers start external programs.
_FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')

_ORIENTATION = 0x0112


def printable(path: str | os.PathLike) -> str:
  """A path as one line of valid UTF-8, whatever bytes the file system holds."""
  text = os.fsencode(path).decode('utf-8', 'backslashreplace')
  return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def read_image(path: str | os.PathLike, size: int) -> np.ndarray:
  """Reads an image file as uint8 [size, size, 3], as in the table above.

  Raises:
    OSError: the file is refused. The message is one line: the path and the reason.
  """
  try:
    return _read(path, size)
  # A damaged file makes Pillow's readers raise nearly anything, even SyntaxError and IndexError.
  except Exception as error:
    raise OSError(f'{printable(path)}: {_reason(error, path)}') from error


def _read(path: str | os.PathLike, size: int) -> np.ndarray:
  from PIL import Image

  status = pathlib.Path(path).stat()
  if not stat.S_ISREG(status.st_mode):
    raise _Refused('no regular file')
  if not status.st_size:
    raise _Refused('empty file')
  with pathlib.Path(path).open('rb') as file, Image.open(file, formats=_FORMATS) as image:
    if image.width * image.height > MAX_PIXELS:
      raise _too_large(f'{image.width}x{image.height} pixels')
    orientation = _orientation(image)
    # JPEG shrinks by 2, 4 or 8 while decoding; from twice the size on the bicubic filter does it.
    image.draft(None, (2 * size, 2 * size))
    square = to_square(_to_rgb(image), size)
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
  # The central square stays the central square: turning it is turning the whole image.
  return np.asarray(square if transpose is None else square.transpose(transpose))


def _orientation(image) -> int:
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # unreadable metadata costs no image: its pixels are fine
    return 1


def _to_rgb(image):
  from PIL import Image

  if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
    values = np.asarray(image).astype(np.uint16)
    return Image.fromarray((values >> 8).astype(np.uint8)).convert('RGB')
  if image.mode in ('I', 'F', 'LAB'):
    raise _Refused(f'pixels of mode {image.mode}, which have no stated range; allowed 8 or 16 bits')
  if image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info:
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')
  return image.convert('RGB')


class _Refused(Exception):
  """A file that Pillow would read and this module does not."""


def _too_large(found: str) -> _Refused:
  return _Refused(f'{found}, refused as a decompression bomb; allowed {MAX_PIXELS:,} pixels')


def _reason(error: Exception, path: str | os.PathLike) -> str:
  from PIL import Image, UnidentifiedImageError

  if isinstance(error, UnidentifiedImageError):
    return 'no image of a format that is read (BMP, GIF, JPEG, PNG, PPM, TIFF, WebP)'
  if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
    return str(_too_large('too many pixels'))
  if isinstance(error, FileNotFoundError):
    return 'broken link' if pathlib.Path(path).is_symlink() else 'file vanished'
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  if isinstance(error, _Refused):
    return str(error)
  text = ' '.join(str(error).split())
  return f'damaged image: {text or type(error).__name__}'
