"""Checks of what callers pass to a loss, made while tracing: one-line ValueErrors."""

import math
import operator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np


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
      raise ValueError(f'{name}: found dtype {dtype}, must be a floating-point dtype')
    if len(shape) != 2 or 0 in shape:
      raise ValueError(f'{name}: found shape {shape}, must be [batch, dim], neither of them 0')
    if first_shape is None:
      first_name, first_shape = name, shape
    elif shape != first_shape:
      raise ValueError(f'{name}: found shape {shape}, must be {first_shape}, that of {first_name}')


def check_array(name: str, value: Any) -> None:
  """Requires an array of NumPy or JAX: a list would be converted anew at every call.

  Raises:
    ValueError: naming the argument and what was found.
  """
  if not hasattr(value, 'dtype') or not hasattr(value, 'shape'):
    raise ValueError(f'{name}: found {type(value).__name__}, must be an array')


def check_number(
  name: str, value: Any, *, minimum: float, exclusive: bool = False, traced: bool = False
) -> None:
  """Requires a finite number >= `minimum`, or > `minimum` where `exclusive`.

  Args:
    name: the argument's name, for the message.
    value: what was passed.
    minimum: the least value allowed.
    exclusive: whether `minimum` itself is refused.
    traced: whether a traced scalar (of a schedule, say) is accepted; its value cannot be checked.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  bound = '' if minimum == -math.inf else f'{">" if exclusive else ">="} {minimum:g} and '
  allowed = f'{bound}finite'
  if isinstance(value, jax.core.Tracer):
    if traced and not jnp.shape(value):
      return
    raise ValueError(
      f'{name}: found {value.aval}, must be a {"scalar" if traced else "Python"} number'
    )
  try:
    if isinstance(value, str | bool):
      raise TypeError
    number = float(value)
  except (TypeError, ValueError):
    raise ValueError(f'{name}: found {value!r}, must be a number, {allowed}') from None
  if not math.isfinite(number) or number < minimum or (exclusive and number == minimum):
    raise ValueError(f'{name}: found {value}, must be {allowed}')


def check_fraction(name: str, value: Any, *, traced: bool = False) -> None:
  """Requires a number between 0 and 1; where `traced`, a traced scalar passes unchecked.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  check_number(name, value, minimum=0, traced=traced)
  if not isinstance(value, jax.core.Tracer) and float(value) > 1:
    raise ValueError(f'{name}: found {value}, must be between 0 and 1')


def check_whole(name: str, value: Any, *, minimum: int) -> None:
  """Requires a whole number >= `minimum`.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  try:
    number = minimum - 1 if isinstance(value, bool) else operator.index(value)
  except TypeError:
    number = minimum - 1
  if number < minimum:
    raise ValueError(f'{name}: found {value!r}, must be a whole number >= {minimum}')


def check_per_image(name: str, values: Any, batch: int, *, whole: bool = False) -> None:
  """Requires one number an image: `[batch]`; whole numbers, or floats that are finite and >= 0.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  check_array(name, values)
  shape, dtype = jnp.shape(values), jnp.result_type(values)
  if shape != (batch,):
    raise ValueError(f'{name}: found shape {shape}, must be ({batch},), one an image')
  kind = jnp.integer if whole else jnp.floating
  if not jnp.issubdtype(dtype, kind):
    raise ValueError(
      f'{name}: found dtype {dtype}, must be {"an integer" if whole else "a floating-point"} dtype'
    )
  # Values of traced arrays, and of arrays that other processes hold a part of, are out of reach.
  readable = not isinstance(values, jax.core.Tracer) and getattr(
    values, 'is_fully_addressable', True
  )
  if not whole and readable:
    array = np.asarray(values, np.float64)
    bad = array[~(np.isfinite(array) & (array >= 0))]
    if bad.size:
      raise ValueError(f'{name}: found {bad[0]}, must be >= 0 and finite')


def check_group_size(group_size: int, num_global: int) -> None:
  """Requires a whole number >= 2 that divides the global batch.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  check_whole('group_size', group_size, minimum=2)
  if num_global % group_size:
    raise ValueError(
      f'group_size: found {group_size}, must be a divisor of the batch, {num_global}'
    )
