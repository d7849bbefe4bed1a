"""Normalization and cosine similarity in at least float32."""

import chex
import jax
import jax.numpy as jnp

NORM_FLOOR = 1e-12


def promote(array: chex.Array) -> jax.Array:
  """Casts to the dtype that losses compute in: float32, or float64 for float64."""
  array = jnp.asarray(array)
  return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def l2_normalize(array: chex.Array) -> jax.Array:
  """Scales the last axis to unit Euclidean length, in at least float32.

  Args:
    array: `[..., dim]`, any float dtype.

  Returns:
    `[..., dim]`, float32 (float64 for float64). A vector not longer than 1e-12 has no direction: it
    becomes zero, with a gradient of zero. One that is not finite, or whose squared length is not,
    becomes NaN, and so does its gradient.
  """
  array = promote(array)
  squared_norm = jnp.sum(jnp.square(array), axis=-1, keepdims=True)
  # Dividing by a floor instead would multiply the gradient by 1e12, beyond the range of float16. A
  # comparison with NaN is False, so the test is for what vanishes.
  vanishes = squared_norm <= NORM_FLOOR**2
  scale = jax.lax.rsqrt(jnp.where(vanishes, 1, squared_norm))
  scale = jnp.where(jnp.isposinf(squared_norm), jnp.nan, scale)  # which rsqrt turns into 0
  return jnp.where(vanishes, 0, array * scale)


def dot_products(queries: jax.Array, keys: jax.Array) -> jax.Array:
  """`[..., query, dim]` and `[..., key, dim]` to `[..., query, key]`, as one matrix product.

  Full float32 precision: accelerators would otherwise round the factors to TF32 or bfloat16, whose
  error in a cosine is as large as the differences that hard negatives are ranked by.
  """
  return jnp.einsum('...qd,...kd->...qk', queries, keys, precision=jax.lax.Precision.HIGHEST)
