"""PNG files of any header, and with 16 bits a channel."""

import struct
import zlib


def chunk(kind, content):
  body = kind + content
  return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))


def png(width, height, depth, color_type, rows=b'', extra=b''):
  """A PNG file as the specification has it: Pillow writes neither 16-bit color nor false sizes."""
  header = struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, 0)
  end = chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + extra + end


def png16(values, color_type, extra=b''):
  rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
  return png(values.shape[1], values.shape[0], 16, color_type, rows, extra)
