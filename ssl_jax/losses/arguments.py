"""Checks of the arguments of losses, at trace time; each raises a ValueError of one line."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import arguments
from ssl_jax.arguments import ArgumentError


def check_embeddings(**named: chex.Array) -> None:
  """Requires float arrays `[batch, dim]` of one shape, `batch` and `dim` at least 1.

  Raises:
    ValueError: naming the argument, its shape or dtype, and what is allowed.
  """
  first_name, first_shape = '', None
  for name, array in named.items():
    check_array(name, array)
    shape, dtype = jnp.shape(array), jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
      raise ArgumentError(name, f'dtype {dtype}', 'a floating-point dtype')
    if len(shape) != 2 or 0 in shape:
      raise ArgumentError(name, f'shape {shape}', '[batch, dim], neither of them 0')
    if first_shape is None:
      first_name, first_shape = name, shape
    elif shape != first_shape:
      raise ArgumentError(name, f'shape {shape}', f'{first_shape}, that of {first_name}')


def check_array(name: str, value: Any) -> None:
  """Requires an array of NumPy or JAX: a list would be converted anew at every call.

  Raises:
    ValueError: naming the argument and what was found.
  """
  if not hasattr(value, 'dtype') or not hasattr(value, 'shape'):
    raise ArgumentError(name, type(value).__name__, 'an array')


def check_number(name: str, value: Any, *, traced: bool = False, **bounds: float) -> None:
  """Requires a finite number within `bounds`, those of `ssl_jax.arguments.Bounds`.

  Args:
    name: the argument's name, for the message.
    value: what was passed.
    traced: whether a traced scalar (of a schedule, say) is accepted; its value cannot be checked.
    **bounds: `at_least`, `above`, `at_most`, `below`.

  Raises:
    ArgumentError: it is another, or no number.
  """
  if not isinstance(value, jax.core.Tracer):
    arguments.check_number(name, value, **bounds)
  elif not traced or jnp.shape(value):
    raise ArgumentError(name, value.aval, f'a {"scalar" if traced else "Python"} number')


def check_fraction(name: str, value: Any, *, traced: bool = False) -> None:
  """Requires a number from 0 to 1; where `traced`, a traced scalar passes unchecked."""
  check_number(name, value, traced=traced, at_least=0, at_most=1)


def check_per_image(name: str, values: Any, batch: int, *, whole: bool = False) -> None:
  """Requires one number an image: `[batch]`; whole numbers, or floats that are finite and >= 0.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  check_array(name, values)
  shape, dtype = jnp.shape(values), jnp.result_type(values)
  if shape != (batch,):
    raise ArgumentError(name, f'shape {shape}', f'({batch},), one an image')
  kind = jnp.integer if whole else jnp.floating
  if not jnp.issubdtype(dtype, kind):
    raise ArgumentError(
      name, f'dtype {dtype}', f'{("an integer" if whole else "a floating-point")} dtype'
    )
  # Values of traced arrays, and of arrays that other processes hold a part of, are out of reach.
  readable = not isinstance(values, jax.core.Tracer) and getattr(
    values, 'is_fully_addressable', True
  )
  if not whole and readable:
    array = np.asarray(values, np.float64)
    bad = array[~(np.isfinite(array) & (array >= 0))]
    if bad.size:
      raise ArgumentError(name, bad[0], '>= 0 and finite')


def check_views(
  view1: chex.Array,
  view2: chex.Array | None,
  fewest: int = 2,
  *,
  names: tuple[str, str] = ('view1', 'view2'),
) -> None:
  """Requires two views `[batch, dim]`, or without the second all views, `[view, batch, dim]`.

  Args:
    view1: a view, or all of them.
    view2: another view of the same images, or None.
    fewest: views; 1 allows a single `[batch, dim]` too.
    names: of the two arguments, for the message.

  Raises:
    ValueError: naming the argument, its shape or dtype, and what is allowed.
  """
  if view2 is not None:
    check_embeddings(**dict(zip(names, (view1, view2), strict=True)))
    return
  check_array(names[0], view1)
  shape = jnp.shape(view1)
  if len(shape) == 3 and shape[0] >= fewest and 0 not in shape:
    check_embeddings(**{names[0]: view1[0]})
  elif len(shape) == 2 and fewest == 1:
    check_embeddings(**{names[0]: view1})
  else:
    allowed = f'[view, batch, dim] with at least {fewest} views where {names[1]} is left out'
    raise ArgumentError(names[0], f'shape {shape}', allowed)


def check_mask(mask: Any, batch: int) -> jax.Array | None:
  """A mask of real rows as an array: None, or bool `[batch]`.

  Raises:
    ValueError: naming what was found and what is allowed.
  """
  if mask is None:
    return None
  check_array('mask', mask)
  if jnp.shape(mask) != (batch,) or not jnp.issubdtype(jnp.result_type(mask), jnp.bool_):
    found = f'{jnp.result_type(mask)} of shape {jnp.shape(mask)}'
    raise ArgumentError('mask', found, f'bool of shape ({batch},), False for padding')
  return jnp.asarray(mask)


def check_labels(labels: Any, batch: int) -> jax.Array:
  """Labels as an array of whole numbers `[batch]`, none of which JAX would cut.

  Without `jax_enable_x64` JAX keeps the lower 32 bits of an integer, and different labels would
  become one. Where a traced array loses them before it comes here, nothing can be seen of it.

  Raises:
    ValueError: naming what was found and what is allowed.
  """
  check_per_image('labels', labels, batch, whole=True)
  if not isinstance(labels, jax.Array):
    kept = jnp.iinfo(jax.dtypes.canonicalize_dtype(labels.dtype))
    for label in (np.min(labels), np.max(labels)):
      if not kept.min <= int(label) <= kept.max:
        raise ArgumentError('labels', label, f'from {kept.min} to {kept.max} ({kept.dtype})')
  return jnp.asarray(labels)


def check_group_size(group_size: int, num_global: int) -> None:
  """Requires a whole number >= 2 that divides the global batch.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  arguments.check_whole('group_size', group_size, 2)
  if num_global % group_size:
    raise ArgumentError('group_size', group_size, f'a divisor of the batch, {num_global}')
