"""Anchor scores: the share of an image's nearest neighbors from which a walk leads back to it.

Neighbors are those of a frozen network's embeddings. Nothing here carries a gradient.
"""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.losses import arguments
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.dsa.pairs import PairGroups
from ssl_jax.losses.dsa.semantic_prior import own_pair
from ssl_jax.losses.normalize import dot_products, l2_normalize


def anchor_scores(
  prior: chex.Array,
  *,
  num_neighbors: int = 20,
  threshold: int = 1,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """The share of an image's nearest neighbors that lead back to it in two steps: 0 is an outlier.

  A_ij says whether j is among the k nearest neighbors of i by cosine, itself excluded. A neighbor
  j counts for i when more than μ of its walks j → l → i exist: s_i = mean of 1[(A A)_ji > μ] over
  the neighbors j. A point that is nobody's neighbor has s = 0; in a clique of k + 1 all have 1 as
  long as μ <= k - 2. On random neighbors A A has mean k² / batch, so k should fall with the batch.

  Source: Song et al., arXiv 2407.13541; formula and defaults (μ = 2 on ImageNet) from the released
  code, which is fed the un-augmented images.

  >>> import jax.numpy as jnp
  >>> angles = jnp.radians(jnp.array([0.0, 5.0, 9.0, 14.0, 180.0]))
  >>> prior = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
  >>> print(anchor_scores(prior, num_neighbors=3))   # the last one is an outlier
  [1. 1. 1. 1. 0.]

  Args:
    prior: `[batch, dim]`, any float dtype; need not be normalized.
    num_neighbors: k >= 1, at most the group without the image itself.
    threshold: μ >= 0.
    group_size: neighbors come from the image's own contiguous group; None is one group.
    block_size: with it, memory is O(block_size * group) instead of O(batch * group).
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which embeddings are gathered.

  Returns:
    `[batch]` in [0, 1], float32 (float64 for float64); this device's rows with `axis_name`. NaN
    in a group where a row is not finite.

  Raises:
    ValueError: wrong rank, more neighbors than other images, or a size out of range.
  """
  arguments.check_embeddings(prior=prior)
  groups = PairGroups.of('prior', jnp.shape(prior)[0], group_size, axis_name)
  check_neighbors(num_neighbors, threshold, groups.size)
  unit = l2_normalize(jax.lax.stop_gradient(prior))
  return group_scores(groups, unit, num_neighbors, threshold, block_size).reshape(-1)


def check_neighbors(num_neighbors: int, threshold: int, group_size: int) -> None:
  check_whole('num_neighbors', num_neighbors)
  check_whole('threshold', threshold, 0)
  if num_neighbors >= group_size:
    raise ArgumentError(
      'num_neighbors', f'{num_neighbors} in a group of {group_size}', f'at most {group_size - 1}'
    )


def group_scores(
  groups: PairGroups, unit: jax.Array, num_neighbors: int, threshold: int, block_size: int | None
) -> jax.Array:
  """`anchor_scores` of unit rows `[local, dim]`: `[chunks, chunk]`."""

  # Cosines that differ by rounding only are ties, which the lower index wins, block by block too.
  steps = 1 / (64 * jnp.finfo(unit.dtype).eps)

  def nearest(rows, columns):
    unit, positions = rows
    cosines = jnp.round(dot_products(unit, columns) * steps)
    cosines = jnp.where(own_pair(positions, groups.size), -jnp.inf, cosines)
    return jax.lax.top_k(cosines, num_neighbors)[1], jnp.any(jnp.isnan(cosines), axis=-1)

  def scores(rows, neighbors):
    own, unknown, positions = rows
    # The ends of all walks i → j, j → l, l → end; those that end in i are counted.
    ends = neighbors[neighbors[own]]
    returns = jnp.any(ends == positions[:, None, None, None], axis=-1)
    share = jnp.mean(jnp.sum(returns, axis=-1) > threshold, axis=-1, dtype=unit.dtype)
    return jnp.where(unknown, jnp.nan, share)

  positions = groups.positions_in_group()
  rows = groups.chunk_rows(unit), positions
  neighbors, unknown = groups.map_chunks(nearest, rows, groups.group_rows(unit), block_size)
  all_neighbors = groups.group_rows(neighbors.reshape(-1, num_neighbors))
  return groups.map_chunks(scores, (neighbors, unknown, positions), all_neighbors, block_size)
