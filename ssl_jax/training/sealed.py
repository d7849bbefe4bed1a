"""JSON files that carry the SHA-256 of their own content, so that any change to them is noticed."""

import hashlib
import json
import os
from typing import Any

from ssl_jax.training.atomic import atomic_write, read_small

SEAL = 'sha256'


class CorruptFileError(ValueError):
  """A file is not, byte for byte, as it was written; the message says what is wrong with it."""


def write(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
  """Replaces the file by the JSON object `content` and its digest, atomically.

  Raises:
    OSError: the file cannot be written.
  """
  sealed = {**content, SEAL: _digest(content)}
  atomic_write(path, json.dumps(sealed, indent=1, allow_nan=False) + '\n')


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bool]:
  """The object in a file, and whether it carried its digest.

  Versions up to 0.1 wrote none, so the caller decides whether there must be one.

  Raises:
    CorruptFileError: no JSON object, or another one than was written.
    OSError: the file is missing or cannot be read.
  """
  try:
    content = json.loads(read_small(path))
  except (json.JSONDecodeError, UnicodeError, RecursionError) as error:
    raise CorruptFileError(f'unreadable ({type(error).__name__})') from error
  except ValueError as error:
    raise CorruptFileError(f'unreadable ({error})') from error
  if not isinstance(content, dict):
    raise CorruptFileError('malformed (it is no object)')
  found = content.pop(SEAL, None)
  if found is not None and found != _digest(content):
    raise CorruptFileError('altered (its SHA-256 differs)')
  return content, found is not None


def _digest(content: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
