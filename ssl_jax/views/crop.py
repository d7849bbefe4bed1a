"""Random-resized-crop: boxes drawn as torchvision draws them, pixels resampled as Pillow resamples.

Resampling is separable, so a crop is two small matrix products per image with the crop, the
antialiasing filter and the horizontal flip all folded into the weights.
"""

import jax
import jax.numpy as jnp

from ssl_jax.arguments import check_choice

INTERPOLATIONS = ('bilinear', 'bicubic')
ATTEMPTS = 10
BOX_DRAWS = 2 * ATTEMPTS + 2


def crop_resize(
  images: jax.Array,
  boxes: jax.Array,
  size: int,
  interpolation: str = 'bilinear',
  flip: jax.Array | None = None,
) -> jax.Array:
  """Cuts one box out of every image and resizes it to a square, antialiased.

  Equals Pillow's `image.crop(box).resize((size, size), filter)` within 1.5/255: Pillow rounds
  to uint8 after each of its two passes, this keeps float32. As there, no pixel outside the box
  counts. Where a bicubic filter overshoots 0 or 255 Pillow also clips between the passes, whose
  order depends on the sizes, and differs by up to 30/255 on white noise (0.5 on average).

  Args:
    images: uint8 [image, height, width, channel].
    boxes: [image, 4], each top, left, height, width in pixels; may be fractional.
    size: side of the result in pixels.
    interpolation: 'bilinear' or 'bicubic' (the cubic with a = -0.5).
    flip: optional bool [image]: mirror the result left to right.

  Returns:
    float32 [image, size, size, channel] in [0, 1].
  """
  height, width = images.shape[1:3]
  boxes = boxes[:, None]
  flip = None if flip is None else flip[:, None]
  rows = resize_weights(boxes[..., 0], boxes[..., 2], height, size, interpolation)
  columns = resize_weights(boxes[..., 1], boxes[..., 3], width, size, interpolation, flip)
  return jnp.moveaxis(resample(images, rows, columns)[:, 0], 2, 3)


def resize_weights(
  start: jax.Array,
  length: jax.Array,
  in_size: int,
  out_size: int,
  interpolation: str,
  flip: jax.Array | None = None,
) -> jax.Array:
  """Weights of the input pixels of one axis in each output pixel; every row sums to 1.

  When the interval shrinks, the filter widens by the same factor (antialiasing, as in Pillow).

  Args:
    start, length: [...], the interval that is resized, in pixels.
    in_size, out_size: pixels of the axis before and after.
    interpolation: 'bilinear' or 'bicubic'.
    flip: optional bool [...]: reverse the output pixels.

  Returns:
    float32 [..., out_size, in_size].

  Raises:
    ValueError: for an unknown interpolation.
  """
  check_choice('interpolation', interpolation, INTERPOLATIONS)
  start = jnp.asarray(start, jnp.float32)[..., None, None]
  length = jnp.asarray(length, jnp.float32)[..., None, None]
  target = jnp.arange(out_size, dtype=jnp.float32)[:, None]
  if flip is not None:
    target = jnp.where(flip[..., None, None], out_size - 1 - target, target)
  scale = length / out_size
  center = start + (target + 0.5) * scale
  pixel = jnp.arange(in_size, dtype=jnp.float32) + 0.5
  distance = jnp.abs(pixel - center) / jnp.maximum(scale, 1.0)
  weights = _cubic(distance) if interpolation == 'bicubic' else jnp.maximum(1.0 - distance, 0.0)
  weights = jnp.where((pixel > start) & (pixel < start + length), weights, 0.0)
  return weights / jnp.sum(weights, axis=-1, keepdims=True)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Two matrix products per view, clipped to [0, 1].

  Args:
    images: uint8 [image, height, width, channel].
    rows: float32 [image, view, out_height, height].
    columns: float32 [image, view, out_width, width].

  Returns:
    float32 [image, view, out_height, channel, out_width] in [0, 1]. With the channels before the
    columns both products are plain batched matrix products without a transposition between them,
    and the color operations that follow read contiguous rows.
  """
  return _resample('bhcw,bvpw->bvhcp', planes(images), rows, columns)


def resample_each(views: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """`resample` of views that are different pictures already: [image, view, height, channel, width],
  float32 in [0, 1].
  """
  return _resample('bvhcw,bvpw->bvhcp', views, rows, columns)


def planes(images: jax.Array) -> jax.Array:
  """uint8 [image, height, width, channel] to float32 [image, height, channel, width] in [0, 1]."""
  return jnp.swapaxes(images, 2, 3).astype(jnp.float32) * (1 / 255)


def _resample(across: str, values: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  # TF32 or bfloat16 would cost up to half a gray level, and the products are small.
  precision = jax.lax.Precision.HIGHEST
  narrow = jnp.einsum(across, values, columns, precision=precision)
  out = jnp.einsum('bvoh,bvhcp->bvocp', rows, narrow, precision=precision)
  return jnp.clip(out, 0.0, 1.0)


def sample_boxes(
  uniform: jax.Array,
  height: int,
  width: int,
  scale: jax.Array,
  ratio: jax.Array,
) -> jax.Array:
  """Crop boxes as torchvision's RandomResizedCrop draws them (Szegedy et al., CVPR 2015).

  Ten attempts at an area uniform in `scale` and an aspect ratio log-uniform in `ratio`; the first
  that fits is placed uniformly. Where none fits: the largest centered box with an allowed ratio.

  Args:
    uniform: float32 [..., BOX_DRAWS], independent draws from [0, 1).
    height, width: of the images, in pixels.
    scale: [..., 2] (or broadcastable), least and greatest share of the area.
    ratio: [..., 2] (or broadcastable), least and greatest width / height.

  Returns:
    int32 [..., 4]: top, left, height, width.
  """
  scale, ratio = jnp.asarray(scale, jnp.float32), jnp.asarray(ratio, jnp.float32)
  low, high = ratio[..., 0], ratio[..., 1]
  area_share = _between(uniform[..., :ATTEMPTS], scale[..., :1], scale[..., 1:])
  log_ratio = jnp.log(ratio)
  aspect = jnp.exp(
    _between(uniform[..., ATTEMPTS : 2 * ATTEMPTS], log_ratio[..., :1], log_ratio[..., 1:])
  )
  area = height * width * area_share
  box_width = jnp.round(jnp.sqrt(area * aspect))
  box_height = jnp.round(jnp.sqrt(area / aspect))
  fits = (box_width > 0) & (box_width <= width) & (box_height > 0) & (box_height <= height)
  first = jnp.argmax(fits, axis=-1)[..., None]
  any_fits = jnp.any(fits, axis=-1)

  spare_width = jnp.clip(jnp.round(height * high), 1, width)
  spare_height = jnp.clip(jnp.round(width / low), 1, height)
  pick = lambda sides: jnp.take_along_axis(sides, first, axis=-1)[..., 0]
  box_height = jnp.where(any_fits, pick(box_height), spare_height)
  box_width = jnp.where(any_fits, pick(box_width), spare_width)

  room_top, room_left = height - box_height, width - box_width
  place = lambda draw, room: jnp.minimum(jnp.floor(draw * (room + 1)), room)
  top = jnp.where(any_fits, place(uniform[..., -2], room_top), jnp.floor(room_top / 2))
  left = jnp.where(any_fits, place(uniform[..., -1], room_left), jnp.floor(room_left / 2))
  return jnp.stack([top, left, box_height, box_width], axis=-1).astype(jnp.int32)


def central_square(height: int, width: int) -> tuple[int, int, int, int]:
  """Top, left, height, width of the largest centered square."""
  side = min(height, width)
  return (height - side) // 2, (width - side) // 2, side, side


def _between(uniform: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  return low + uniform * (high - low)


def _cubic(distance: jax.Array) -> jax.Array:
  """Keys' cubic convolution with a = -0.5 (IEEE Trans. ASSP 1981), for distances >= 0."""
  near = (1.5 * distance - 2.5) * distance * distance + 1.0
  far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
  return jnp.where(distance < 1.0, near, jnp.where(distance < 2.0, far, 0.0))
