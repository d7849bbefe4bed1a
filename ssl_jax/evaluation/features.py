"""Features of a whole data set from a function of one batch, and their normalization."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole


def extract(
  apply: Callable[[Any], Any],
  images_uint8: Any,
  *,
  batch_size: int = 512,
  sharding: jax.sharding.Sharding | None = None,
  store: Callable[[int, int], np.ndarray] | None = None,
) -> np.ndarray:
  """Runs `apply` over all images, in batches of one constant size, and gathers the features.

  The last batch is filled up with copies of the last image whose features are dropped again, so
  that a jitted `apply` compiles once for data sets of every length. `apply` must therefore treat
  images independently of each other: batch statistics belong frozen (`train=False`).

  Args:
    apply: from `uint8 [batch_size, height, width, channel]` to `[batch_size, dim]` of any float
      dtype; usually jitted.
    images_uint8: `uint8 [n, height, width, channel]` on the host or on the device, or any source
      with a length whose `source[indices]` is such an array.
    batch_size: images a call of `apply`; with `sharding`, a multiple of the shards.
    sharding: where a batch is put before the call, such as `NamedSharding(mesh, P('data'))`.
    store: given `(n, dim)`, returns the float32 array that the features are written to, such as a
      file mapped into memory for more features than memory holds; by default a new array.

  Returns:
    `float32 [n, dim]` on the host.

  Raises:
    ValueError: there are no images, `batch_size` is not positive, `apply` returns something other
      than one vector an image, or `store` another array.
  """
  count = len(images_uint8)
  if count == 0:
    raise ArgumentError('images_uint8', '0 images', 'at least 1')
  check_whole('batch_size', batch_size)

  found: np.ndarray | None = None
  running: tuple[int, Any] | None = None

  def store_running() -> None:
    nonlocal found
    assert running is not None
    first, features = running
    rows = np.asarray(features, np.float32)
    if found is None:
      shape = (count, rows.shape[1])
      found = np.empty(shape, np.float32) if store is None else store(*shape)
      if found.shape != shape or found.dtype != np.float32:
        raise ArgumentError(
          'store', f'{found.dtype} of shape {found.shape}', f'float32 of shape {shape}'
        )
    found[first : first + batch_size] = rows[: count - first]

  for start in range(0, count, batch_size):
    batch = images_uint8[np.minimum(np.arange(start, start + batch_size), count - 1)]
    if sharding is not None:
      batch = jax.device_put(batch, sharding)
    features = apply(batch)
    if features.ndim != 2 or features.shape[0] != batch_size:
      raise ArgumentError(
        'apply', f'features of shape {tuple(features.shape)}', f'({batch_size}, dim)'
      )
    # The copy to the host waits for one batch while the device already works on the next.
    if running is not None:
      store_running()
    running = start, features
  store_running()
  assert found is not None
  return found


def l2_normalize(features: Any) -> jax.Array:
  """The vectors along the last axis at length 1, in at least float32; zero vectors stay zero.

  Unlike `losses.l2_normalize` it takes vectors of any length that their dtype holds: the squares of
  very large and very small ones leave float32, so they are divided by their largest entry first. A
  loss gets by without that pass over its embeddings, and its golden values are those without it.

  >>> print(l2_normalize([[3e30, 4e30], [0, 0]]))
  [[0.6 0.8]
   [0.  0. ]]

  Args:
    features: `[..., dim]` of any real dtype.

  Returns:
    `[..., dim]`, float32 (float64 for float64).
  """
  features = jnp.asarray(features)
  features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
  scale = jnp.max(jnp.abs(features), axis=-1, keepdims=True)
  features = features / jnp.where(scale > 0, scale, 1)
  norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
  return features / jnp.where(norm > 0, norm, 1)
