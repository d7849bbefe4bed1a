"""Means over the rows of a batch, on one or many devices and without rows that are padding.

A mask is `[batch]`, True for real rows and False for padding. Padding becomes zero before anything
is computed of it, so that neither its values nor its gradients are met, and is left out of means.
"""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import collectives
from ssl_jax.losses.collectives import AxisName


def without_padding(rows: chex.Array, mask: jax.Array | None) -> jax.Array:
  """`[batch, ...]` with zeros in place of padding, whatever it holds, NaN included."""
  rows = jnp.asarray(rows)
  if mask is None:
    return rows
  return jnp.where(mask.reshape(-1, *(1,) * (rows.ndim - 1)), rows, 0)


def means(
  values: Mapping[str, jax.Array],
  mask: jax.Array | None,
  axis_name: AxisName,
  *,
  of_none: float | jax.Array = jnp.nan,
) -> dict[str, jax.Array]:
  """The mean of each array over the real rows of all devices, and over its leading axes.

  Args:
    values: `[..., row]`, floats.
    mask: `[row]`; None takes all rows.
    axis_name: the mapped axis over which rows are spread.
    of_none: the mean where all rows are padding.
  """
  if mask is None:
    return collectives.device_mean({name: jnp.mean(x) for name, x in values.items()}, axis_name)
  shares = {name: jnp.mean(jnp.where(mask, x, 0)) for name, x in values.items()}
  dtype = jnp.result_type(*values.values())
  found = collectives.device_mean({**shares, '': jnp.mean(mask, dtype=dtype)}, axis_name)
  real = found.pop('')
  none = real == 0
  return {name: jnp.where(none, of_none, x / jnp.where(none, 1, real)) for name, x in found.items()}


def batch_mean(rows: jax.Array, mask: jax.Array | None, axis_name: AxisName) -> jax.Array:
  """The mean over the real rows of all devices and over leading axes; NaN if there are none.

  It maps `[..., row, dim]` to `[dim]`.
  """
  leading = tuple(range(rows.ndim - 1))
  if mask is None:
    return collectives.mean(jnp.mean(rows, axis=leading), axis_name)
  total = collectives.mean(jnp.mean(jnp.where(mask[:, None], rows, 0), axis=leading), axis_name)
  return total / real_share(mask, rows.dtype, axis_name)


def real_share(mask: jax.Array, dtype: chex.ArrayDType, axis_name: AxisName) -> jax.Array:
  """The share of real rows among those of all devices; NaN if there are none."""
  share = collectives.mean(jnp.mean(mask, dtype=dtype), axis_name)
  return jnp.where(share > 0, share, jnp.nan)


def count(mask: jax.Array | None, num_local: int, axis_name: AxisName) -> int | jax.Array:
  """The real rows of all devices: a Python number without a mask, else an int32 scalar."""
  if mask is None:
    return num_local * collectives.axis_size(axis_name)
  return collectives.total(jnp.sum(mask, dtype=jnp.int32), axis_name)


def is_positive(values: jax.Array) -> jax.Array:
  """1 where a number is above 0, and else 0, of which the mean is a share; NaN stays NaN."""
  return jnp.where(jnp.isnan(values), values, values > 0)
