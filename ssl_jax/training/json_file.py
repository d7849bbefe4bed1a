"""JSON files: written as the standard allows, where NaN and infinity do not exist, and read."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from ssl_jax.training.atomic import atomic_write, read_small


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
  """Replaces the file by `content` in UTF-8, text in any script as it is; see `plain`.

  Raises:
    OSError: the file cannot be written; it is then as it was before.
  """
  text = json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False)
  # A folder's name need not be UTF-8.
  atomic_write(path, text.encode(errors='replace') + b'\n')


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
  """The object in a JSON file; empty where there is no such file, or it is damaged.

  NaN and infinity, which files of version 0.1 may hold, become None.
  """
  try:
    content = json.loads(read_small(path), parse_constant=lambda _: None)
  except (OSError, ValueError, RecursionError):
    return {}
  return content if isinstance(content, dict) else {}


def plain(value: Any) -> Any:
  """NumPy arrays and scalars as lists and numbers; numbers that are not finite as None.

  >>> plain({'a': (1.5, float('nan'))})
  {'a': [1.5, None]}
  """
  if isinstance(value, Mapping):
    return {str(key): plain(one) for key, one in value.items()}
  if isinstance(value, list | tuple):
    return [plain(one) for one in value]
  if hasattr(value, 'tolist'):
    return plain(value.tolist())
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else None
  return value
