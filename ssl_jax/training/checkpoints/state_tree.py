"""Flattens a train state, any pytree of arrays, into arrays by path for storage, and back."""

import dataclasses
import math
import urllib.parse
from collections.abc import Container, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError

PyTree = Any

_IMPLEMENTATIONS = {'key<fry>': 'threefry2x32', 'key<rbg>': 'rbg', 'key<urbg>': 'unsafe_rbg'}
# Parts of a train state under the names of version 0.1, whose checkpoints are read until 0.3.
_FORMER_PARTS = {'stats': 'batch_stats', 'extra': 'method_state'}


@dataclasses.dataclass(frozen=True)
class Leaf:
  """Shape, dtype name (`key<fry>` and the like for typed PRNG keys) and size of one leaf."""

  shape: tuple[int, ...]
  dtype: str
  bytes: int


def describe(state: PyTree) -> dict[str, Leaf]:
  """Lists the leaves of a state by path (`params/encoder/kernel`), from shapes and dtypes alone.

  Args:
    state: pytree of jax or NumPy arrays, `jax.ShapeDtypeStruct`s, typed keys and Python numbers.

  Raises:
    ArgumentError: two leaves share a path, or a leaf is no array; the message names the path.
  """
  leaves = {}
  for name, value in _named(state):
    if name in leaves:
      raise ArgumentError('state', f'two leaves of the path {name!r}', 'leaves of unique paths')
    leaves[name] = _describe_leaf(name, value)
  return leaves


def check_same(
  saved: Mapping[str, tuple[tuple[int, ...], str]], template: PyTree, where: str
) -> None:
  """Compares the leaves of a checkpoint with those of `template`.

  Raises:
    ArgumentError: names the first path that differs, with both shapes and dtypes.
  """
  wanted = describe(template)
  for name, leaf in wanted.items():
    expected = f'{list(leaf.shape)} {leaf.dtype}'
    if name not in saved:
      raise ArgumentError(where, f'no {name!r}', f'a checkpoint that has it, {expected}')
    shape, dtype = saved[name]
    if (shape, dtype) != (leaf.shape, leaf.dtype):
      found = f'{name!r} {list(shape)} {dtype}'
      raise ArgumentError(where, found, f'{expected}, as in the state')
  for name, (shape, dtype) in saved.items():
    if name not in wanted:
      found = f'{name!r} {list(shape)} {dtype}'
      raise ArgumentError(where, found, 'a checkpoint without it, as the state')


def current_paths(saved: Iterable[str], wanted: Container[str] = ()) -> dict[str, str]:
  """By path in a checkpoint, the path in today's state: another one where a part was renamed.

  Args:
    saved: the paths in the checkpoint.
    wanted: paths that the state is known to have, which keep their names.
  """
  return {name: name if name in wanted else _current_path(name) for name in saved}


def pack(state: PyTree) -> dict[str, Any]:
  """The leaves of a state by path, as jax and NumPy arrays; keys become their uint32 data."""
  return {name: _plain(value) for name, value in _named(state)}


def targets(template: PyTree) -> dict[str, Any]:
  """By path, what to restore (shape and dtype) and on which devices."""
  return {name: _target(value) for name, value in _named(template)}


def abstract_arrays(saved: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, Any]:
  """By path, what to restore so that everything stored becomes a NumPy array."""
  targets = {}
  for name, (shape, dtype) in saved.items():
    if dtype.startswith('key<'):
      # Keys are stored as their data, whose length depends on the implementation.
      data = jax.random.key_data(jax.random.key(0, impl=_IMPLEMENTATIONS[dtype]))
      shape, dtype = (*shape, *data.shape), 'uint32'
    targets[name] = _abstract_array(shape, jnp.dtype(dtype))
  return targets


def unpack(template: PyTree, restored: Mapping[str, Any]) -> PyTree:
  """Turns restored arrays back into the structure and the leaf types of `template`."""
  values = [_rebuild(like, restored.get(name)) for name, like in _named(template)]
  return jax.tree.unflatten(jax.tree.structure(template), values)


def _current_path(name: str) -> str:
  parts = name.split('/')
  if parts[0] not in _FORMER_PARTS:
    return name
  # Further down as well: a frozen encoder in `extra` has `stats` of its own.
  return '/'.join(_FORMER_PARTS.get(part, part) for part in parts)


def _named(tree: PyTree) -> list[tuple[str, Any]]:
  return [
    ('/'.join(_quote(_key_name(key)) for key in path) or 'state', value)
    for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]
  ]


def _key_name(key: Any) -> str:
  for attribute in ('key', 'name', 'idx'):
    if hasattr(key, attribute):
      return str(getattr(key, attribute))
  return str(key)


def _quote(name: str) -> str:
  # '/' separates our paths and '.' those of the storage format; an empty name has no place there.
  return urllib.parse.quote(name, safe=' ').replace('.', '%2E') or '%'


def _is_key(value: Any) -> bool:
  return hasattr(value, 'dtype') and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def _describe_leaf(name: str, value: Any) -> Leaf:
  if _is_key(value):
    data = jax.eval_shape(jax.random.key_data, value)
    return Leaf(tuple(value.shape), str(value.dtype), data.size * data.dtype.itemsize)
  if not (hasattr(value, 'shape') and hasattr(value, 'dtype')):
    value = np.asarray(value)
  dtype = np.dtype(value.dtype)
  if dtype.kind in 'OSUMm' or dtype.names:
    raise ArgumentError(f'state: {name!r}', f'dtype {dtype}', 'of numbers, bools or keys')
  return Leaf(tuple(value.shape), dtype.name, math.prod(value.shape) * dtype.itemsize)


def _plain(value: Any) -> Any:
  if _is_key(value):
    return jax.random.key_data(value)
  # A copy, because the caller may change its array while the save is still under way.
  return value if isinstance(value, jax.Array) else np.array(value)


def _target(value: Any) -> Any:
  sharding = _sharding(value)
  if _is_key(value):
    value = jax.eval_shape(jax.random.key_data, value)
  elif not hasattr(value, 'shape'):
    value = np.asarray(value)
  if sharding is None:
    return _abstract_array(value.shape, value.dtype)
  return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)


def _abstract_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
  """Shape and dtype without memory behind them; the storage restores such a leaf to NumPy."""
  return np.broadcast_to(np.zeros((), dtype), shape)


def _sharding(value: Any) -> Any:
  if isinstance(value, jax.Array):
    # An uncommitted array must stay one, or it could not meet arrays on a mesh in one computation.
    if not getattr(value, 'committed', True):
      return None
    return (jax.random.key_data(value) if _is_key(value) else value).sharding
  return getattr(value, 'sharding', None)


def _rebuild(like: Any, found: Any) -> Any:
  is_jax = isinstance(like, jax.Array | jax.ShapeDtypeStruct)
  if found is None:
    target = _target(like)
    found = np.zeros(target.shape, target.dtype)
    if (sharding := _sharding(like)) is not None:
      found = jax.device_put(found, sharding)
  if is_jax and not isinstance(found, jax.Array):
    found = jnp.array(found)
  if _is_key(like):
    return jax.random.wrap_key_data(found, impl=_key_impl(like))
  if is_jax or isinstance(like, np.ndarray):
    return found
  return found[()] if isinstance(like, np.generic) else found.item()


def _key_impl(key: Any) -> Any:
  # Read while tracing: an abstract key has no other public way to tell its implementation.
  impl = []

  def note(traced: jax.Array) -> jax.Array:
    impl.append(jax.random.key_impl(traced))
    return jax.random.key_data(traced)

  jax.eval_shape(note, key)
  return impl[0]
