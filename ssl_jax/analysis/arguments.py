"""Checks and conversion of the arrays that callers pass to the metrics."""

from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError

# What labels must be; -1 says that a row has none.
LABELED = '0 or greater; rows without a label are left out before'
_AXES = {2: '[n, dim]', 3: '[image, view, dim]'}


def as_features(features: Any, *, ndim: int) -> np.ndarray:
  """The features in float64: `[n, dim]`, or `[image, view, dim]` with two or more views.

  Raises:
    ValueError: the shape or dtype is another one, or a feature is not finite.
  """
  array = np.asarray(features)
  if array.ndim != ndim or 0 in array.shape:
    raise ArgumentError('features', f'shape {array.shape}', f'{_AXES[ndim]}, none of them 0')
  if ndim == 3 and array.shape[1] < 2:
    raise ArgumentError('features', f'{array.shape[1]} view an image', 'at least 2')
  try:
    array = array.astype(np.float64, casting='same_kind')
  except TypeError:
    raise ArgumentError('features', f'dtype {array.dtype}', 'real numbers') from None
  bad = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, ndim))))
  if len(bad):
    raise ArgumentError(
      'features',
      f'NaN or infinite values in {len(bad)} of {len(array)} rows (first: row {bad[0]})',
      'finite',
    )
  return array


def as_int64(name: str, integers: np.ndarray) -> np.ndarray:
  """Integers of any dtype in int64, none of them changed.

  Raises:
    ValueError: one is 2^63 or greater.
  """
  if integers.dtype == np.uint64 and integers.size and integers.max() > np.iinfo(np.int64).max:
    raise ArgumentError(name, integers.max(), 'below 2^63')
  return integers.astype(np.int64)


def as_labels(name: str, labels: Any, count: int, *, of: str = 'features') -> np.ndarray:
  """One whole number >= 0 for each of `count` rows: `int64 [n]`.

  Raises:
    ValueError: labels are absent, not integers, negative, as -1 of an unlabeled row, 2^63 or
      greater, or not as many as there are rows.
  """
  if labels is None:
    raise ArgumentError(name, 'None', f'one integer for each row of {of}')
  array = np.asarray(labels)
  if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
    raise ArgumentError(
      name,
      f'{array.dtype} of shape {array.shape}',
      f'integers of shape ({count},), one for each row of {of}',
    )
  if count and array.min() < 0:
    raise ArgumentError(name, array.min(), LABELED)
  return as_int64(name, array)
