"""Settings of the images and of the views that are made of them, and what they build."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import ClassVar

from ssl_jax import data, views
from ssl_jax.arguments import ArgumentError, setting
from ssl_jax.config.flag_files import UsageError
from ssl_jax.config.flags import Settings, flags_of
from ssl_jax.config.readers import EVALUATE, NEGATIVES, PLAN, PRETRAIN, WEIGHTS


@dataclasses.dataclass(frozen=True)
class Data(Settings):
  """The images, and how many enter one forward pass."""

  read_by: ClassVar = (PRETRAIN, WEIGHTS)

  source: str = setting(
    'photographs',
    'photographs, digits, npz:PATH or folder:PATH',
    path=True,
    read_by=(PRETRAIN, EVALUATE, WEIGHTS, NEGATIVES),
  )
  batch_size: int = setting(
    256,
    'images of one forward pass, over all devices',
    at_least=2,
    read_by=(PRETRAIN, WEIGHTS, PLAN),
  )
  image_size: int = setting(
    32, 'side in pixels at which images are stored on the device', at_least=4, at_most=1024
  )
  imbalance_factor: float = setting(
    1.0, 'smallest class over largest, long-tailed; 1 keeps all images', above=0, at_most=1
  )
  train_limit: int = setting(
    0, 'number of training images kept, the first ones; 0 keeps all', at_least=0
  )
  test_fraction: float = setting(
    0.1, 'part held out where the source has no test images', at_least=0, below=1
  )
  validation: bool = setting(
    False,
    'measure on images held out of the training ones, not on the test images, to choose settings',
  )
  outlier_share: float = setting(
    0.0, 'share of the training images replaced by outliers, unlabeled', at_least=0, below=1
  )
  outliers: str = setting(
    'noise', 'these: color noise, or images of another source, as data.source', path=True
  )
  on_error: str = setting(
    'skip', 'a damaged image is reported and skipped, or ends the run', choices=('skip', 'fail')
  )
  accept_changes: bool = setting(
    False,
    'resume although the images have changed since the run began; for this start alone',
    affects_result=False,
    read_by=(PRETRAIN,),
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.outliers != 'noise' and not self.outlier_share:
      raise ArgumentError('outliers', self.outliers, 'noise, without outlier_share')

  def load(self, log: Callable[[str], None] = print) -> data.Dataset:
    """The images and labels on the host, `log` taking one line about each image that is skipped.

    The held-out images do not depend on --seed: runs of several seeds share one test set.

    Raises:
      UsageError: naming the flag of a setting that does not fit the images.
      OSError: the data cannot be read.
    """
    settings = dataclasses.asdict(self)
    del settings['batch_size'], settings['accept_changes']
    path = pathlib.Path(self.source.partition(':')[2])
    try:
      with flags_of('data', self):
        return data.load(**settings, log=log)
    except OSError as error:
      if path.is_absolute() or path.exists():
        raise
      raise UsageError(
        f'--data.source: found {self.source} and no such path, which is relative to '
        f'{pathlib.Path.cwd()}, must be there; that of a run may be given anew'
      ) from error


@dataclasses.dataclass(frozen=True)
class Views(Settings):
  """The augmentations that make views of an image."""

  read_by: ClassVar = (PRETRAIN, WEIGHTS)

  recipe: str = setting('cifar_simclr', 'distribution of augmentations', choices=views.NAMES)
  size: int = setting(
    0, 'side of a view in pixels; 0 takes data.image_size', at_least=4, at_most=1024, also=0
  )
  crop_scale_min: float = setting(
    0.0, 'smallest area of a random crop; 0 keeps that of views.recipe', at_least=0, at_most=1
  )
  jitter_strength: float = setting(1.0, 'factor on the color jitter of views.recipe', at_least=0)
  permutation_prob: float = setting(
    -1.0,
    'probability of a random order of the color channels; -1 keeps that of views.recipe',
    at_least=0,
    at_most=1,
    also=-1,
  )
  interpolation: str = setting(
    'recipe',
    'interpolation of the random resized crop',
    choices=('recipe', 'bilinear', 'bicubic'),
  )
  normalization: str = setting(
    'recipe',
    'mean and deviation that colors are normalized by; none leaves them between 0 and 1',
    choices=('recipe', *views.STATISTICS),
  )
  same_class_prob: float = setting(
    0.0,
    'probability that the second view is of another training image of the class; uses labels, so '
    'an upper reference',
    at_least=0,
    at_most=1,
  )
  local_crops: int = setting(
    0, 'smaller crops besides the two views (multi-crop); 0 for none', at_least=0, at_most=32
  )
  local_size: int = setting(
    0,
    'side of a local crop in pixels; 0 is half of a view',
    at_least=4,
    at_most=1024,
    also=0,
    read_with={'local_crops': ()},
  )
  local_scale_min: float = setting(0.05, 'smallest area of a local crop', above=0, at_most=1)
  local_scale_max: float = setting(0.14, 'greatest area of a local crop', above=0, at_most=1)

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.local_scale_max < self.local_scale_min:
      allowed = f'from {self.local_scale_min} (--views.local_scale_min) to 1'
      raise ArgumentError('local_scale_max', self.local_scale_max, allowed)

  def build(self, size: int) -> views.Recipe:
    """The distribution of views of `size` pixels a side.

    Raises:
      UsageError: naming the flag of a setting that does not fit the views.
    """
    mean, std = views.STATISTICS.get(self.normalization, (None, None))
    with flags_of('views', self):
      return views.recipe(
        self.recipe,
        size=size,
        crop_scale_min=self.crop_scale_min or None,
        jitter_strength=self.jitter_strength,
        permutation_prob=None if self.permutation_prob < 0 else self.permutation_prob,
        interpolation=None if self.interpolation == 'recipe' else self.interpolation,
        local_crops=self.local_crops,
        local_size=self.local_size,
        local_scale=(self.local_scale_min, self.local_scale_max),
        mean=mean,
        std=std,
      )
