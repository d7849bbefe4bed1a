"""How near to its golden value a result has to be."""

from typing import Any

import numpy as np


def assert_golden(
  found: Any, expected: Any, dtype: Any, digits: float = 1e-9, terms: float = 0.0
) -> None:
  """To `digits` in float64; in float32 to 2e-6 of the largest entry.

  Of the largest, because single entries of a gradient or of cosines are small where terms cancel.
  A number that is all that remains of `terms` of such a size is as exact as float32 holds those.
  """
  found = np.asarray(found)
  assert found.dtype == dtype, found.dtype
  single = 2e-6 * np.max(np.abs(expected)) + np.finfo(np.float32).eps * terms
  tolerance = digits if dtype == np.float64 else single
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
