"""Color operations on float images in [0, 1], one parameter an image.

Every function takes float32 `[image, ...]` with the three channels on `channel_axis` and returns
the same shape; a per-image parameter is an array `[image]`. Results equal Pillow's operation within
the tolerance stated; the difference is Pillow's rounding to uint8, which float images do not have.
"""

import jax
import jax.numpy as jnp
import numpy as np

# ITU-R 601 luma, the weights of Pillow's convert('L').
LUMA = (0.299, 0.587, 0.114)


def adjust_brightness(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Scales intensities: Pillow's ImageEnhance.Brightness within 1/255."""
  return blend(images, jnp.zeros_like(images), _per_image(factor, images))


def adjust_contrast(images: jax.Array, factor: jax.Array, channel_axis: int = -1) -> jax.Array:
  """Blends with the mean gray of the image: ImageEnhance.Contrast within 2/255 for factors <= 2.

  Pillow rounds the mean to an integer, which shifts its result by up to |1 - factor|/2 levels.
  """
  gray = luma(images, channel_axis)
  return blend(images, mean_per_image(gray), _per_image(factor, images))


def adjust_saturation(images: jax.Array, factor: jax.Array, channel_axis: int = -1) -> jax.Array:
  """Blends with the gray image: ImageEnhance.Color within 2/255 for factors <= 2."""
  return blend(images, luma(images, channel_axis), _per_image(factor, images))


def adjust_hue(images: jax.Array, shift: jax.Array, channel_axis: int = -1) -> jax.Array:
  """Rotates the hue by `shift` turns, saturation and value kept.

  Equals `colorsys` to 1e-5. Pillow keeps hue and saturation in a byte each, so rotating its hue
  channel differs from this by 15/255 at most and by 1/255 on average.
  """
  red, green, blue = _channels(images, channel_axis)
  value = jnp.maximum(jnp.maximum(red, green), blue)
  chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
  inverse = 1.0 / jnp.where(chroma > 0.0, chroma, 1.0)
  sextant = jnp.where(
    value == red,
    (green - blue) * inverse,
    jnp.where(value == green, 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
  )
  # Red, green and blue are the same ramp at three offsets. Broadcasting over the offsets, rather
  # than stacking three results, and wrapping with floor, rather than the remainder operator, are
  # each about ten times faster in XLA on CPU.
  offsets = _per_channel(np.array([5 / 6, 3 / 6, 1 / 6], np.float32), images, channel_axis)
  turns = sextant * (1 / 6) + _per_image(shift, images) + offsets
  position = 6.0 * (turns - jnp.floor(turns))
  return value - chroma * jnp.clip(jnp.minimum(position, 4.0 - position), 0.0, 1.0)


def grayscale(images: jax.Array, selected: jax.Array, channel_axis: int = -1) -> jax.Array:
  """Gives the selected images (bool [image]) their luma: convert('L') within 0.6/255."""
  return jnp.where(_per_image(selected, images), luma(images, channel_axis), images)


def solarize(images: jax.Array, selected: jax.Array, threshold: jax.Array | int = 128) -> jax.Array:
  """Inverts pixels >= `threshold` (a level of 0..255; scalar or [image]) of the selected images.

  Equals ImageOps.solarize exactly on 8-bit levels. A value between two levels counts as the level
  it would round to.
  """
  threshold = jnp.broadcast_to(jnp.asarray(threshold, jnp.float32), selected.shape)
  inverts = (images >= _per_image((threshold - 0.5) / 255, images)) & _per_image(selected, images)
  return jnp.where(inverts, 1.0 - images, images)


def permute_channels(
  images: jax.Array, permutation: jax.Array, channel_axis: int = -1
) -> jax.Array:
  """Channel c of the result is channel `permutation[:, c]` (int32 [image, 3]) of the image."""
  red, green, blue = _channels(images, channel_axis)
  source = _per_channel(permutation, images, channel_axis)
  return jnp.where(source == 0, red, jnp.where(source == 1, green, blue))


def blend(images: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
  """`factor` of the image plus `1 - factor` of `other`, clipped to [0, 1]; factor 1 is exact."""
  return jnp.clip(factor * images + (1.0 - factor) * other, 0.0, 1.0)


def luma(images: jax.Array, channel_axis: int = -1) -> jax.Array:
  """Gray level with a channel axis of length 1."""
  # Three multiplies: a product with a vector of three is 2.5 times slower on CPU.
  red, green, blue = _channels(images, channel_axis)
  return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def mean_per_image(images: jax.Array) -> jax.Array:
  return jnp.mean(images, axis=tuple(range(1, images.ndim)), keepdims=True)


def _channels(images: jax.Array, axis: int) -> list[jax.Array]:
  return [jax.lax.index_in_dim(images, c, axis, keepdims=True) for c in range(3)]


def _per_image(parameter: jax.Array, images: jax.Array) -> jax.Array:
  return jnp.reshape(jnp.asarray(parameter), (-1,) + (1,) * (images.ndim - 1))


def _per_channel(
  parameter: jax.Array | np.ndarray, images: jax.Array, channel_axis: int
) -> jax.Array:
  """Reshapes [3] or [image, 3] to broadcast against images."""
  shape = [1] * images.ndim
  shape[0] = -1
  shape[channel_axis] = 3
  return jnp.reshape(jnp.asarray(parameter), shape)
