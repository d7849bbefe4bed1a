"""What becomes of every kind of image file."""

import os
import struct
import warnings
import zlib

import chex
import numpy as np
import pytest
from absl.testing import parameterized
from PIL import Image, ImageOps

from ssl_jax.data.image_file import MAX_PIXELS, read_image
from ssl_jax.data.one_line import printable
from tests.data.temporary_folder import TemporaryFolderTest

_RNG = np.random.default_rng(0)
_COLOR = _RNG.integers(0, 256, (8, 8, 3), np.uint8)


def _chunk(kind, content):
  body = kind + content
  return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))


def _png(width, height, depth, color_type, rows=b'', extra=b''):
  """A PNG file as the specification has it: Pillow writes neither 16-bit color nor false sizes."""
  header = struct.pack('>IIBBBBB', width, height, depth, color_type, 0, 0, 0)
  end = _chunk(b'IDAT', zlib.compress(rows)) + _chunk(b'IEND', b'')
  return b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) + extra + end


def _png16(values, color_type, extra=b''):
  rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
  return _png(values.shape[1], values.shape[0], 16, color_type, rows, extra)


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
class ImageFileTest(TemporaryFolderTest):
  def saved(self, image, name='image.png', **options):
    path = self.folder / name
    image.save(path, **options)
    return path

  def written(self, content, name='image.png'):
    path = self.folder / name
    path.write_bytes(content)
    return path

  @parameterized.parameters('png', 'bmp', 'tiff', 'ppm')
  def test_lossless_formats_are_exact(self, extension):
    path = self.saved(Image.fromarray(_COLOR), f'image.{extension}')
    result = read_image(path, 8)
    self.assertEqual(result.dtype, np.uint8)
    np.testing.assert_array_equal(result, _COLOR)

  def test_gray_palette_and_one_bit(self):
    gray = Image.fromarray(_COLOR[..., 0])
    for image in (gray, gray.convert('P'), Image.fromarray(_COLOR).quantize(8), gray.convert('1')):
      expected = np.asarray(image.convert('RGB'))
      np.testing.assert_array_equal(read_image(self.saved(image), 8), expected)

  def test_cmyk(self):
    # Ink: no cyan, full magenta and yellow is red; half black halves it.
    image = Image.new('CMYK', (8, 8), (0, 255, 255, 0))
    image.paste((0, 255, 255, 128), (0, 0, 8, 4))
    for name in ('image.jpg', 'image.tiff'):
      options = {'quality': 100, 'subsampling': 0} if name.endswith('jpg') else {}
      result = read_image(self.saved(image, name, **options), 8).astype(int)
      self.assertLess(np.abs(result[4:] - [255, 0, 0]).max(), 6)
      self.assertLess(np.abs(result[:4] - [127, 0, 0]).max(), 6)

  def test_16_bit_keeps_the_high_byte(self):
    for channels, color_type in ((1, 0), (3, 2), (4, 6), (2, 4)):
      values = _RNG.integers(0, 2**16, (8, 8, channels))
      if channels in (2, 4):
        values[..., -1] = 2**16 - 1
      result = read_image(self.written(_png16(values, color_type)), 8)
      color = values[..., :3] if channels > 2 else values[..., :1]
      np.testing.assert_array_equal(result, np.broadcast_to(color >> 8, (8, 8, 3)))

  def test_16_bit_gray_of_other_formats(self):
    values = _RNG.integers(0, 2**16, (8, 8)).astype(np.uint16)
    expected = np.repeat((values >> 8)[..., None], 3, axis=-1)
    path = self.saved(Image.fromarray(values), 'image.tiff')
    np.testing.assert_array_equal(read_image(path, 8), expected)
    path = self.written(b'P5 8 8 65535\n' + values.astype('>u2').tobytes(), 'image.pgm')
    np.testing.assert_array_equal(read_image(path, 8), expected)

  def test_transparency_is_composited_on_white(self):
    alpha = np.full((8, 8, 1), 255, np.uint8)
    alpha[:4], alpha[4:6] = 0, 128
    expected = np.round(255 + (_COLOR.astype(float) - 255) * alpha / 255)
    result = read_image(self.saved(Image.fromarray(np.concatenate([_COLOR, alpha], -1))), 8)
    np.testing.assert_allclose(result, expected, atol=1)
    gray = np.concatenate([_COLOR[..., :1], alpha], -1)
    result = read_image(self.saved(Image.fromarray(gray, 'LA')), 8)
    np.testing.assert_allclose(result, np.repeat(expected[..., :1], 3, -1), atol=1)

  def test_transparent_palette_and_color_key(self):
    indices = np.zeros((8, 8), np.uint8)
    indices[:4] = 1
    image = Image.fromarray(indices, 'P')
    image.putpalette([255, 0, 0, 0, 0, 255])
    for options in ({'transparency': 1}, {'transparency': b'\xff\x00'}):
      result = read_image(self.saved(image, **options), 8)
      np.testing.assert_array_equal(result[:4], np.full((4, 8, 3), 255))
      np.testing.assert_array_equal(result[4:], np.broadcast_to([255, 0, 0], (4, 8, 3)))
    keyed = image.convert('RGB')
    result = read_image(self.saved(keyed, transparency=(0, 0, 255)), 8)
    np.testing.assert_array_equal(result[:4], np.full((4, 8, 3), 255))

  @parameterized.parameters((1, 1), (1, 50), (50, 1), (2, 3))
  def test_tiny_images_of_one_color(self, width, height):
    result = read_image(self.saved(Image.new('RGB', (width, height), (10, 200, 30))), 16)
    np.testing.assert_array_equal(result, np.broadcast_to([10, 200, 30], (16, 16, 3)))

  def test_shorter_side_then_central_square(self):
    image = Image.fromarray(_RNG.integers(0, 256, (30, 70, 3), np.uint8))
    for turned in (image, image.transpose(Image.Transpose.ROTATE_90)):
      whole = turned.resize((turned.width // 2, turned.height // 2), Image.Resampling.BICUBIC)
      left, top = (whole.width - 15) // 2, (whole.height - 15) // 2
      expected = np.asarray(whole.crop((left, top, left + 15, top + 15)))
      result = read_image(self.saved(turned), 15)
      np.testing.assert_array_equal(result, expected)

  def test_large_jpeg_matches_full_decoding(self):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    array = np.stack(np.broadcast_arrays(ramp[:480, None], ramp[None], 99), -1).astype(np.uint8)
    path = self.saved(Image.fromarray(array), 'image.jpg', quality=95)
    with Image.open(path) as image:
      expected = np.asarray(ImageOps.fit(image, (32, 32), Image.Resampling.BICUBIC)).astype(int)
    self.assertLess(np.abs(read_image(path, 32) - expected).max(), 4)

  def test_exif_orientation_is_applied(self):
    array = np.kron(_RNG.integers(0, 256, (3, 3, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    wide = Image.fromarray(np.concatenate([array, array[:, :16]], axis=1))
    for orientation in range(1, 9):
      exif = Image.Exif()
      exif[0x0112] = orientation
      for name in ('image.png', 'image.jpg'):
        path = self.saved(wide, name, exif=exif)
        with Image.open(path) as image:
          upright = ImageOps.fit(ImageOps.exif_transpose(image), (12, 12), Image.Resampling.BICUBIC)
        difference = np.abs(read_image(path, 12).astype(int) - np.asarray(upright).astype(int))
        # JPEG is decoded at half size, which blurs the edges between the blocks.
        self.assertLess(difference.mean(), 0.5 if name == 'image.png' else 6, (orientation, name))

  def test_first_frame_of_an_animation(self):
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'lime', 'blue')]
    path = self.saved(frames[0], 'image.gif', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path, 8), np.broadcast_to([255, 0, 0], (8, 8, 3)))

  @parameterized.named_parameters(
    ('empty', b'', 'empty file'),
    ('text', b'this is no image\n' * 9, 'no image of a format that is read'),
    ('signature_alone', b'\x89PNG\r\n\x1a\n', 'no image of a format|damaged image'),
    ('postscript', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no image of a format'),
    ('no_rows', _png(64, 64, 8, 2), 'damaged image'),
    ('bad_header', _png(4, 4, 8, 0).replace(b'IHDR', b'IHDX'), 'no image of a format'),
  )
  def test_damaged_files(self, content, message):
    self.assert_refused(self.written(content, 'image.jpg'), message)

  @parameterized.parameters('jpg', 'png', 'gif', 'bmp', 'tiff', 'ppm', 'webp')
  def test_truncated_files(self, extension):
    array = _RNG.integers(0, 256, (64, 64, 3), np.uint8)
    path = self.saved(Image.fromarray(array), f'image.{extension}')
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.6 if extension == 'jpg' else 0.9):
      path.write_bytes(whole[: int(share * len(whole))])
      self.assert_refused(path, 'damaged image|no image of a format|the file ends early')

  @parameterized.parameters((9460, 9460), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1))
  def test_decompression_bombs_are_refused_by_their_header(self, width, height):
    path = self.written(_png(width, height, 8, 2))
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      self.assert_refused(path, 'refused as a decompression bomb; allowed 89,478,485 pixels')

  def test_largest_allowed_image_is_decoded(self):
    width = 8192
    height = MAX_PIXELS // width
    rows = (b'\0' + b'\xff' * (width // 8)) * height
    result = read_image(self.written(_png(width, height, 1, 0, rows)), 4)
    np.testing.assert_array_equal(result, np.full((4, 4, 3), 255))

  @parameterized.parameters(('F', 'float32'), ('I', 'int32'))
  def test_pixels_without_a_range_are_refused(self, mode, dtype):
    path = self.saved(Image.fromarray(np.ones((4, 4), dtype)), 'image.tiff')
    self.assert_refused(path, f'pixels of mode {mode}, which have no stated range')

  def test_what_is_no_file(self):
    (self.folder / 'folder.jpg').mkdir()
    self.assert_refused(self.folder / 'folder.jpg', 'no regular file')
    os.mkfifo(self.folder / 'pipe.jpg')
    self.assert_refused(self.folder / 'pipe.jpg', 'no regular file')
    (self.folder / 'link.jpg').symlink_to('nowhere')
    self.assert_refused(self.folder / 'link.jpg', 'broken link')
    self.assert_refused(self.folder / 'nothing.jpg', 'file vanished')

  def test_unreadable_exif_costs_no_image(self):
    extra = _chunk(b'eXIf', b'II*\0\xff\xff\xff\xff' + b'\xee' * 20)
    values = np.full((4, 4, 3), 0x80FF)
    result = read_image(self.written(_png16(values, 2, extra)), 4)
    np.testing.assert_array_equal(result, np.full((4, 4, 3), 0x80))

  def test_random_damage_never_escapes_as_another_exception(self):
    whole = {}
    for extension in ('jpg', 'png', 'gif', 'webp', 'tiff'):
      whole[extension] = self.saved(Image.fromarray(_COLOR), f'image.{extension}').read_bytes()
    refused = 0
    for extension, content in whole.items():
      for _ in range(60):
        damaged = bytearray(content)
        for place in _RNG.integers(0, len(damaged), 4):
          damaged[place] = _RNG.integers(0, 256)
        with warnings.catch_warnings():
          warnings.simplefilter('ignore')
          try:
            result = read_image(self.written(damaged, f'damaged.{extension}'), 8)
            self.assertEqual((result.shape, result.dtype), ((8, 8, 3), np.uint8))
          except OSError as error:
            refused += 1
            self.assertNotIn('\n', str(error))
    self.assertGreater(refused, 50)

  def assert_refused(self, path, message):
    with self.assertRaisesRegex(OSError, message) as caught:
      read_image(path, 8)
    self.assertStartsWith(str(caught.exception), f'{path}: ')
    self.assertNotIn('\n', str(caught.exception))


class PrintableTest(chex.TestCase):
  @parameterized.parameters(
    (b'caf\xc3\xa9.jpg', 'café.jpg'),
    (b'caf\xe9.jpg', r'caf\xe9.jpg'),
    (b'a\nb\x1b[31m.jpg', r'a\nb\x1b[31m.jpg'),
  )
  def test_any_bytes_become_one_line(self, name, expected):
    self.assertEqual(printable(os.fsdecode(name)), expected)
    printable(os.fsdecode(name)).encode('utf-8')
