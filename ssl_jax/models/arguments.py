"""Checks of what callers pass to a network: one-line ValueErrors."""

import difflib
from collections.abc import Collection
from typing import Any

DTYPES = ('float32', 'bfloat16', 'float64')


def check_choice(argument: str, value: Any, allowed: Collection[str]) -> None:
  """Requires one of `allowed`.

  Raises:
    ValueError: naming the argument, its value, the nearest valid names and all of them.
  """
  if value in allowed:
    return
  nearest = difflib.get_close_matches(str(value), allowed, n=3, cutoff=0.5)
  hint = f'nearest: {", ".join(nearest)}; ' if nearest else ''
  raise ValueError(f'{argument}: found {value!r}; {hint}allowed: {", ".join(allowed)}')


def check_positive(argument: str, value: Any) -> None:
  """Requires an integer of at least 1.

  Raises:
    ValueError: naming the argument and its value.
  """
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(f'{argument}: found {value!r}, must be an integer of at least 1')
