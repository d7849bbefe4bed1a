"""The random parameters of every view of a batch, drawn at once."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.views import crop, jitter
from ssl_jax.views.recipe import Recipe

PERMUTATIONS = np.array(list(itertools.permutations(range(3))), np.int32)

# Uniform draws of one view of one image. All are drawn whatever the recipe uses, so two recipes
# that differ in one probability agree in everything else under the same key.
_DRAWS = (
  ('boxes', crop.BOX_DRAWS),
  ('flip', 1),
  ('jitter', 1),
  ('factors', 3),
  ('hue', 1),
  ('order', 1),
  ('grayscale', 1),
  ('blur', 1),
  ('sigma', 1),
  ('solarize', 1),
  ('permute', 1),
  ('permutation', 1),
)


class Parameters(NamedTuple):
  """Arrays [image, view, ...]; a view an operation skips holds that operation's identity."""

  boxes: jax.Array  # int32 [image, view, 4]: top, left, height, width
  flip: jax.Array  # bool
  brightness: jax.Array  # float32, a factor
  contrast: jax.Array  # float32, a factor
  saturation: jax.Array  # float32, a factor
  hue: jax.Array  # float32, in turns
  order: jax.Array  # int32 [image, view, 4], of the jitter operations
  grayscale: jax.Array  # bool
  sigma: jax.Array  # float32, in pixels
  solarize: jax.Array  # bool
  permutation: jax.Array  # int32 [image, view, 3], the source of each channel


def draw_parameters(
  recipe: Recipe, key: jax.Array, batch: int, height: int, width: int
) -> Parameters:
  """Draws the parameters of `batch` images of `height` x `width` pixels from one typed key.

  What an image gets depends on the key and on its position in the batch, not on the batch's size
  (jax_threefry_partitionable, JAX's default) nor on how the batch lies on devices.
  """
  sizes = [size for _, size in _DRAWS]
  uniform = jax.random.uniform(key, (batch, len(recipe.views), sum(sizes)), jnp.float32)
  parts = jnp.split(uniform, np.cumsum(sizes)[:-1].tolist(), axis=-1)
  draws = {
    name: part if size > 1 else part[..., 0]
    for (name, size), part in zip(_DRAWS, parts, strict=True)
  }
  setting = lambda field: jnp.array([getattr(v, field) for v in recipe.views], jnp.float32)
  happens = lambda name, field: draws[name] < setting(field)

  boxes = crop.sample_boxes(
    draws['boxes'], height, width, setting('crop_scale'), setting('crop_ratio')
  )
  crops = np.array([view.crops for view in recipe.views])[:, None]
  boxes = jnp.where(crops, boxes, jnp.array(crop.central_square(height, width), jnp.int32))

  jitters = happens('jitter', 'jitter_prob')
  spread = jnp.stack([setting(f) for f in ('brightness', 'contrast', 'saturation')], axis=-1)
  low, high = jnp.maximum(1.0 - spread, 0.0), 1.0 + spread
  factors = jnp.where(jitters[..., None], low + draws['factors'] * (high - low), 1.0)
  hue = jnp.where(jitters, (2.0 * draws['hue'] - 1.0) * setting('hue'), 0.0)

  sigma_low, sigma_high = jnp.unstack(setting('blur_sigma'), axis=-1)
  sigma = sigma_low + draws['sigma'] * (sigma_high - sigma_low)
  permutation = _choose(PERMUTATIONS, draws['permutation'])
  permutes = happens('permute', 'permutation_prob')[..., None]
  return Parameters(
    boxes=boxes,
    flip=happens('flip', 'flip_prob'),
    brightness=factors[..., 0],
    contrast=factors[..., 1],
    saturation=factors[..., 2],
    hue=hue,
    order=_choose(jitter.ORDERS, draws['order']),
    grayscale=happens('grayscale', 'grayscale_prob'),
    sigma=jnp.where(happens('blur', 'blur_prob'), sigma, 0.0),
    solarize=happens('solarize', 'solarize_prob'),
    permutation=jnp.where(permutes, permutation, PERMUTATIONS[0]),
  )


def _choose(table: np.ndarray, uniform: jax.Array) -> jax.Array:
  """A row of the table, all equally likely."""
  return jnp.asarray(table)[jnp.floor(uniform * len(table)).astype(jnp.int32)]
