"""Images and labels that were read wrongly, or refused with a message that misleads."""

import io
import re
import shutil
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ssl_jax import data
from ssl_jax.data.image_file import read_image


@pytest.mark.slow
def test_a_path_with_a_number_sign_can_be_resumed(program, write_images):
  write_images('set #1', 12, 'ab')
  flags = ('--data.source=folder:set #1', '--protocols=', '--steps=1', '--run_dir=r')
  first = program(*flags)
  if first.status == 2:
    assert '#' in first.text  # refused at once, with the reason
  else:
    assert program(*flags).status == 0


@pytest.mark.parametrize('name', ['valid', 'validation'])
def test_a_validation_folder_is_used_or_mentioned(write_images, name):
  folder = write_images('set/train', 20, 'ab').parent
  write_images(f'set/{name}', 7, 'ab')
  lines = []
  try:
    found = data.load(f'folder:{folder}', image_size=8, log=lines.append)
  except (ValueError, OSError) as refused:
    lines.append(str(refused))
  else:
    if (len(found.train), len(found.test)) == (40, 14):
      return
  assert any(name in line for line in lines)


def test_a_tiff_with_an_orientation_is_turned_once(tmp_path):
  image = np.zeros((64, 64, 3), np.uint8)
  image[:32, :32], image[:32, 32:], image[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
  for orientation in range(1, 9):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(image).save(tmp_path / 'a.tif', tiffinfo={274: orientation})
    Image.fromarray(image).save(tmp_path / 'a.png', exif=exif)
    tiff, png = (read_image(tmp_path / name, 8).astype(int) for name in ('a.tif', 'a.png'))
    assert np.abs(tiff - png).max() <= 8, orientation


def test_a_png_with_a_long_text_beside_its_pixels_is_read(tmp_path):
  info = PngImagePlugin.PngInfo()
  info.add_text('note', 'x' * 3_000_000, zip=True)
  Image.new('RGB', (9, 9), 'red').save(tmp_path / 'a.png', pnginfo=info)
  assert read_image(tmp_path / 'a.png', 8)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.slow
def test_the_batch_that_is_allowed_is_allowed(program, write_images):
  write_images('set', 1)
  flags = ('--data.source=folder:set', '--data.batch_size=2', '--protocols=', '--steps=1')
  assert '1 to 1' not in program(*flags, '--run_dir=r').text


@pytest.mark.slow
def test_resuming_with_other_images_is_refused_or_mentioned(program, write_images):
  folder = write_images('set', 20, 'ab')
  flags = (
    '--data.source=folder:set',
    '--protocols=',
    '--steps=2',
    '--run_dir=r',
    '--checkpoint.every_steps=1',
  )
  first = program(*flags)
  assert first.status == 0, first.text
  shutil.rmtree(program.folder / 'r/checkpoints/2')
  for path in (folder / 'a').glob('1*.png'):
    path.unlink()
  write_images('set', 9, 'c')
  again = program(*flags)
  words = 'changed|differ|not the same|other (data|images)|was trained on|no longer'
  assert again.status or re.search(words, again.text)


def _member(shape: str, body: bytes = b'x' * 192) -> bytes:
  """A .npy file of bytes whose header has this text as its shape, or ends before it."""
  header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
  header = header if shape else b"{'descr': '|u1"
  header += b' ' * (64 - (len(header) + 11) % 64) + b'\n'
  return b'\x93NUMPY\1\0' + struct.pack('<H', len(header)) + header + body


def _archive(content: bytes, method: int = zipfile.ZIP_STORED) -> bytearray:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', method) as archive:
    archive.writestr('train_images.npy', content)
  return bytearray(buffer.getvalue())


def _good() -> bytes:
  buffer = io.BytesIO()
  np.save(buffer, np.zeros((40, 8, 8, 3), np.uint8))
  return buffer.getvalue()


def _damaged_lzma() -> bytes:
  content = _archive(_good(), zipfile.ZIP_LZMA)
  content[80:110] = bytes(byte ^ 0x5A for byte in content[80:110])
  return content


def _encrypted() -> bytes:
  content = _archive(_good())
  content[6] |= 1
  content[content.find(b'PK\1\2') + 8] |= 1
  return content


@pytest.mark.parametrize(
  'content',
  [
    pytest.param(lambda: _archive(_member('')), id='torn header'),
    pytest.param(lambda: _archive(_member(f'({10**30}, 8, 8, 3)')), id='shape beyond int64'),
    pytest.param(lambda: _archive(_member('(True, 8, 8, 3)')), id='bool in the shape'),
    pytest.param(_damaged_lzma, id='damaged LZMA'),
    pytest.param(_encrypted, id='encrypted'),
  ],
)
def test_a_damaged_npz_is_refused_in_one_line(tmp_path, content):
  path = tmp_path / 'a.npz'
  path.write_bytes(content())
  with pytest.raises((ValueError, OSError), match=re.escape(str(path))):
    data.load(f'npz:{path}', image_size=8)
