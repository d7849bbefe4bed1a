"""What becomes of every kind of image file."""

import functools
import io
import os
import struct
import sys
import tempfile
import warnings
import zlib
from unittest import mock

import hypothesis
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, features

from ssl_jax.data import image_file
from ssl_jax.data.image_file import MAX_PIXELS, decode_image, read_image, used_depth
from tests.data.mutations import assert_short, mutated
from tests.data.png_file import chunk, png, png16
from tests.data.temporary_folder import TemporaryFolderTest

_RNG = np.random.default_rng(0)
_COLOR = _RNG.integers(0, 256, (8, 8, 3), np.uint8)


@functools.cache
def _files():
  """A file of each format, with the metadata that it can have."""
  exif = Image.Exif()
  exif[0x0112] = 6
  profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  found = []
  for name in ('JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'PPM'):
    buffer = io.BytesIO()
    options = {'exif': exif, 'icc_profile': profile} if name not in ('GIF', 'BMP', 'PPM') else {}
    Image.fromarray(_COLOR).save(buffer, name, **options)
    found.append(buffer.getvalue())
  return tuple(found)


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
      result = read_image(self.written(png16(values, color_type)), 8)
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

  @parameterized.parameters(
    ('png', 'RGB', {}),
    ('png', 'I;16', {}),
    ('jpg', 'RGB', {'quality': 95}),
    ('webp', 'RGB', {'lossless': True}),
    ('tif', 'RGB', {}),
    ('tif', 'RGB', {'compression': 'tiff_lzw'}),
    ('tif', 'RGB', {'compression': 'jpeg', 'quality': 95}),
    ('tif', 'RGB', {'tile': (16, 16)}),
    ('tif', 'I;16', {}),
    ('tif', 'CMYK', {}),
    ('tif', '1', {'compression': 'group4'}),
    ('tif', 'RGB', {'save_all': True, 'append_images': [Image.new('L', (9, 9))]}),
    ('avif', 'RGB', {'quality': 95}),
  )
  def test_every_orientation_is_applied_once(self, extension, mode, options):
    if extension == 'avif' and not features.check('avif'):
      self.skipTest('this Pillow has no AVIF')
    array = np.kron(_RNG.integers(0, 256, (3, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    image = Image.fromarray(array)
    if mode == 'I;16':
      image = Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257)
    elif mode != 'RGB':
      image = image.convert(mode)
    # libtiff does not write values that are none.
    none = () if 'compression' in options else (0, 9, 65535)
    for orientation in (*range(1, 9), *none):
      exif = Image.Exif()
      exif[0x0112] = orientation
      path = self.saved(image, f'image.{extension}', exif=exif, **options)
      upright = image.copy()
      upright.getexif()[0x0112] = orientation
      upright = ImageOps.exif_transpose(upright)
      if mode == 'I;16':
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
      expected = ImageOps.fit(upright.convert('RGB'), (12, 12), Image.Resampling.BICUBIC)
      difference = np.abs(read_image(path, 12).astype(int) - np.asarray(expected).astype(int))
      # JPEG is decoded at half size, which blurs the edges between the blocks.
      lossless = extension in ('png', 'webp') or (extension == 'tif' and 'quality' not in options)
      self.assertLess(difference.mean(), 0.5 if lossless else 6, orientation)

  def test_first_frame_of_an_animation(self):
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'lime', 'blue')]
    path = self.saved(frames[0], 'image.gif', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path, 8), np.broadcast_to([255, 0, 0], (8, 8, 3)))

  @parameterized.named_parameters(
    ('empty', b'', 'empty file'),
    ('text', b'this is no image\n' * 9, 'no image of a format that is read'),
    ('signature_alone', b'\x89PNG\r\n\x1a\n', 'no image of a format|damaged image'),
    ('postscript', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no image of a format'),
    ('no_rows', png(64, 64, 8, 2), 'damaged image'),
    ('bad_header', png(4, 4, 8, 0).replace(b'IHDR', b'IHDX'), 'no image of a format'),
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
    path = self.written(png(width, height, 8, 2))
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      self.assert_refused(path, 'refused as a decompression bomb; allowed 89,478,485 pixels')

  def test_largest_allowed_image_is_decoded(self):
    width = 8192
    height = MAX_PIXELS // width
    rows = (b'\0' + b'\xff' * (width // 8)) * height
    result = read_image(self.written(png(width, height, 1, 0, rows)), 4)
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
    extra = chunk(b'eXIf', b'II*\0\xff\xff\xff\xff' + b'\xee' * 20)
    values = np.full((4, 4, 3), 0x80FF)
    result = read_image(self.written(png16(values, 2, extra)), 4)
    np.testing.assert_array_equal(result, np.full((4, 4, 3), 0x80))

  def test_metadata_of_any_kind_costs_no_image(self):
    rows = b''.join(b'\0' + row.tobytes() for row in _COLOR)
    turn = Image.Exif()
    turn[0x0112] = 3
    whole = chunk(b'eXIf', turn.tobytes()[6:])
    long = chunk(b'zTXt', b'note\0\0' + zlib.compress(b'x' * 3_000_000))
    for extra, turned in (
      (long, False),
      (long + whole, True),
      (chunk(b'iCCP', b'broken'), False),
      (chunk(b'iTXt', b'\xff' * 40) + whole, True),
      (chunk(b'quux', b'x' * 40), False),
      (chunk(b'tEXt', b'note\0word')[:-1] + b'?' + whole, True),
      (whole[:-1] + b'?', False),
    ):
      result = read_image(self.written(png(8, 8, 8, 2, rows, extra)), 8)
      np.testing.assert_array_equal(result, _COLOR[::-1, ::-1] if turned else _COLOR)

  def test_bombs_stay_refused_whatever_is_beside_them(self):
    long = chunk(b'zTXt', b'note\0\0' + zlib.compress(b'x' * 3_000_000))
    self.assert_refused(self.written(png(20_000, 20_000, 8, 2, b'', long)), 'damaged|bomb')

  @parameterized.parameters(
    ('RGB', {}),
    ('L', {}),
    ('CMYK', {}),
    ('RGB', {'progressive': True}),
    ('RGB', {'optimize': True}),
  )
  def test_a_jpeg_without_its_end_is_recovered(self, mode, options):
    ramp = np.add.outer(np.arange(160), np.arange(160)).astype(np.uint8) // 2
    image = Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], -1)).convert(mode)
    path = self.saved(image, 'image.jpg', quality=95, **options)
    whole = path.read_bytes()
    expected = read_image(path, 16).astype(int)
    self.assertIsNone(decode_image(path, 16).missing)
    for lost in (1, 2, len(whole) // 10):
      path.write_bytes(whole[:-lost])
      found = decode_image(path, 16)
      top = np.abs(found.pixels.astype(int) - expected)[:12]
      self.assertLess(top.max(), 8 if options.get('progressive') else 1, lost)
      if lost < 3:
        self.assertEqual(found.missing, 0)
      elif not options.get('progressive'):
        self.assertBetween(found.missing, 0.02, 0.25)
    path.write_bytes(whole[: len(whole) // 2])
    if not options.get('progressive'):
      self.assert_refused(
        path, r'the file ends early, \d\d% of its pixels are missing; allowed 25%'
      )
    path.write_bytes(whole[: len(whole) // 5])
    self.assert_refused(path, '')

  @parameterized.parameters((300, 10), (4095, 12), (4096, 14), (255, 8), (60_000, 16))
  def test_used_depth(self, peak, depth):
    self.assertEqual(used_depth(peak), depth)

  def test_12_bits_in_16(self):
    values = _RNG.integers(0, 2**12, (8, 8)).astype(np.uint16)
    values[0, 0] = 2**12 - 1
    path = self.saved(Image.fromarray(values))
    found = decode_image(path, 8)
    self.assertEqual((found.peak, found.color), (2**12 - 1, False))
    scaled = decode_image(path, 8, depth=12).pixels
    np.testing.assert_array_equal(scaled, np.broadcast_to((values >> 4)[..., None], (8, 8, 3)))

  @parameterized.parameters((1, 0, False), (3, 2, True), (4, 6, True))
  def test_the_peak_of_16_bits_is_noticed(self, channels, color_type, color):
    values = np.full((8, 8, channels), 700)
    values[..., 3:] = 2**16 - 1
    found = decode_image(self.written(png16(values, color_type)), 8)
    # Of color, Pillow keeps the high bytes.
    self.assertEqual((found.peak, found.color), (0x2FF if color else 700, color))
    self.assertEqual(decode_image(self.saved(Image.fromarray(_COLOR)), 8).peak, 0)

  def test_a_pgm_states_its_greatest_value(self):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for greatest, used in ((1023, False), (65535, True)):
      content = b'P5 8 8 %d\n' % greatest + values.astype('>u2').tobytes()
      found = decode_image(self.written(content, 'image.pgm'), 8)
      expected = np.round(values / greatest * 255)[..., None]
      np.testing.assert_allclose(found.pixels, np.broadcast_to(expected, (8, 8, 3)), atol=1)
      self.assertEqual(found.peak, 63 if used else 0)

  def test_a_tiff_of_12_bits_says_so(self):
    values = _RNG.integers(0, 2**12, (8, 8)).astype(np.uint16)
    pairs = values.reshape(8, 4, 2)
    packed = np.stack(
      [pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], -1
    ).astype(np.uint8)
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: packed.size}
    entries = b''.join(
      struct.pack('<HHII', tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags.items()
    )
    body = packed.tobytes()
    start = struct.pack('<2sHI', b'II', 42, 8 + len(body)) + body
    content = start + struct.pack('<H', len(tags)) + entries + bytes(4)
    result = read_image(self.written(content, 'image.tif'), 8)
    np.testing.assert_array_equal(result, np.broadcast_to((values >> 4)[..., None], (8, 8, 3)))

  def test_images_that_need_a_plugin_say_which(self):
    content = struct.pack('>I4s4sI4s', 24, b'ftyp', b'heic', 0, b'mif1') + bytes(40)
    with mock.patch.object(image_file, 'plugin_formats', lambda: frozenset()):
      path = self.written(content, 'image.jpg')
      self.assert_refused(
        path, r'a HEIF image, which needs pillow-heif \(pip install pillow-heif\)$'
      )
      self.assertNotIn('.avif', image_file.extensions())
    with mock.patch.object(image_file, 'plugin_formats', lambda: frozenset({'AVIF'})):
      self.assertContainsSubset({'.avif', '.jpg'}, image_file.extensions())

  def test_an_installed_plugin_is_registered(self):
    plugin = mock.Mock()
    image_file.plugin_formats.cache_clear()
    self.addCleanup(image_file.plugin_formats.cache_clear)
    with mock.patch.dict(sys.modules, {'pillow_heif': plugin, 'pillow_avif': None}):
      self.assertIn('HEIF', image_file.plugin_formats())
      self.assertIn('.heic', image_file.extensions())
    plugin.register_heif_opener.assert_called_once_with()

  def test_a_pointer_instead_of_the_image(self):
    path = self.written(b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n')
    self.assert_refused(path, 'a pointer of Git LFS, not the image')

  def test_files_too_large_for_an_image_stay_closed(self):
    path = self.written(b'\xff\xd8')
    os.truncate(path, 2**40)
    self.assert_refused(path, '1,099,511,627,776 bytes, more than any image that is read')

  def test_a_damaged_tiff_prints_nothing(self):
    if 'linux' not in sys.platform:
      self.skipTest("the memory map of a process is Linux's")
    path = self.saved(Image.fromarray(_COLOR), 'image.tif', compression='tiff_lzw')
    content = bytearray(path.read_bytes())
    content[8:60] = bytes(52)
    path.write_bytes(content)
    with tempfile.TemporaryFile() as printed:
      kept = os.dup(2)
      os.dup2(printed.fileno(), 2)
      try:
        with image_file.quiet_pillow():
          self.assert_refused(path, 'damaged image')
      finally:
        os.dup2(kept, 2)
        os.close(kept)
      printed.seek(0)
      self.assertEmpty(printed.read())

  def test_any_damage_is_one_short_line(self):
    self.damage()

  @pytest.mark.slow
  def test_much_damage_is_one_short_line(self):
    self.damage(2000)

  def damage(self, examples=25):
    @hypothesis.settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @hypothesis.given(st.sampled_from(_files()).flatmap(lambda file: mutated(file)))
    def read(content):
      try:
        result = read_image(self.written(content, 'image'), 8)
      except OSError as error:
        assert_short(error)
      else:
        self.assertEqual((result.shape, result.dtype), ((8, 8, 3), np.uint8))

    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      read()

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
