"""Loads a data set into memory by the name of its source."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from ssl_jax.arguments import (
  ArgumentError,
  check_choice,
  check_number,
  check_whole,
  expand_home,
  nearest,
)
from ssl_jax.data.dataset import Dataset
from ssl_jax.data.digits import load_digits
from ssl_jax.data.folder import load_folder
from ssl_jax.data.npz import load_npz
from ssl_jax.data.outliers import plant_outliers
from ssl_jax.data.photographs import load_photographs
from ssl_jax.data.subset import held_out, long_tail_indices
from ssl_jax.deprecation import deprecated_keywords

SOURCES = ('photographs', 'digits', 'npz:PATH', 'folder:PATH')


@deprecated_keywords({'report': 'log'})
def load(
  source: str,
  *,
  image_size: int = 32,
  imbalance_factor: float = 1.0,
  train_limit: int = 0,
  test_fraction: float = 0.1,
  validation: bool = False,
  outlier_share: float = 0.0,
  outliers: str = 'noise',
  on_error: str = 'skip',
  seed: int = 0,
  log: Callable[[str], None] = print,
) -> Dataset:
  """Loads a data set whose images all fit in memory.

  Args:
    source: 'photographs' (patches of pictures inside scikit-image and scikit-learn), 'digits'
      (scikit-learn's), 'npz:PATH' or 'folder:PATH'.
    image_size: width and height of every image, in pixels; others are resized.
    imbalance_factor: below 1, training keeps the long-tailed subset of `long_tail_indices`.
    train_limit: training keeps the first so many images, in stored order and after the long tail;
      0 keeps all.
    test_fraction: share of the images held out for testing, where the source brings no test images.
    validation: replaces the test images by images held out of the training ones: `test_fraction` of
      each class, and of photographs the patches of a third of the training stripes. Settings are
      chosen on them, so that the test images stay unseen.
    outlier_share: share of the training images replaced by outliers, see `plant_outliers`.
    outliers: 'noise', or a source whose training images these are.
    on_error: what a damaged image file does: 'skip' reports it in one line, 'fail' raises.
    seed: chooses the held-out images. Apart from the seed of a run, so that runs share their test
      set.
    log: called with one line for each image that is skipped, and for what was taken as split and
      as class.

  Returns:
    The data set: uint8 images [n, image_size, image_size, 3], and int32 labels [n], -1 of images
    without one, or None where none has one.

  Raises:
    ValueError: an argument, or what a file holds, is not allowed.
    OSError: a file is missing or damaged.
  """
  check_whole('image_size', image_size)
  check_number('imbalance_factor', imbalance_factor, above=0, at_most=1)
  check_whole('train_limit', train_limit, 0)
  check_number('test_fraction', test_fraction, at_least=0, below=1)
  check_choice('on_error', on_error, ('skip', 'fail'))
  check_whole('seed', seed, 0, at_most=2**63 - 1)
  kind, colon, path = expand_home('source', source).partition(':')
  match kind, bool(colon):
    case 'photographs', False:
      dataset = load_photographs(image_size, validation)
    case 'digits', False:
      dataset = load_digits(image_size, test_fraction, seed)
    case 'npz', True if path:
      dataset = load_npz(path, image_size, test_fraction, seed)
    case 'folder', True if path:
      dataset = load_folder(path, image_size, test_fraction, on_error, seed, log)
    case _:
      raise ArgumentError('source', repr(source), f'one of {", ".join(SOURCES)}', _likely(source))
  train, test = dataset.train, dataset.test
  if validation and kind != 'photographs':
    held = held_out(train.labels, len(train), test_fraction, seed)
    if held.all() or not held.any():
      raise ArgumentError(
        'validation',
        f'{held.sum()} of {len(train)} training images held out, at test_fraction {test_fraction}',
        'one with images on both sides, or false',
      )
    train, test = train.subset(~held), train.subset(held)
  if imbalance_factor != 1:
    train = train.subset(long_tail_indices(train.labels, imbalance_factor))
  if train_limit:
    train = train.subset(np.arange(min(train_limit, len(train))))
  if outlier_share:
    others = None
    if outliers != 'noise':
      others = load(outliers, image_size=image_size, on_error=on_error, log=log).train.images
    train = plant_outliers(train, outlier_share, seed, others)
  if not len(test) and test_fraction:
    log(
      f'warning   {dataset.name}: no test images; test_fraction {test_fraction:g} of each class'
      f' ({len(train):,} images in all) rounds to none'
    )
  found = dataclasses.replace(dataset, train=train, test=test)
  for part, images in (('training', train), ('test', test)):
    if 0 < images.labeled < len(images):
      log(f'{found.name}: {images.labeled:,} of {len(images):,} {part} images are labeled')
  return found


def _likely(source: str) -> list[str]:
  if source.endswith('.npz') and ':' not in source:
    return [f'npz:{source}']
  if source and pathlib.Path(source).is_dir():
    return [f'folder:{source}']
  names = {name.partition(':')[0]: name for name in SOURCES}
  return [names[name] for name in nearest(source.partition(':')[0], names, 1)]
