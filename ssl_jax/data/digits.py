"""scikit-learn's handwritten digits: 1,797 gray images of 8x8 pixels, inside its wheel."""

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.dataset import ArraySource, Dataset
from ssl_jax.data.resizing import resize_images
from ssl_jax.data.subset import held_out


def load_digits(image_size: int, test_fraction: float, seed: int) -> Dataset:
  """The digits as RGB, resized (bicubic) to `image_size`, `test_fraction` of each class held out.

  The 17 gray levels 0..16 become round(level * 255 / 16).

  Raises:
    ValueError: scikit-learn is not installed.
  """
  try:
    from sklearn import datasets
  except ImportError as error:
    allowed = 'another source without scikit-learn: pip install scikit-learn'
    raise ArgumentError('source', "'digits'", allowed) from error
  levels, targets = datasets.load_digits(return_X_y=True)
  gray = np.round(levels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  images = resize_images(np.repeat(gray, 3, axis=-1), image_size)
  source = ArraySource(images, targets.astype(np.int32))
  test = held_out(source.labels, len(source), test_fraction, seed)
  names = tuple(str(digit) for digit in range(10))
  return Dataset('digits', source.subset(~test), source.subset(test), names)
