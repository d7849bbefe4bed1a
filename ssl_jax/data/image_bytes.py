"""The bytes of an image file without its metadata, and of a JPEG that ends early."""

import zlib

import numpy as np


def without_metadata(content: bytes) -> list[bytes]:
  """The file with EXIF alone, and with no metadata at all, where Pillow reads it all the same."""
  if content.startswith(b'\x89PNG\r\n\x1a\n'):
    versions = [_bare_png(content, exif) for exif in (True, False)]
  elif content.startswith(b'\xff\xd8'):
    versions = [_bare_jpeg(content, exif) for exif in (True, False)]
  elif content[4:8] == b'ftyp':  # AVIF and HEIC keep the orientation elsewhere
    versions = [content.replace(b'Exif', b'none')]
  else:
    return []
  return [version for version in dict.fromkeys(versions) if version != content]


def _bare_png(content: bytes, exif: bool) -> bytes:
  """The chunks that pixels are made of, and the orientation in one that is whole."""
  kept, at = [content[:8]], 8
  while at + 12 <= len(content):
    end = at + 12 + int.from_bytes(content[at : at + 4], 'big')
    kind = content[at + 4 : at + 8]
    whole = zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, 'big') == content[end - 4 : end]
    if kind[:1].isupper() or kind == b'tRNS' or (exif and kind == b'eXIf' and whole):
      kept.append(content[at:end])
    at = end
  return b''.join(kept)


def _bare_jpeg(content: bytes, exif: bool) -> bytes:
  """The file without comments and application segments but JFIF, Adobe (colors) and EXIF."""
  kept, at = [content[:2]], 2
  while at + 4 <= len(content) and content[at] == 0xFF:
    marker, end = content[at + 1], at + 2 + int.from_bytes(content[at + 2 : at + 4], 'big')
    if marker == 0xDA:
      break
    is_exif = marker == 0xE1 and content[at + 4 : at + 10] == b'Exif\0\0'
    is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
    if not is_metadata or marker in (0xE0, 0xEE) or (exif and is_exif):
      kept.append(content[at:end])
    at = end
  return b''.join([*kept, content[at:]])


def has_all_frequencies(content: bytes) -> bool:
  """Whether a progressive JPEG has begun its first component's scan of the highest frequencies."""
  # Neither marker occurs in compressed data; a thumbnail stands before the frame.
  frame = content.rfind(b'\xff\xc2')
  if frame < 0:
    return True
  first, at = content[frame + 10 : frame + 11], content.find(b'\xff\xda', frame)
  while at >= 0:
    components = content[at + 5 : at + 6]
    if components == first and content[at + 8 : at + 9] == b'\x3f':
      return True
    at = content.find(b'\xff\xda', at + 2)
  return False


def ended_jpeg(content: bytes) -> bytes:
  """A JPEG that ends early with an end marker, without a last segment of a header that is cut off.

  At the marker a decoder leaves what is missing gray, instead of waiting for more.
  """
  markers = (0xC4, 0xDA, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
  at = max(content.rfind(bytes((0xFF, marker))) for marker in markers)
  end = at + 2 + int.from_bytes(content[at + 2 : at + 4], 'big')
  whole = at if end > len(content) or at + 4 > len(content) else len(content)
  return content[:whole] + b'\xff\xd9'


def gray_end(pixels: np.ndarray) -> float:
  """The share of pixels from the end of the image back that are as gray as missing ones."""
  near = (pixels >= 127) & (pixels <= 128)
  gray = near if near.ndim == 2 else np.all(near, axis=-1)
  # The length of the gray run at the right of each row, up to the first row that has none.
  runs = np.where(gray.all(axis=1), gray.shape[1], np.argmin(gray[:, ::-1], axis=1))
  whole = np.flatnonzero(runs == 0)
  return float(runs[whole[-1] + 1 if len(whole) else 0 :].sum() / gray.size)
