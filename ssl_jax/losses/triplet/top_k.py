"""The largest entries of each row, computed on the device that holds the row."""

import functools
from typing import Any

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def top_k(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The `count` largest of the last axis in descending order; of equal ones the first is first.

  XLA does not partition a top-k: under `jax.jit` every device would gather all rows and rank
  each of them. Here a device ranks the rows it has. Nothing is differentiated.

  Args:
    values: `[..., column]`.
    count: 1 <= count <= column.

  Returns:
    `[..., count]`, and their positions, int32.
  """

  @jax.custom_batching.custom_vmap
  def by_rows(values):
    return _by_rows(values, count)

  @by_rows.def_vmap
  def batch_is_rows(_axis_size, _in_batched, values):
    return by_rows(values), (True, True)

  largest, positions = by_rows(jax.lax.stop_gradient(values))
  return largest, positions


def _on_device(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  # The barriers keep XLA from folding a slice of some ranks into the top-k, which on CPU then
  # becomes a full sort of every row, 50 times slower. There are two of them because XLA aborts
  # where it does have to sort (float64) and one barrier takes the whole result.
  largest, positions = jax.lax.top_k(values, count)
  return jax.lax.optimization_barrier(largest), jax.lax.optimization_barrier(positions)


_by_rows = custom_partitioning(_on_device, static_argnums=(1,))


def _partition(count: int, mesh: Any, operands: Any, _results: Any) -> Any:
  (values,) = operands
  sharding = values.sharding
  if not _keeps_rows_whole(sharding, values.shape):
    devices = np.array(sorted(sharding.device_set, key=lambda device: device.id))
    sharding = NamedSharding(Mesh(devices, ('all',)), PartitionSpec())
  return mesh, functools.partial(_on_device, count=count), (sharding, sharding), (sharding,)


def _keeps_rows_whole(sharding: Any, shape: tuple[int, ...]) -> bool:
  """Whether a device holds all columns of its rows, and every device as many rows."""
  try:
    return sharding.shard_shape(shape)[-1] == shape[-1]
  except ValueError:  # not divisible
    return False


_by_rows.def_partition(
  partition=_partition,
  # As XLA has them: a part of a mesh axis, which it may choose, has no name among the mesh's axes.
  decode_shardings=False,
  sharding_rule='... column -> ... rank, ... rank',
  need_replication_factors=('column', 'rank'),
)
