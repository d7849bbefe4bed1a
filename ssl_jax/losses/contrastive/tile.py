"""Reduces a tile of the matrix of logits, row by row, to log-sums and what the metrics need.

Rows are anchors, columns candidates, and logits their dot products. Which pairs count is a mask
function of the metadata of rows and columns (position, label, weight), so that no caller holds a
matrix. `anchor_sums` runs these reductions over a whole matrix.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssl_jax.losses import collectives

RowMetadata = Mapping[str, jax.Array]
"""Arrays whose leading axis is the row: `index` (position in the batch), `image`, `label`,
`log_weight`, and `real`, which is False for rows that are padding: they are candidates of none."""


class PairMask(NamedTuple):
  """Which pairs of a tile are counted and positive; arrays broadcast to `[row, column]`."""

  counted: jax.Array
  """Whether the column is in the row's sum of exponentials."""
  positive: jax.Array | None = None
  """Whether the column is the row's positive; what is counted and is not positive is negative."""
  log_weight: jax.Array | None = None
  """Is added to the logit in the sum of exponentials."""
  counts_positives: bool = False
  """Whether positives are counted too; if not, the sum over negatives need not be made again."""


MaskFunction = Callable[[RowMetadata, RowMetadata], PairMask]


class RowSums(NamedTuple):
  """Reductions over an anchor's candidates; but for `log_sums`, each `[row]`."""

  log_sums: jax.Array
  """`[power, row]`: log Σ exp(power * (logit + log weight)) over what is counted."""
  positive_sum: jax.Array
  """Σ of the logits of positives."""
  positive_count: jax.Array
  negative_sum: jax.Array
  """Σ of the logits of negatives; this and all below carry no gradient."""
  negative_count: jax.Array
  effective_negatives: jax.Array
  """1 / Σ p² of the softmax over negatives."""
  nearest_positive: jax.Array
  """The largest logit of a positive, -inf without one."""
  nearest_negative: jax.Array


class Accumulator(NamedTuple):
  """Reductions over part of the candidates, which `combine` adds up."""

  maximum: jax.Array
  sums: jax.Array
  """`[power, row]`: Σ exp(power * (x - maximum))."""
  positive_sum: jax.Array
  positive_count: jax.Array
  negative_sum: jax.Array
  negative_count: jax.Array
  negative_maximum: jax.Array
  negative_exp: jax.Array
  """Σ exp(x - negative_maximum) over negatives, and below of its square."""
  negative_exp_squared: jax.Array
  nearest_positive: jax.Array
  nearest_negative: jax.Array


def finite(maximum: jax.Array) -> jax.Array:
  """A maximum to subtract: 0 where nothing is counted."""
  return jnp.where(jnp.isneginf(maximum), 0, maximum)


def exponents(logits: jax.Array, mask: PairMask, valid: jax.Array | None) -> jax.Array:
  """Logits plus log weights, -inf where nothing is counted."""
  counted = mask.counted if valid is None else mask.counted & valid
  weighted = logits if mask.log_weight is None else logits + mask.log_weight
  return jnp.where(counted, weighted, -jnp.inf)


def reduce_tile(
  logits: jax.Array, mask: PairMask, powers: tuple[float, ...], valid: jax.Array | None = None
) -> Accumulator:
  """The reductions of one tile of logits; differentiable in `sums` and `positive_sum`."""
  x = exponents(logits, mask, valid)
  maximum = jax.lax.stop_gradient(jnp.max(x, axis=1))
  shifted = x - finite(maximum)[:, None]
  exp = jnp.exp(shifted)
  sums = [jnp.sum(exp if p == 1 else jnp.exp(p * shifted), axis=1) for p in powers]

  fixed, exp = jax.lax.stop_gradient((logits, exp))
  zeros = jnp.zeros(x.shape[0], x.dtype)
  negative = mask.counted if valid is None else mask.counted & valid
  if mask.positive is None:
    positive_sum, positive_count, nearest_positive = zeros, zeros, zeros - jnp.inf
  else:
    positive = mask.positive if valid is None else mask.positive & valid
    positive_sum = jnp.sum(jnp.where(positive, logits, 0), axis=1)
    positive_count = jnp.sum(positive, axis=1, dtype=x.dtype)
    nearest_positive = jnp.max(jnp.where(positive, fixed, -jnp.inf), axis=1)
  negative_maximum = maximum
  if mask.counts_positives:
    negative &= ~positive
    x = jnp.where(negative, jax.lax.stop_gradient(x), -jnp.inf)
    negative_maximum = jnp.max(x, axis=1)
    exp = jnp.exp(x - finite(negative_maximum)[:, None])
  return Accumulator(
    maximum=maximum,
    sums=jnp.stack(sums),
    positive_sum=positive_sum,
    positive_count=positive_count,
    negative_sum=jnp.sum(jnp.where(negative, fixed, 0), axis=1),
    negative_count=jnp.sum(negative, axis=1, dtype=x.dtype),
    negative_maximum=negative_maximum,
    negative_exp=jnp.sum(exp, axis=1),
    negative_exp_squared=jnp.sum(jnp.square(exp), axis=1),
    nearest_positive=nearest_positive,
    nearest_negative=jnp.max(jnp.where(negative, fixed, -jnp.inf), axis=1),
  )


def combine(left: Accumulator, right: Accumulator, powers: tuple[float, ...]) -> Accumulator:
  """The reductions of two parts of the candidates together."""
  parts = left, right
  maximum = jnp.maximum(left.maximum, right.maximum)
  negative_maximum = jnp.maximum(left.negative_maximum, right.negative_maximum)
  scales = [jnp.exp(part.maximum - finite(maximum)) for part in parts]
  negative_scales = [jnp.exp(part.negative_maximum - finite(negative_maximum)) for part in parts]

  def rescaled(values: list[jax.Array], scales: list[jax.Array], power: float) -> jax.Array:
    return values[0] * scales[0] ** power + values[1] * scales[1] ** power

  sums = [rescaled([part.sums[i] for part in parts], scales, p) for i, p in enumerate(powers)]
  return Accumulator(
    maximum=maximum,
    sums=jnp.stack(sums),
    positive_sum=left.positive_sum + right.positive_sum,
    positive_count=left.positive_count + right.positive_count,
    negative_sum=left.negative_sum + right.negative_sum,
    negative_count=left.negative_count + right.negative_count,
    negative_maximum=negative_maximum,
    negative_exp=rescaled([part.negative_exp for part in parts], negative_scales, 1),
    negative_exp_squared=rescaled(
      [part.negative_exp_squared for part in parts], negative_scales, 2
    ),
    nearest_positive=jnp.maximum(left.nearest_positive, right.nearest_positive),
    nearest_negative=jnp.maximum(left.nearest_negative, right.nearest_negative),
  )


def init(num_rows: int, powers: tuple[float, ...], like: jax.Array) -> Accumulator:
  """The reductions over no candidates, in the dtype and on the devices of `like`."""
  zero = collectives.varying_as(jnp.zeros(num_rows, like.dtype), like)
  lowest = zero - jnp.inf
  sums = jnp.stack([zero] * len(powers))
  return Accumulator(lowest, sums, zero, zero, zero, zero, lowest, zero, zero, lowest, lowest)


def log_sums(total: Accumulator, powers: tuple[float, ...]) -> jax.Array:
  """`[power, row]`; -inf, with a gradient of zero, where nothing is counted."""
  empty = total.sums == 0
  logs = jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1, total.sums)))
  return logs + jnp.asarray(powers, logs.dtype)[:, None] * finite(total.maximum)


def finalize(total: Accumulator, powers: tuple[float, ...]) -> RowSums:
  """The reductions over all candidates."""
  squares = total.negative_exp_squared
  effective = jnp.square(total.negative_exp) / jnp.where(squares == 0, 1, squares)
  return RowSums(
    log_sums=log_sums(total, powers),
    positive_sum=total.positive_sum,
    positive_count=total.positive_count,
    negative_sum=total.negative_sum,
    negative_count=total.negative_count,
    effective_negatives=effective,
    nearest_positive=total.nearest_positive,
    nearest_negative=total.nearest_negative,
  )
