"""What callers pass to the meters, checked and brought into one form."""

import math
import operator
from typing import Any

import numpy as np

_AXES = {2: '[n, dim]', 3: '[image, view, dim]'}


def as_features(features: Any, *, ndim: int) -> np.ndarray:
  """The features in float64: `[n, dim]`, or `[image, view, dim]` with two or more views.

  Raises:
    ValueError: the shape or dtype is another one, or a feature is not finite.
  """
  array = np.asarray(features)
  if array.ndim != ndim or 0 in array.shape:
    raise ValueError(f'features: found shape {array.shape}, must be {_AXES[ndim]}, none of them 0')
  if ndim == 3 and array.shape[1] < 2:
    raise ValueError(f'features: found {array.shape[1]} view an image, must be at least 2')
  try:
    array = array.astype(np.float64, casting='same_kind')
  except TypeError:
    raise ValueError(f'features: found dtype {array.dtype}, must be real numbers') from None
  bad = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, ndim))))
  if len(bad):
    raise ValueError(
      f'features: found NaN or infinite values in {len(bad)} of {len(array)} rows '
      f'(first: row {bad[0]}), must be finite'
    )
  return array


def as_labels(name: str, labels: Any, count: int, *, of: str = 'features') -> np.ndarray:
  """One whole number >= 0 for each of `count` rows: `int64 [n]`.

  Raises:
    ValueError: labels are absent, not integers, negative, or not as many as there are rows.
  """
  if labels is None:
    raise ValueError(f'{name}: found None, must be one integer for each row of {of}')
  array = np.asarray(labels)
  if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
    raise ValueError(
      f'{name}: found {array.dtype} of shape {array.shape}, '
      f'must be integers of shape ({count},), one for each row of {of}'
    )
  if count and array.min() < 0:
    raise ValueError(f'{name}: found {array.min()}, must be 0 or greater')
  return array.astype(np.int64)


def check_whole(name: str, value: Any, *, minimum: int) -> int:
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
  return number


def check_positive(name: str, value: Any) -> float:
  """Requires a finite number > 0.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  number = _as_float(value)
  if not (math.isfinite(number) and number > 0):
    raise ValueError(f'{name}: found {value!r}, must be a finite number > 0')
  return number


def check_probability(name: str, value: Any) -> float:
  """Requires a number from 0 to 1.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  number = _as_float(value)
  if not 0 <= number <= 1:
    raise ValueError(f'{name}: found {value!r}, must be a number from 0 to 1')
  return number


def _as_float(value: Any) -> float:
  """NaN, which no check passes, where it is no number."""
  try:
    return math.nan if isinstance(value, str | bool) else float(value)
  except (TypeError, ValueError):
    return math.nan
