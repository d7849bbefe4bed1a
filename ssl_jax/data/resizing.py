"""Images of any shape to squares of one size, with Pillow."""

from typing import TYPE_CHECKING

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.memory import check_images

if TYPE_CHECKING:
  from PIL import Image


def require_pillow() -> None:
  """Raises ValueError, in one line, where Pillow is not installed."""
  try:
    import PIL  # noqa: F401
  except ImportError as error:
    allowed = 'npz:PATH with images of this size without Pillow: pip install pillow'
    raise ArgumentError('source', 'images to decode or resize', allowed) from error


def to_square(image: 'Image.Image', size: int) -> 'Image.Image':
  """Shorter side to `size`, then the central square, in one bicubic, antialiased step.

  Only the square is computed, so that an image of 1 x 100,000 pixels costs no more than others; its
  border is filtered with the pixels beyond, as when the whole is resized first.
  """
  from PIL import Image, ImageOps

  if image.size == (size, size):
    return image
  return ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
  """uint8 [n, height, width, 3] -> uint8 [n, size, size, 3]; as it is when it has that size.

  Raises:
    ValueError: the result does not fit in memory, or Pillow is missing.
  """
  if images.shape[1:3] == (size, size):
    return images
  require_pillow()
  check_images('image_size', len(images), size)
  from PIL import Image

  resized = np.empty((len(images), size, size, 3), np.uint8)
  for row, image in zip(resized, images, strict=True):
    row[:] = np.asarray(to_square(Image.fromarray(image), size))
  return resized
