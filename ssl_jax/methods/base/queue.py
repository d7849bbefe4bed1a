"""A first-in, first-out queue of embeddings in the train state."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import l2_normalize
from ssl_jax.models import Network


def random_queue(key: chex.PRNGKey, size: int, dim: int, dtype: jnp.dtype) -> jax.Array:
  """`[size, dim]` random directions, as before any embedding has been pushed."""
  return l2_normalize(jax.random.normal(key, (size, dim), dtype))


def push(queue: jax.Array, rows: jax.Array) -> jax.Array:
  """The queue with `rows` in front and the oldest dropped.

  Rows come in the order of the global batch, so the queue does not depend on the number of devices;
  as part of the state it is also what it was when a run is resumed.

  Args:
    queue: `[size, dim]`.
    rows: `[count, dim]`, at most `size` of them; stored at unit length, without gradient.
  """
  units = l2_normalize(jax.lax.stop_gradient(rows)).astype(queue.dtype)
  return jnp.concatenate([units, queue])[: queue.shape[0]]


def with_queue(
  variables: dict[str, Any], key: chex.PRNGKey, size: int, network: Network
) -> dict[str, Any]:
  """Variables of a method with a fresh `queue` of outputs of `network` in their `method_state`."""
  queue = random_queue(jax.random.fold_in(key, 1000), size, network.out_features, network.out_dtype)
  return {**variables, 'method_state': {**variables['method_state'], 'queue': queue}}
