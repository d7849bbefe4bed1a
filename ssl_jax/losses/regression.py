"""Cosine regression of a target embedding (BYOL, SimSiam), without negatives."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import l2_normalize


def cosine_regression(
  prediction: chex.Array,
  target: chex.Array,
  *,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Squared distance of normalized embeddings, 2 - 2 cos, averaged over the batch: one direction.

  Source: BYOL, Grill et al., NeurIPS 2020, equation 2.

  >>> import jax.numpy as jnp
  >>> loss, metrics = cosine_regression(jnp.array([[3.0, 0.0]]), jnp.array([[3.0, 4.0]]))
  >>> print(f'{loss:.2f} {metrics["positive_similarity"]:.2f}')
  0.80 0.60

  Args:
    prediction: `[batch, dim]`, any float dtype; carries the gradient.
    target: `[batch, dim]`; its gradient is stopped.
    mask: bool `[batch]`, False for rows that are padding: loss and gradient are those without them,
      whatever they hold; NaN if all are, with a gradient of zero.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    The loss in [0, 4], and `positive_similarity`, the mean cosine.

  Raises:
    ValueError: the shapes differ or a dtype is not floating-point.
  """
  metrics = _mean_cosine(prediction, target, mask, axis_name)
  return 2 - 2 * metrics['positive_similarity'], jax.lax.stop_gradient(metrics)


def negative_cosine(
  prediction: chex.Array,
  target: chex.Array,
  *,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Minus the cosine of prediction and target, averaged over the batch: one direction.

  The paper averages the two directions, `(negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2`.
  Its value and gradient are those of `cosine_regression / 2 - 1`.

  Source: SimSiam, Chen and He, CVPR 2021, equations 1 and 3.

  >>> import jax.numpy as jnp
  >>> loss, _ = negative_cosine(jnp.array([[3.0, 0.0]]), jnp.array([[3.0, 4.0]]))
  >>> print(f'{loss:.2f}')
  -0.60

  Args:
    prediction: `[batch, dim]`, any float dtype; carries the gradient.
    target: `[batch, dim]`; its gradient is stopped.
    mask: bool `[batch]`, False for rows that are padding: loss and gradient are those without them,
      whatever they hold; NaN if all are, with a gradient of zero.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which the mean is taken.

  Returns:
    The loss in [-1, 1], and `positive_similarity`, the mean cosine.

  Raises:
    ValueError: the shapes differ or a dtype is not floating-point.
  """
  metrics = _mean_cosine(prediction, target, mask, axis_name)
  return -metrics['positive_similarity'], jax.lax.stop_gradient(metrics)


def _mean_cosine(
  prediction: chex.Array, target: chex.Array, mask: chex.Array | None, axis_name: AxisName
) -> dict[str, jax.Array]:
  arguments.check_embeddings(prediction=prediction, target=target)
  mask = arguments.check_mask(mask, prediction.shape[0])
  prediction, target = (
    l2_normalize(row_means.without_padding(rows, mask)) for rows in (prediction, target)
  )
  cosines = jnp.sum(prediction * jax.lax.stop_gradient(target), axis=-1)
  return row_means.means({'positive_similarity': cosines}, mask, axis_name)
