"""The four jitter operations, in an order of its own for every image."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.views import color

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


def color_jitter(
  images: jax.Array,
  brightness: jax.Array,
  contrast: jax.Array,
  saturation: jax.Array,
  hue: jax.Array,
  order: jax.Array,
  channel_axis: int = -1,
) -> jax.Array:
  """Brightness, contrast, saturation and hue, applied in `order`.

  Equal to applying the functions of `color` one after the other. An image with factors 1 and hue
  shift 0 comes back unchanged, bit for bit.

  Args:
    images: float32 [image, ...] in [0, 1], channels on `channel_axis`.
    brightness, contrast, saturation: float32 [image], factors around 1.
    hue: float32 [image], in turns.
    order: int32 [image, 4], a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE.
    channel_axis: position of the three channels.

  Returns:
    float32, the shape of `images`, in [0, 1].
  """
  shape = (-1,) + (1,) * (images.ndim - 1)
  # The hue slot blends with factor 1, which is the identity.
  factors = jnp.stack([brightness, contrast, saturation, jnp.ones_like(hue)], axis=1)
  factors = jnp.take_along_axis(factors, order, axis=1)
  rotates = hue.reshape(shape) != 0.0

  def slot(images: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    operation, factor = (x.reshape(shape) for x in step)
    gray = color.luma(images, channel_axis)
    other = jnp.where(
      operation == CONTRAST,
      color.mean_per_image(gray),
      jnp.where(operation == SATURATION, gray, 0.0),
    )
    blended = color.blend(images, other, factor)
    rotated = color.adjust_hue(images, hue, channel_axis)
    return jnp.where((operation == HUE) & rotates, rotated, blended), None

  # A scan, as XLA's CPU fusion recomputes an unrolled chain of selections exponentially.
  images, _ = jax.lax.scan(slot, images, (order.T, factors.T))
  return images
