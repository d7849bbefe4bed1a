"""Augmentation on the device: uint8 batches to float views, inside the compiled step."""

from ssl_jax.views.apply import apply, denormalize, transform, unaugmented, whole
from ssl_jax.views.blur import gaussian_blur
from ssl_jax.views.color import (
  adjust_brightness,
  adjust_contrast,
  adjust_hue,
  adjust_saturation,
  grayscale,
  permute_channels,
  solarize,
)
from ssl_jax.views.crop import INTERPOLATIONS, crop_resize, sample_boxes
from ssl_jax.views.jitter import color_jitter
from ssl_jax.views.presets import NAMES, recipe
from ssl_jax.views.recipe import STATISTICS, Recipe, View
from ssl_jax.views.sample import Parameters, draw_parameters

__all__ = [
  'INTERPOLATIONS',
  'NAMES',
  'STATISTICS',
  'Parameters',
  'Recipe',
  'View',
  'adjust_brightness',
  'adjust_contrast',
  'adjust_hue',
  'adjust_saturation',
  'apply',
  'color_jitter',
  'crop_resize',
  'denormalize',
  'draw_parameters',
  'gaussian_blur',
  'grayscale',
  'permute_channels',
  'recipe',
  'sample_boxes',
  'solarize',
  'transform',
  'unaugmented',
  'whole',
]
