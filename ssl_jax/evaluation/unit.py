"""Features at length 1, on the device."""

import jax
import jax.numpy as jnp


def unit(features: jax.Array) -> jax.Array:
  """The vectors along the last axis at length 1; zero vectors stay zero."""
  # Scaled by the largest entry first: the squares of very large or small features leave float32.
  scale = jnp.max(jnp.abs(features), axis=-1, keepdims=True)
  features = features / jnp.where(scale > 0, scale, 1)
  norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
  return features / jnp.where(norm > 0, norm, 1)
