"""The distribution of augmentations of each view as frozen, hashable, validated dataclasses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ssl_jax.arguments import ArgumentError, check_choice, check_number, check_whole
from ssl_jax.views import crop

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)

# Mean and standard deviation of the pixels of training images, in [0, 1] units, by name.
STATISTICS = {
  'imagenet': (IMAGENET_MEAN, IMAGENET_STD),
  'cifar10': (CIFAR10_MEAN, CIFAR10_STD),
  'cifar100': (CIFAR100_MEAN, CIFAR100_STD),
  'stl10': ((0.43, 0.42, 0.39), (0.27, 0.26, 0.27)),
  'tiny_imagenet': ((0.480, 0.448, 0.398), (0.277, 0.269, 0.282)),
  'none': ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@dataclasses.dataclass(frozen=True)
class View:
  """One view: operations in the order of the fields; the default is the un-augmented image.

  A field ending in `_prob` is the probability that an image gets the operation.

  Attributes:
    crop_scale: least and greatest share of the image's area in the crop.
    crop_ratio: least and greatest width / height of the crop; (1, 1) for both it and `crop_scale`
      stands for the largest centered square.
    interpolation: 'bilinear' or 'bicubic', antialiased.
    flip_prob: horizontal mirror.
    jitter_prob: the four that follow, together, in a random order.
    brightness: the factor is uniform in [max(0, 1 - brightness), 1 + brightness].
    contrast: the same for contrast.
    saturation: the same for saturation.
    hue: the hue turns by a uniform share of the circle in [-hue, hue]; at most 0.5.
    grayscale_prob: gray level on all three channels.
    blur_prob: Gaussian blur.
    blur_sigma: least and greatest standard deviation, in pixels of the view.
    solarize_prob: pixels at or above the threshold are inverted.
    solarize_threshold: a level of 0 to 255.
    permutation_prob: the channels in an order drawn from all six.

  Raises:
    ValueError: naming the field, its value and what is allowed.
  """

  crop_scale: tuple[float, float] = (1.0, 1.0)
  crop_ratio: tuple[float, float] = (1.0, 1.0)
  interpolation: str = 'bilinear'
  flip_prob: float = 0.0
  jitter_prob: float = 0.0
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  grayscale_prob: float = 0.0
  blur_prob: float = 0.0
  blur_sigma: tuple[float, float] = (0.1, 2.0)
  solarize_prob: float = 0.0
  solarize_threshold: int = 128
  permutation_prob: float = 0.0

  def __post_init__(self) -> None:
    for name in ('crop_scale', 'crop_ratio', 'blur_sigma'):
      object.__setattr__(self, name, _floats(name, getattr(self, name), 2))
    _check_interval('crop_scale', self.crop_scale, high=1.0)
    _check_interval('crop_ratio', self.crop_ratio)
    _check_interval('blur_sigma', self.blur_sigma)
    check_choice('interpolation', self.interpolation, crop.INTERPOLATIONS)
    for field in dataclasses.fields(self):
      if field.name.endswith('_prob'):
        check_number(field.name, getattr(self, field.name), at_least=0, at_most=1)
    for name in ('brightness', 'contrast', 'saturation'):
      check_number(name, getattr(self, name), at_least=0)
    check_number('hue', self.hue, at_least=0, at_most=0.5)
    check_number('solarize_threshold', self.solarize_threshold, at_least=0, at_most=255)

  @property
  def crops(self) -> bool:
    return (self.crop_scale, self.crop_ratio) != ((1.0, 1.0), (1.0, 1.0))

  @property
  def jitters(self) -> bool:
    strengths = (self.brightness, self.contrast, self.saturation, self.hue)
    return self.jitter_prob > 0 and any(strength > 0 for strength in strengths)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The views of a batch, their common size in pixels, and the normalization.

  With `unaugmented`, the un-augmented image follows as the last view. With `color_first`, jitter
  and gray level precede the crop, on the whole image at its own size. `local_crops` is a recipe of
  further, smaller crops of the same images (multi-crop), which come as an array of their own.

  Raises:
    ValueError: naming the field, its value and what is allowed.
  """

  views: tuple[View, ...]
  size: int
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD
  unaugmented: bool = False
  color_first: bool = False
  local_crops: Recipe | None = None

  def __post_init__(self) -> None:
    object.__setattr__(self, 'views', tuple(self.views))
    if not self.views or not all(isinstance(view, View) for view in self.views):
      raise ArgumentError('views', repr(self.views), 'one View or more')
    check_whole('size', self.size)
    object.__setattr__(self, 'mean', _floats('mean', self.mean, 3))
    object.__setattr__(self, 'std', _floats('std', self.std, 3))
    for value in self.std:
      check_number('std', value, above=0)


def _floats(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
  try:
    converted = tuple(float(value) for value in values)
  except (TypeError, ValueError):
    converted = ()
  if len(converted) != count or not all(map(math.isfinite, converted)):
    raise ArgumentError(name, repr(values), f'{count} finite numbers')
  return converted


def _check_interval(name: str, interval: tuple[float, float], high: float = math.inf) -> None:
  if not 0 < interval[0] <= interval[1] <= high:
    limit = '' if high == math.inf else f' <= {high}'
    raise ArgumentError(name, interval, f'(low, high) with 0 < low <= high{limit}')
