"""The truncated triplet loss: distance to the positive against that to a deputy negative."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import l2_normalize
from ssl_jax.losses.triplet.deputy_keys import deputy_keys
from ssl_jax.losses.triplet.ranks import Deputy, RankWindow

RELEASED_WINDOW = RankWindow(2, 10)


def truncated_triplet(
  prediction: chex.Array,
  target: chex.Array,
  *,
  deputy: Deputy = RELEASED_WINDOW,
  gamma: float = 2.0,
  margin: float = 100.0,
  scale: float = 2.0,
  mask: chex.Array | None = None,
  group_size: int | None = None,
  block_size: int | None = None,
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
    mask: bool `[batch]`, False for rows that are padding: loss, metrics and gradient are those
      without them, whatever they hold. NaN where they leave a group too few negatives for the
      deputy, and if all are padding. They keep their places in groups and blocks.
    group_size: negatives come from the query's own contiguous group of this many rows (the papers'
      per-device batch), so that the result does not depend on the hardware; None is one group.
    block_size: rows compared at a time, with as many targets (at least 32 times the deputy's
      last rank), while deputies are looked for: memory then grows as block_size² + batch * dim,
      and value and gradient stay the same. None compares all rows at once.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which negatives are looked for;
      targets are gathered, or with a `block_size` passed round a ring of devices, unless each
      device holds whole groups.

  Returns:
    The loss, and scalars: `attract` (mean γ d⁺) and `repel` (mean -d⁻), which add up to
    `offset_free` (the loss without margin and hinge), `positive_similarity`, `negative_similarity`
    (of the deputy), `active_fraction` (the share of queries with a gradient).

  Raises:
    ValueError: shapes differ, a number is outside its range, `group_size` does not divide the
      batch, `block_size` is not a whole number >= 1, or a group has too few negatives for the
      deputy.
  """
  arguments.check_embeddings(prediction=prediction, target=target)
  if not isinstance(deputy, Deputy):
    raise ArgumentError(
      'deputy', repr(deputy), 'a RankWindow(low, high), MedianRank() or AllRanks()'
    )
  arguments.check_number('gamma', gamma, at_least=0)
  arguments.check_number('margin', margin, at_least=0)
  arguments.check_number('scale', scale, above=0)
  gamma, margin, scale = float(gamma), float(margin), float(scale)
  mask = arguments.check_mask(mask, prediction.shape[0])
  prediction, target = (
    l2_normalize(row_means.without_padding(rows, mask)) for rows in (prediction, target)
  )
  target = jax.lax.stop_gradient(target)

  positive = jnp.sum(prediction * target, axis=-1)
  deputies = deputy_keys(
    prediction,
    target,
    deputy,
    mask=mask,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  negative = jnp.sum(prediction * deputies, axis=-1)
  offset_free = scale * (negative - gamma * positive)
  never_closes = margin >= (gamma + 1) * scale
  parts = {
    'positive_similarity': positive,
    'negative_similarity': negative,
    'offset_free': offset_free,
    'active_fraction': row_means.is_positive(offset_free + margin),
  }
  if not never_closes:
    parts['loss'] = jax.nn.relu(offset_free + margin)
  parts = row_means.means(parts, mask, axis_name)
  parts['attract'] = -gamma * scale * parts['positive_similarity']
  parts['repel'] = scale * parts['negative_similarity']
  # Added to the mean and not to each query: the offset would cost them a decimal in float32.
  loss = parts['offset_free'] + margin if never_closes else parts.pop('loss')
  return loss, jax.lax.stop_gradient(parts)
