"""The truncated triplet loss: a positive, and a deputy for all negatives."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.deputies import Deputy, RankWindow
from ssl_jax.losses.normalize import dot_products, l2_normalize

RELEASED_WINDOW = RankWindow(2, 10)


def truncated_triplet(
  prediction: chex.Array,
  target: chex.Array,
  *,
  deputy: Deputy = RELEASED_WINDOW,
  gamma: float = 2.0,
  margin: float = 100.0,
  scale: float = 2.0,
  group_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The mean over queries of max(0, γ d⁺ - d⁻ + margin), with d = -scale * cos: one direction.

  d⁺ is the distance of a prediction to its own target, d⁻ that to its deputy: by default the mean
  over ranks 2 to 10 of the targets of other images. With the default margin the hinge never closes
  and the loss is linear in cosines, 100 - 4 s⁺ + 2 s⁻; a collapsed batch has 98.

  Source: Wang et al., ICCV 2021. The defaults are those of the released code. The paper's
  max(γ d⁺ - d⁻, C) has scale 1 and is `truncated_triplet(..., scale=1, margin=-C)` + C.

  >>> import jax.numpy as jnp
  >>> loss, metrics = truncated_triplet(jnp.eye(12), jnp.eye(12))
  >>> print(f'{loss:.1f} = 100 + {metrics["attract"]:.1f} + {metrics["repel"]:.1f}')
  96.0 = 100 + -4.0 + 0.0

  Args:
    prediction: `[batch, dim]`, any float dtype; carries the gradient.
    target: `[batch, dim]`; its gradient is stopped.
    deputy: the ranks that stand for the negatives. Which are safe depends on their number: with m
      negatives of which a share p has the query's class, choose the lowest rank k with a negligible
      P[Binomial(m, p) >= k].
    gamma: γ >= 0, the weight of the positive distance.
    margin: >= 0. From (γ + 1) * scale on, the hinge cannot close and is left out.
    scale: > 0, the distance of opposite vectors from orthogonal ones.
    group_size: negatives come from the query's own contiguous group of this many rows (the papers'
      per-device batch), so that the result does not depend on the hardware; None is one group.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which targets are gathered.

  Returns:
    The loss, and scalars: `attract` (mean γ d⁺) and `repel` (mean -d⁻), which add up to
    `offset_free` (the loss without margin and hinge), `positive_similarity`, `negative_similarity`
    (of the deputy), `hinge_open` (the share of queries with a gradient).

  Raises:
    ValueError: shapes differ, a number is outside its range, `group_size` does not divide the
      batch, or a group has too few negatives for the deputy.
  """
  arguments.check_embeddings(prediction=prediction, target=target)
  arguments.check_number('gamma', gamma, minimum=0)
  arguments.check_number('margin', margin, minimum=0)
  arguments.check_number('scale', scale, minimum=0, exclusive=True)
  gamma, margin, scale = float(gamma), float(margin), float(scale)
  prediction = l2_normalize(prediction)
  target = jax.lax.stop_gradient(l2_normalize(target))

  positive = jnp.sum(prediction * target, axis=-1)
  negative = _deputy_similarity(prediction, target, deputy, group_size, axis_name)
  offset_free = scale * (negative - gamma * positive)
  never_closes = margin >= (gamma + 1) * scale
  parts = {
    'attract': -gamma * scale * jnp.mean(positive),
    'repel': scale * jnp.mean(negative),
    'offset_free': jnp.mean(offset_free),
    'positive_similarity': jnp.mean(positive),
    'negative_similarity': jnp.mean(negative),
    'hinge_open': jnp.mean(offset_free + margin > 0, dtype=offset_free.dtype),
  }
  if not never_closes:
    parts['loss'] = jnp.mean(jax.nn.relu(offset_free + margin))
  parts = collectives.device_mean(parts, axis_name)
  # Added to the mean and not to each query: the offset would cost them a decimal in float32.
  loss = parts['offset_free'] + margin if never_closes else parts.pop('loss')
  return loss, jax.lax.stop_gradient(parts)


def _deputy_similarity(
  prediction: jax.Array,
  target: jax.Array,
  deputy: Deputy,
  group_size: int | None,
  axis_name: AxisName,
) -> jax.Array:
  """The cosine of each normalised prediction to its deputy: `[local]`."""
  num_local, dim = prediction.shape
  num_global = num_local
  if axis_name is not None:
    num_global *= jax.lax.axis_size(axis_name)
  size = num_global if group_size is None else group_size
  arguments.check_whole('group_size', size, minimum=1)
  if num_global % size:
    raise ValueError(f'group_size: found {size}, must be a divisor of the batch, {num_global}')
  low, high = deputy.ranks(size - 1)

  if num_local % size == 0:  # whole groups: nothing of other devices is needed
    queries = prediction.reshape(-1, size, dim)
    keys = target.reshape(-1, size, dim)
    excluded = jnp.eye(size, dtype=bool)
  else:
    queries = prediction[None]
    keys = collectives.gather(target, axis_name)[None]
    rows = collectives.row_indices(num_local, axis_name)[:, None]
    columns = jnp.arange(num_global)[None, :]
    excluded = (rows == columns) | (rows // size != columns // size)
  similarities = dot_products(queries, keys)
  if (low, high) == (1, size - 1):
    total = jnp.sum(jnp.where(excluded, 0, similarities), axis=-1)
    return (total / (size - 1)).reshape(num_local)
  hardest, _ = jax.lax.top_k(jnp.where(excluded, -jnp.inf, similarities), high)
  return jnp.mean(hardest[..., low - 1 :], axis=-1).reshape(num_local)
