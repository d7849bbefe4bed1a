"""The few collectives a loss needs: each does nothing where arrays are global (`axis_name` None).

A global loss inside `shard_map` or `pmap` needs two things: keys gathered *with* gradient (a
stopped gather leaves the value right and the gradient wrong), and the mean over devices taken
inside the loss, so that a `pmean` of the gradients is the global gradient.
"""

from collections.abc import Hashable, Mapping

import jax
import jax.numpy as jnp

AxisName = Hashable | None


def gather(rows: jax.Array, axis_name: AxisName) -> jax.Array:
  """`[local, ...]` on each device to `[devices * local, ...]`, in device order, with gradient."""
  return rows if axis_name is None else jax.lax.all_gather(rows, axis_name, tiled=True)


def row_indices(num_local: int, axis_name: AxisName) -> jax.Array:
  """The positions of this device's rows among the gathered ones: int32 `[local]`."""
  offset = 0 if axis_name is None else jax.lax.axis_index(axis_name) * num_local
  return offset + jnp.arange(num_local)


def device_mean(scalars: Mapping[str, jax.Array], axis_name: AxisName) -> dict[str, jax.Array]:
  """The mean of each scalar over the devices of the axis."""
  return dict(scalars if axis_name is None else jax.lax.pmean(dict(scalars), axis_name))
