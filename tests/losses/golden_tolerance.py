"""How near to its golden value a result has to be."""

from typing import Any

import numpy as np


def assert_golden(found: Any, expected: Any, dtype: Any, digits: float = 1e-9) -> None:
  """To `digits` in float64; in float32 to 2e-6 of the largest entry.

  Of the largest, because single entries of a gradient or of cosines are small where terms cancel.
  """
  found = np.asarray(found)
  assert found.dtype == dtype, found.dtype
  tolerance = digits if dtype == np.float64 else 2e-6 * np.max(np.abs(expected))
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
