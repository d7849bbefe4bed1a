"""Gathers, means and ring shifts over a mapped axis; identities where `axis_name` is None.

A global loss inside `shard_map` or `pmap` needs two things: keys gathered *with* gradient (a
stopped gather leaves the value right and the gradient wrong), and the mean over devices taken
inside the loss, so that a `pmean` of the gradients is the global gradient.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp

AxisName = Hashable | None
Tree = TypeVar('Tree')


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


def mean(values: jax.Array, axis_name: AxisName) -> jax.Array:
  """The mean over the devices of the axis."""
  return values if axis_name is None else jax.lax.pmean(values, axis_name)


def total(value: jax.Array, axis_name: AxisName) -> jax.Array:
  """The sum over the devices of the axis."""
  return value if axis_name is None else jax.lax.psum(value, axis_name)


def largest(value: jax.Array, axis_name: AxisName) -> jax.Array:
  """The maximum over the devices of the axis, without gradient."""
  value = jax.lax.stop_gradient(value)
  return value if axis_name is None else jax.lax.pmax(value, axis_name)


def axis_size(axis_name: AxisName) -> int:
  """The number of devices along the axis; 1 where arrays are global."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def ring_shift(tree: Tree, axis_name: AxisName) -> Tree:
  """One step around the ring: device i receives what device i - 1 held. Differentiable."""
  size = axis_size(axis_name)
  if size == 1:
    return tree
  steps = [(source, (source + 1) % size) for source in range(size)]
  return jax.tree.map(lambda x: jax.lax.ppermute(x, axis_name, steps), tree)


def varying_as(tree: Tree, like: jax.Array) -> Tree:
  """The same values, typed as differing between devices wherever `like` does.

  `shard_map` with `check_vma` wants a loop's carry to have that type from the start.
  """
  anchor = jnp.ravel(like)[0]
  return jax.tree.map(lambda x: jnp.where(True, x, anchor.astype(x.dtype)), tree)
