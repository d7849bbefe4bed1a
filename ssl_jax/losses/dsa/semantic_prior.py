"""Similarities of a frozen network's embeddings, and the temperature calibrated to them.

For the dynamic semantic adjuster (DSA). Nothing here carries a gradient.
"""

import math

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.dsa.pairs import PairGroups
from ssl_jax.losses.normalize import dot_products, l2_normalize

# Below it float32 does not tell a distance from 0.
TEMPERATURE_FLOOR = 1e-3


def prior_similarity(
  prior_a: chex.Array,
  prior_b: chex.Array,
  *,
  temperature: float | jax.Array = 0.5,
  axis_name: AxisName = None,
) -> jax.Array:
  """How alike a frozen network finds each pair: exp(-‖p_i - p_j‖ / τ) of unit embeddings.

  1/2 is reached at the distance τ log 2: with τ = 0.5 at 0.347, a cosine of 0.940.

  Distances come from matrix products, and lose digits where they are small: in float32 one of d is
  off by about 1e-7 / d, and below 1.4e-3 it counts as 0 (6e-8 in float64). Row i against row i is
  computed from differences and keeps all digits.

  Source: Song et al., arXiv 2407.13541; formula from the released code.

  >>> import jax.numpy as jnp
  >>> prior = jnp.array([[1.0, 0.0], [0.0, 1.0]])
  >>> print(prior_similarity(prior, prior).round(3))
  [[1.    0.059]
   [0.059 1.   ]]

  Args:
    prior_a: `[batch, dim]`, any float dtype; need not be normalized.
    prior_b: `[batch, dim]`; row i embeds the image of `prior_a`'s row i.
    temperature: τ > 0; may be a traced scalar.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which `prior_b` is gathered.

  Returns:
    `[batch, batch]` in (0, 1], float32 (float64 for float64); this device's rows with `axis_name`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, or temperature not positive.
  """
  arguments.check_embeddings(prior_a=prior_a, prior_b=prior_b)
  arguments.check_number('temperature', temperature, above=0, traced=True)
  groups = PairGroups.of('prior_a', jnp.shape(prior_a)[0], None, axis_name)
  rows, columns = (l2_normalize(jax.lax.stop_gradient(x)) for x in (prior_a, prior_b))
  arrays = groups.chunk_rows(rows)[0], groups.group_rows(columns)[0], groups.positions_in_group()[0]
  return similarity(unit_distances(*arrays), temperature)


def calibrated_temperature(
  prior: chex.Array,
  *,
  quantile: float = 0.1,
  group_size: int | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """The τ at which a share `quantile` of the pairs of different images is alike by more than 1/2.

  The quantile of their distances divided by log 2, averaged over groups; the distances of one group
  are in memory at a time. Unlike the fixed 0.5 it
  fits any frozen network. Keep the share near or below one over the number of classes.

  Source: our addition to Song et al., arXiv 2407.13541, which fixes τ at 0.5.

  >>> import jax.numpy as jnp
  >>> print(f'{calibrated_temperature(jnp.eye(4)):.4f}')   # all distances √2, √2 / log 2
  2.0403

  Args:
    prior: `[batch, dim]`, any float dtype, of un-augmented images; need not be normalized.
    quantile: the share, in (0, 1).
    group_size: pairs come from contiguous groups of this many images; None is one group.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which embeddings are gathered.

  Returns:
    A scalar >= 0.001, float32 (float64 for float64), the same on all devices.

  Raises:
    ValueError: wrong rank, or a number out of range.
  """
  arguments.check_embeddings(prior=prior)
  check_quantile('quantile', quantile)
  groups = PairGroups.of('prior', jnp.shape(prior)[0], group_size, axis_name)
  return group_temperature(groups, l2_normalize(jax.lax.stop_gradient(prior)), quantile)


def update_temperature(
  average: chex.Array, current: chex.Array, *, decay: float = 0.99
) -> jax.Array:
  """The moving average of a calibrated temperature over steps; it starts from 0.

  decay * average + (1 - decay) * current; the first value is taken as it is.

  Source: our addition to Song et al., arXiv 2407.13541, as `calibrated_temperature`.

  >>> average = update_temperature(0.0, 1.5)
  >>> print(average, update_temperature(average, 2.5))
  1.5 1.51

  Args:
    average: the average so far, or 0.
    current: of this batch, from `calibrated_temperature`.
    decay: the weight of what was, in [0, 1].

  Returns:
    The new average, without gradient.

  Raises:
    ValueError: a temperature is negative or no scalar, or decay is outside [0, 1].
  """
  arguments.check_number('average', average, at_least=0, traced=True)
  arguments.check_number('current', current, at_least=0, traced=True)
  arguments.check_number('decay', decay, at_least=0, at_most=1)
  average, current = jax.lax.stop_gradient((jnp.asarray(average), jnp.asarray(current)))
  return jnp.where(average > 0, decay * average + (1 - decay) * current, current)


def check_quantile(name: str, quantile: float) -> None:
  arguments.check_number(name, quantile, above=0, below=1)


def group_temperature(groups: PairGroups, unit: jax.Array, quantile: float) -> jax.Array:
  """`calibrated_temperature` of unit rows `[local, dim]`."""

  def of_group(unit):
    distances = unit_distances(unit, unit, jnp.arange(groups.size))
    # Row-major without its first entry, a square matrix has its diagonal in the last column.
    others = distances.reshape(-1)[1:].reshape(groups.size - 1, groups.size + 1)[:, :-1]
    return jnp.quantile(others, quantile)

  quantiles = jax.lax.map(of_group, groups.group_rows(unit))
  mean = collectives.mean(jnp.mean(quantiles), groups.axis_name)
  return jnp.maximum(mean / math.log(2), TEMPERATURE_FLOOR)


def own_pair(positions: jax.Array, num_columns: int) -> jax.Array:
  """Where row and column are of one image: bool `[rows, columns]`."""
  return positions[:, None] == jnp.arange(num_columns)[None, :]


def similarity(distances: jax.Array, temperature: float | jax.Array) -> jax.Array:
  return jnp.exp(-distances / jnp.asarray(temperature, distances.dtype))


def unit_distances(rows: jax.Array, columns: jax.Array, positions: jax.Array) -> jax.Array:
  """Euclidean distances of unit (or zero) vectors: `[rows, columns]`, gradient 0 at distance 0.

  By the matrix of dot products; what it cannot tell from 0 is 0. The pairs of one image, column
  `positions[i]` for row i, tend to be the closest and would lose most digits to cancellation: they
  are computed from differences.
  """
  squared_rows, squared_columns = (jnp.sum(jnp.square(x), axis=-1) for x in (rows, columns))
  squared = squared_rows[:, None] + squared_columns[None, :] - 2 * dot_products(rows, columns)
  squared = jnp.where(squared <= 16 * jnp.finfo(squared.dtype).eps, 0, squared)
  own = jnp.sum(jnp.square(rows - columns[positions]), axis=-1)
  return safe_sqrt(jnp.where(own_pair(positions, columns.shape[0]), own[:, None], squared))


def safe_sqrt(squared: jax.Array) -> jax.Array:
  """The square root; 0 with gradient 0 where the argument is not positive."""
  vanishes = squared <= 0  # which NaN does not
  return jnp.where(vanishes, 0, jnp.sqrt(jnp.where(vanishes, 1, squared)))
