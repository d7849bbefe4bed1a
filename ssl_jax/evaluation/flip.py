"""Features of an image and its mirror image, joined: the flip ensemble of person retrieval."""

from typing import Any

import numpy as np


def flip_ensemble(features: Any, flipped_features: Any, *, released: bool = False) -> np.ndarray:
  """One unit feature for an image from that of the image and that of its horizontal flip.

  `unit(original + flipped)`. With `released`, `unit(unit(original) + flipped)`, for parity with the
  released person retrieval code of the truncated triplet loss, where the flip dominates.

  Source: Wang et al., ICCV 2021 (truncated triplet loss), SYSU-30k evaluation.

  >>> print(flip_ensemble([[3.0, 0.0]], [[0.0, 4.0]]))
  [[0.6 0.8]]

  Args:
    features: `[n, dim]` of any real dtype, not normalised.
    flipped_features: `[n, dim]`; row i belongs to the flipped image i.
    released: whether the original feature alone is normalised before the sum.

  Returns:
    `[n, dim]`, float64 where a float64 comes in and else float32, of unit length; a sum of zero
    stays zero.

  Raises:
    ValueError: shapes differ or are not `[n, dim]`, or a feature is not finite.
  """
  arrays = {'features': np.asarray(features), 'flipped_features': np.asarray(flipped_features)}
  for name, array in arrays.items():
    if array.ndim != 2 or 0 in array.shape:
      raise ValueError(f'{name}: found shape {array.shape}, must be [n, dim], neither of them 0')
    if array.shape != arrays['features'].shape:
      raise ValueError(
        f'{name}: found shape {array.shape}, must be {arrays["features"].shape}, that of features'
      )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
      raise ValueError(f'{name}: found NaN or infinite values in row {bad[0]}, must be finite')
  wide = any(array.dtype == np.float64 for array in arrays.values())
  original, flipped = (array.astype(np.float64) for array in arrays.values())
  if released:
    original = _unit(original)
  return _unit(original + flipped).astype(np.float64 if wide else np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
  norm = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(norm > 0, norm, 1)
