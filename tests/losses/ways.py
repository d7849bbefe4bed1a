"""The ways in which a caller runs a loss on several devices.

Each takes `function(parameters, inputs, axis_name=None)`, which sees all rows where `axis_name` is
None and otherwise those of its device, and which returns what must be equal on all devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = 'data'
ROWS, WHOLE = PartitionSpec(AXIS), PartitionSpec()

Function = Callable[..., Any]


def make_mesh(num_devices: int) -> Mesh:
  return jax.make_mesh(
    (num_devices,), (AXIS,), (AxisType.Auto,), devices=jax.devices()[:num_devices]
  )


def _place(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
  """Global arrays, of which each process makes the shards of its own devices."""
  sharding = NamedSharding(mesh, spec)
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), tree
  )


def _call_on_mesh(function: Any, parameters: Any, inputs: Any, mesh: Mesh) -> Any:
  return function(_place(parameters, mesh, WHOLE), _place(inputs, mesh, ROWS))


def one_device(function: Function, parameters: Any, inputs: Any) -> Any:
  """What all the others are compared with."""
  return jax.jit(function)(parameters, inputs)


def sharded_jit(function: Function, parameters: Any, inputs: Any, mesh: Mesh) -> Any:
  """Global arrays whose rows are spread over the mesh."""
  compiled = jax.jit(function, out_shardings=NamedSharding(mesh, WHOLE))
  return _call_on_mesh(compiled, parameters, inputs, mesh)


def shard_map(function: Function, parameters: Any, inputs: Any, mesh: Mesh) -> Any:
  """`check_vma` proves the results equal on all devices."""
  local = functools.partial(function, axis_name=AXIS)
  mapped = jax.shard_map(local, mesh=mesh, in_specs=(WHOLE, ROWS), out_specs=WHOLE)
  return _call_on_mesh(jax.jit(mapped), parameters, inputs, mesh)


def unchecked_shard_map(function: Function, parameters: Any, inputs: Any, mesh: Mesh) -> Any:
  """Without `check_vma`; results have a leading axis of devices."""

  def local(parameters, inputs):
    return jax.tree.map(lambda x: x[None], function(parameters, inputs, axis_name=AXIS))

  mapped = jax.shard_map(local, mesh=mesh, in_specs=(WHOLE, ROWS), out_specs=ROWS, check_vma=False)
  return _call_on_mesh(jax.jit(mapped), parameters, inputs, mesh)


def pmap(function: Function, parameters: Any, inputs: Any, mesh: Mesh) -> Any:
  """Results have a leading axis of devices."""
  split = jax.tree.map(lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), inputs)
  local = functools.partial(function, axis_name=AXIS)
  mapped = jax.pmap(local, AXIS, in_axes=(None, 0), devices=list(mesh.devices.flat))
  return mapped(parameters, split)
