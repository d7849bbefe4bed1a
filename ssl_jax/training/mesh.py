"""The device mesh of a run: one axis, `data`, that splits batches; all other arrays are copied."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax.arguments import ArgumentError

AXIS = 'data'


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """A mesh of `devices` (default: all of every process) along the one axis `data`."""
  devices = jax.devices() if devices is None else devices
  # make_mesh would default to Explicit axes, under which z @ z.T of sharded embeddings does not
  # trace.
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """Dimension `axis` is split over the devices."""
  return NamedSharding(mesh, P(*([None] * axis), AXIS))


def put(array: np.ndarray | np.generic, sharding: NamedSharding) -> jax.Array:
  """Places a host array, known whole to every process, as one global array."""
  if jax.process_count() == 1:
    return jax.device_put(array, sharding)
  whole = np.asarray(array)
  return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def validate_batch(mesh: Mesh, batch_size: int, name: str = 'batch_size') -> None:
  """Raises ValueError when a batch cannot be split evenly over the devices."""
  if batch_size % mesh.size:
    raise ArgumentError(name, batch_size, f'a multiple of the {mesh.size} devices')
