"""Checks of the arguments of measurements, before anything is computed."""

from typing import Any

import numpy as np
from jax.sharding import NamedSharding

from ssl_jax.analysis.arguments import LABELED, as_int64
from ssl_jax.arguments import ArgumentError, check_whole

_READ = 2**22  # numbers read at once: features may lie in a file larger than memory


def check_rows(name: str, features: Any, *, like: tuple[str, int] | None = None) -> np.ndarray:
  """Features as `[n, dim]` on the host; a file mapped into memory stays in its file.

  Args:
    name: of the argument.
    features: `[n, dim]`, finite real numbers of any dtype.
    like: the name and the width of the features that these are compared with.

  Raises:
    ValueError: the shape or dtype is another one, or a feature is not finite.
  """
  array = np.asarray(features)
  if array.ndim != 2 or 0 in array.shape:
    raise ArgumentError(name, f'shape {array.shape}', '[n, dim], neither of them 0')
  if array.dtype.kind in 'cOSUmM':
    raise ArgumentError(name, f'dtype {array.dtype}', 'real numbers')
  bad = _not_finite(array)
  if len(bad):
    raise ArgumentError(
      name,
      f'NaN or infinite features in {len(bad)} of {len(array)} rows (first: row {bad[0]})',
      'finite',
    )
  if like is not None and array.shape[1] != like[1]:
    raise ArgumentError(name, f'{array.shape[1]} features a row', f'{like[1]} as in the {like[0]}')
  return array


def check_search(
  bank: Any,
  queries: Any,
  k: int,
  chunk_size: int | None = None,
  bank_chunk_size: int | None = None,
  sharding: NamedSharding | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """The bank and the queries of a nearest-neighbor search.

  Raises:
    ValueError: features do not fit or are not finite, or an option is out of range.
  """
  bank = check_rows('bank', bank)
  queries = check_rows('queries', queries, like=('bank', bank.shape[1]))
  check_whole('k', k)
  if k > len(bank):
    raise ArgumentError('k', k, f'at most {len(bank)}, the size of the bank')
  if chunk_size is not None:
    check_whole('chunk_size', chunk_size)
  if bank_chunk_size is not None:
    check_whole('bank_chunk_size', bank_chunk_size)
  if sharding is not None:
    if not isinstance(sharding, NamedSharding):
      raise ArgumentError('sharding', type(sharding).__name__, 'a NamedSharding')
    if any(axes is not None for axes in sharding.spec[1:]):
      raise ArgumentError('sharding', sharding.spec, 'split over the rows alone')
  return bank, queries


def check_integers(name: str, labels: Any, of: str, count: int) -> np.ndarray:
  """One integer for each of `count` rows of the argument `of`: `int64 [count]`.

  Raises:
    ValueError: they are absent, not integers, 2^63 or greater, or not as many as there are rows.
  """
  if labels is None:
    raise ArgumentError(name, 'None', f'one integer for each row of {of}')
  array = np.asarray(labels)
  if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
    raise ArgumentError(
      name, f'{array.dtype} of shape {array.shape}', f'integers of shape ({count},)'
    )
  return as_int64(name, array)


def check_labels(name: str, labels: Any, of: str, count: int) -> np.ndarray:
  """One class, numbered from 0, for each of `count` rows of the argument `of`: `int32 [count]`.

  Raises:
    ValueError: they are absent, not integers, negative, as -1 of an unlabeled row, 2^31 or greater,
      or not as many as there are rows.
  """
  array = check_integers(name, labels, of, count)
  if count and array.min() < 0:
    raise ArgumentError(name, array.min(), LABELED)
  if count and array.max() > np.iinfo(np.int32).max:
    raise ArgumentError(name, array.max(), 'below 2^31: number the classes from 0')
  return array.astype(np.int32)


def _not_finite(array: np.ndarray) -> np.ndarray:
  step = max(1, _READ // array.shape[1])
  parts = [
    start + np.flatnonzero(~np.isfinite(array[start : start + step]).all(axis=1))
    for start in range(0, len(array), step)
  ]
  return np.concatenate(parts)
