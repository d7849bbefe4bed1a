"""The default data: patches of photographs inside the wheels of scikit-image and scikit-learn.

The task is which picture a patch was cut from. Nothing is downloaded, and neither package is
imported: their picture files are read from where they are installed.
"""

import importlib.util
import math
import pathlib
from collections.abc import Iterator

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.dataset import ArraySource, Dataset
from ssl_jax.data.resizing import require_pillow, resize_images

# Left out: drawings, binary masks, color charts, pictures smaller than a few patches, blurred
# ones, and the right-hand twin of the stereo pair.
PICTURES = (
  *(
    ('scikit-image', 'skimage', f'data/{name}')
    for name in (
      'astronaut.png',
      'brick.png',
      'camera.png',
      'cell.png',
      'chelsea.png',
      'coffee.png',
      'coins.png',
      'grass.png',
      'gravel.png',
      'hubble_deep_field.jpg',
      'ihc.png',
      'moon.png',
      'motorcycle_left.png',
      'page.png',
      'retina.jpg',
      'rocket.jpg',
      'text.png',
    )
  ),
  ('scikit-learn', 'sklearn', 'datasets/images/china.jpg'),
  ('scikit-learn', 'sklearn', 'datasets/images/flower.jpg'),
)

PATCH = 32
TRAIN_PATCHES = 200  # a picture
TEST_PATCHES = 50
SHORTER_SIDE = 384  # pixels; larger pictures are shrunk to it, so that a patch shows something
TRAIN_STRIPE = 120  # pixels along the longer side
TEST_STRIPE = 40
VALIDATION_STRIPE = 40  # the last pixels of a training stripe, where some are held out of training
# Bicubic shrinking mixes neighbors up to two pixels away: with four left out between stripes, no
# pixel of the original picture reaches both a training and a test patch.
GAP = 4

# The additive recurrence of the plastic number: positions that cover a rectangle evenly from the
# first on, the same on every machine and with every version of NumPy.
_PLASTIC = 1.32471795724474602596


def load_photographs(image_size: int, validation: bool = False) -> Dataset:
  """200 training and 50 test patches of each of 19 pictures, always the same ones.

  A picture is cut across its longer side into stripes, 120 pixels for training and 40 for testing
  in turn; a patch of 32 x 32 pixels lies wholly inside one stripe. The k-th patches of all pictures
  stand together, so that the first n images are balanced. Another `image_size` resizes the same
  patches. With `validation` both kinds of patches come from the training stripes, of which 76
  pixels are then for training and the last 40 for testing.

  Raises:
    ValueError: scikit-image, scikit-learn or Pillow is not installed.
    OSError: a picture is missing from the installed package, or unreadable.
  """
  require_pillow()
  train, test = [], []
  for package, module, name in PICTURES:
    picture = read_picture(picture_path(package, module, name))
    train.append(cut(picture, TRAIN_PATCHES, 'fit' if validation else 'train'))
    test.append(cut(picture, TEST_PATCHES, 'validation' if validation else 'test'))
  names = tuple(pathlib.PurePosixPath(name).stem for _, _, name in PICTURES)
  return Dataset(
    'photographs', _interleave(train, image_size), _interleave(test, image_size), names
  )


def _interleave(patches: list[np.ndarray], image_size: int) -> ArraySource:
  stacked = np.stack(patches, axis=1)
  images = resize_images(stacked.reshape(-1, *stacked.shape[2:]), image_size)
  return ArraySource(images, np.tile(np.arange(len(patches), dtype=np.int32), len(stacked)))


def picture_path(package: str, module: str, name: str) -> pathlib.Path:
  """The file of a picture inside an installed package, which is found without being imported."""
  spec = importlib.util.find_spec(module)
  if spec is None or spec.origin is None:
    allowed = f'another source without {package}: pip install {package}'
    raise ArgumentError('source', "'photographs'", allowed)
  path = pathlib.Path(spec.origin).parent / name
  if not path.is_file():
    raise FileNotFoundError(f'{path}: this version of {package} does not ship the picture')
  return path


def read_picture(path: pathlib.Path) -> np.ndarray:
  """uint8 [height, width, 3], the shorter side at most 384 pixels."""
  from PIL import Image

  with Image.open(path) as opened:
    image = opened.convert('RGB')
  scale = SHORTER_SIDE / min(image.size)
  if scale < 1:
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC)
  return np.asarray(image)


# Offset and width of the stripe of each part within a period.
_PARTS = {
  'train': (0, TRAIN_STRIPE),
  'test': (TRAIN_STRIPE + GAP, TEST_STRIPE),
  'fit': (0, TRAIN_STRIPE - VALIDATION_STRIPE - GAP),
  'validation': (TRAIN_STRIPE - VALIDATION_STRIPE, VALIDATION_STRIPE),
}


def stripes(length: int, part: str) -> Iterator[tuple[int, int]]:
  """Start and stop of each stripe of 'train', of 'test', or of the two that 'train' is cut into,
  'fit' and 'validation', along a side of `length` pixels."""
  period = TRAIN_STRIPE + TEST_STRIPE + 2 * GAP
  offset, width = _PARTS[part]
  for start in range(offset, length, period):
    yield start, min(start + width, length)


def corners(height: int, width: int, count: int, part: str) -> list[tuple[int, int]]:
  """Top left corners of `count` patches of a picture, spread evenly over its stripes."""
  along = [
    corner
    for start, stop in stripes(max(height, width), part)
    for corner in range(start, stop - PATCH + 1)
  ]
  across = min(height, width) - PATCH + 1
  places = [
    (
      along[int(math.fmod(k / _PLASTIC, 1) * len(along))],
      int(math.fmod(k / _PLASTIC**2, 1) * across),
    )
    for k in range(1, count + 1)
  ]
  return places if height > width else [(top, left) for left, top in places]


def cut(picture: np.ndarray, count: int, part: str) -> np.ndarray:
  """uint8 [count, 32, 32, 3]: patches from the stripes of `part`."""
  height, width, _ = picture.shape
  places = corners(height, width, count, part)
  return np.stack([picture[top : top + PATCH, left : left + PATCH] for top, left in places])
