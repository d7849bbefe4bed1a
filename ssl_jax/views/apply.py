"""uint8 batches in, augmented and normalized float views out: pure, and jitted with the step."""

import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.views import blur, color, crop, jitter
from ssl_jax.views.recipe import Recipe
from ssl_jax.views.sample import Parameters, draw_parameters

# Views are worked on as [image * view, row, channel, column]: see crop.resample.
_CHANNEL_AXIS = 2


def apply(recipe: Recipe, key: jax.Array, images: jax.Array) -> jax.Array:
  """Draws and computes the views of a batch.

  Args:
    recipe: static under jit.
    key: a typed PRNG key. The views of an image are a function of this key, of the image and of its
      position in the batch.
    images: uint8 [batch, height, width, 3].

  Returns:
    float32 [batch, view, size, size, 3], normalized; the un-augmented image last if
    `recipe.unaugmented`.

  Raises:
    ValueError: for images of another dtype or shape.
  """
  _check_images(images)
  with jax.named_scope('views'):
    batch, height, width = images.shape[:3]
    views = transform(recipe, images, draw_parameters(recipe, key, batch, height, width))
    if recipe.unaugmented:
      views = jnp.concatenate([views, unaugmented(recipe, images)[:, None]], axis=1)
    return views


def unaugmented(recipe: Recipe, images: jax.Array) -> jax.Array:
  """The un-augmented images: central square, resized (first view's interpolation), normalized.

  Args:
    recipe: static under jit.
    images: uint8 [batch, height, width, 3].

  Returns:
    float32 [batch, size, size, 3].

  Raises:
    ValueError: for images of another dtype or shape.
  """
  _check_images(images)
  square = jnp.array(crop.central_square(*images.shape[1:3]), jnp.int32)
  boxes = jnp.broadcast_to(square, (images.shape[0], 4))
  resized = crop.crop_resize(images, boxes, recipe.size, recipe.views[0].interpolation)
  return _normalize(recipe, resized)


def whole(recipe: Recipe, images: jax.Array) -> jax.Array:
  """The images as they are, of any height and width, normalized only.

  Args:
    recipe: gives mean and standard deviation.
    images: uint8 [batch, height, width, 3].

  Returns:
    float32 [batch, height, width, 3].

  Raises:
    ValueError: for images of another dtype or shape.
  """
  _check_images(images)
  return _normalize(recipe, images.astype(jnp.float32) / 255)


def denormalize(recipe: Recipe, images: jax.Array) -> jax.Array:
  """Normalized images or views, [..., 3], back to float32 in [0, 1], for pictures."""
  mean, std = _statistics(recipe)
  return jnp.clip(images * std + mean, 0.0, 1.0)


def transform(recipe: Recipe, images: jax.Array, parameters: Parameters) -> jax.Array:
  """Computes the views for given parameters: the deterministic half of `apply`.

  Args:
    recipe: static under jit; says which operations there are at all.
    images: uint8 [batch, height, width, 3].
    parameters: arrays [batch, view, ...].

  Returns:
    float32 [batch, view, size, size, 3], normalized.
  """
  leading = parameters.flip.shape
  flat = Parameters(*(x.reshape((-1, *x.shape[2:])) for x in parameters))
  rows, columns = _resize_weights(recipe, images, parameters)
  if recipe.color_first:
    whole_images = jnp.repeat(crop.planes(images), leading[1], axis=0)
    whole_images = _color(recipe, whole_images, flat)
    whole_images = whole_images.reshape((*leading, *whole_images.shape[1:]))
    views = crop.resample_each(whole_images, rows, columns)
  else:
    views = crop.resample(images, rows, columns)
  views = views.reshape((-1, *views.shape[2:]))
  if not recipe.color_first:
    views = _color(recipe, views, flat)
  if _used(recipe, 'blur_prob'):
    max_sigma = max(view.blur_sigma[1] for view in recipe.views if view.blur_prob > 0)
    views = blur.gaussian_blur(views, flat.sigma, max_sigma, _CHANNEL_AXIS)
  if _used(recipe, 'solarize_prob'):
    thresholds = jnp.array([view.solarize_threshold for view in recipe.views])
    thresholds = jnp.broadcast_to(thresholds, leading).reshape(-1)
    views = color.solarize(views, flat.solarize, thresholds)
  if _used(recipe, 'permutation_prob'):
    views = color.permute_channels(views, flat.permutation, _CHANNEL_AXIS)
  views = _normalize(recipe, jnp.swapaxes(views, 2, 3))
  return views.reshape((*leading, *views.shape[1:]))


def _color(recipe: Recipe, images: jax.Array, flat: Parameters) -> jax.Array:
  """Jitter and gray level of [image * view, row, channel, column]."""
  # All views pass through an operation that any of them uses, so that it is one fused computation.
  if any(view.jitters for view in recipe.views):
    images = jitter.color_jitter(
      images,
      flat.brightness,
      flat.contrast,
      flat.saturation,
      flat.hue,
      flat.order,
      channel_axis=_CHANNEL_AXIS,
    )
  if _used(recipe, 'grayscale_prob'):
    images = color.grayscale(images, flat.grayscale, _CHANNEL_AXIS)
  return images


def _resize_weights(
  recipe: Recipe, images: jax.Array, parameters: Parameters
) -> tuple[jax.Array, jax.Array]:
  """Crop, resize and flip as the weights of `crop.resample`, of rows and of columns."""
  height, width = images.shape[1:3]
  top, left, box_height, box_width = jnp.unstack(parameters.boxes, axis=-1)
  # One set of weights for all views where they share the filter, which they do in every preset.
  filters = [view.interpolation for view in recipe.views]
  groups = [(slice(v, v + 1), interpolation) for v, interpolation in enumerate(filters)]
  if len(set(filters)) == 1:
    groups = [(slice(None), filters[0])]
  rows, columns = [], []
  for group, interpolation in groups:
    vertical, horizontal = (
      (top[:, group], box_height[:, group]),
      (left[:, group], box_width[:, group]),
    )
    rows.append(crop.resize_weights(*vertical, height, recipe.size, interpolation))
    columns.append(
      crop.resize_weights(*horizontal, width, recipe.size, interpolation, parameters.flip[:, group])
    )
  return jnp.concatenate(rows, axis=1), jnp.concatenate(columns, axis=1)


def _normalize(recipe: Recipe, images: jax.Array) -> jax.Array:
  mean, std = _statistics(recipe)
  return (images - mean) * (1.0 / std)


def _statistics(recipe: Recipe) -> tuple[jax.Array, jax.Array]:
  return jnp.array(recipe.mean, jnp.float32), jnp.array(recipe.std, jnp.float32)


def _used(recipe: Recipe, probability: str) -> bool:
  return any(getattr(view, probability) > 0 for view in recipe.views)


def _check_images(images: jax.Array) -> None:
  if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
    found = f'{images.dtype} {list(images.shape)}'
    raise ArgumentError('images', found, 'uint8 [batch, height, width, 3]')
