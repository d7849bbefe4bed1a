"""Arrays in a NumPy .npz file."""

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.data.dataset import UNLABELED, ArraySource, Dataset, require_distinct_names
from ssl_jax.data.npz_file import read_arrays
from ssl_jax.data.one_line import printable
from ssl_jax.data.resizing import resize_images
from ssl_jax.data.subset import held_out

# A stray huge label would otherwise become as many class names.
MAX_CLASSES = 65_536


def load_npz(path: str, image_size: int, test_fraction: float, seed: int) -> Dataset:
  """Reads `train_images` and, where present, `train_labels`, `test_images`, `test_labels`,
  `classes`.

  Images are uint8 [n, height, width, 3], or gray: [n, height, width, 1] or [n, height, width].
  Another size than `image_size` is resized (shorter side, then central square; bicubic,
  antialiased). Labels are integers [n] counted from 0, or -1 of an image that is unlabeled;
  `classes` are their names, each once, without it the numbers. Without `test_images`,
  `test_fraction` of each class (of the images, without labels) is held out. Other arrays are
  ignored, and nothing is ever unpickled.

  Raises:
    ValueError: an array is missing, or has another type, shape or range than these.
    OSError: the file cannot be read, is no .npz file, or is damaged.
  """
  arrays = read_arrays(path, _NAMES, needed=('train_images',))
  path = printable(path)
  train_labels, test_labels = (_labels(path, arrays, split) for split in ('train', 'test'))
  classes = _classes(path, arrays, [x for x in (train_labels, test_labels) if x is not None])
  train = ArraySource(resize_images(_images(path, arrays, 'train'), image_size), train_labels)
  if 'test_images' in arrays:
    test = ArraySource(resize_images(_images(path, arrays, 'test'), image_size), test_labels)
  else:
    mask = held_out(train.labels, len(train), test_fraction, seed)
    train, test = train.subset(~mask), train.subset(mask)
  return Dataset(f'npz:{path}', train, test, classes)


_NAMES = ('train_images', 'train_labels', 'test_images', 'test_labels', 'classes')


def _images(path: str, arrays: dict[str, np.ndarray], split: str) -> np.ndarray:
  name = f'{split}_images'
  images = arrays[name]
  gray = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 1)
  if images.dtype != np.uint8 or not (gray or (images.ndim == 4 and images.shape[-1] == 3)):
    raise ArgumentError(
      f"{path}: array '{name}'",
      f'{images.dtype} {list(images.shape)}',
      f'uint8 [n, height, width, 3], [n, height, width, 1] or [n, height, width]{_remedy(images)}',
    )
  if 0 in images.shape[int(split == 'test') :]:
    raise ArgumentError(
      f"{path}: array '{name}'",
      f'{list(images.shape)}, which holds no pixel',
      'at least one image of one pixel',
    )
  if gray:
    images = np.repeat(images.reshape(*images.shape[:3], 1), 3, axis=-1)
  return images


def _remedy(images: np.ndarray) -> str:
  """How images of another kind that is common become those that are read."""
  if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3):
    return '; x.transpose(0, 2, 3, 1) moves the channels last'
  if images.dtype.kind == 'f' and images.ndim in (3, 4) and images.size:
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 255:  # false for NaN
      scale = '255 * x' if high <= 1 else 'x'
      return f'; numpy.round({scale}).astype(numpy.uint8) makes them uint8'
  return ''


def _labels(path: str, arrays: dict[str, np.ndarray], split: str) -> np.ndarray | None:
  name = f'{split}_labels'
  if name not in arrays:
    return None
  if f'{split}_images' not in arrays:
    raise ArgumentError(f"{path}: array '{name}'", 'alone', f"beside '{split}_images'")
  labels, images = arrays[name], arrays[f'{split}_images']
  if labels.dtype.kind not in 'iu' or labels.shape != images.shape[:1]:
    raise ArgumentError(
      f"{path}: array '{name}'",
      f'{labels.dtype} {list(labels.shape)}',
      f"integers {list(images.shape[:1])}, one an image of '{split}_images'",
    )
  if labels.size and not (labels.min() >= UNLABELED and labels.max() < MAX_CLASSES):
    raise ArgumentError(
      f"{path}: array '{name}'",
      f'labels from {labels.min()} to {labels.max()}',
      f'0 to {MAX_CLASSES - 1}, or {UNLABELED} for unlabeled',
    )
  labels = labels.astype(np.int32)
  return labels if (labels != UNLABELED).any() or not labels.size else None


def _classes(path: str, arrays: dict[str, np.ndarray], labels: list[np.ndarray]) -> tuple[str, ...]:
  if not labels:
    return ()
  needed = max((int(x.max()) + 1 for x in labels if x.size), default=0)
  if 'classes' not in arrays:
    return tuple(str(label) for label in range(needed))
  classes = arrays['classes']
  if classes.dtype.kind not in 'US' or classes.ndim != 1 or len(classes) < needed:
    raise ArgumentError(
      f"{path}: array 'classes'",
      f'{classes.dtype} {list(classes.shape)}',
      f'a string for each of the {needed} labels',
    )
  if classes.dtype.kind == 'S':
    classes = np.char.decode(classes, 'utf-8', 'backslashreplace')
  names = tuple(printable(str(name)) for name in classes)
  require_distinct_names(f"{path}: array 'classes'", names)
  return names
