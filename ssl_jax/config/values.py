"""Values of flags: from text, strictly, and to text that is read back the same."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from absl import flags

from ssl_jax.config.flag_files import join_list, split_list


def _whole(text: str) -> int:
  # Not int(): it takes 1_000 and digits of other scripts, and fails beyond 4,300 digits.
  if not re.fullmatch(r'[+-]?[0-9]{1,25}', text.strip()):
    raise ValueError('not a whole number')
  return int(text)


def _finite(text: str) -> float:
  number = r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?'
  if len(text) > 1000 or not re.fullmatch(number, text.strip()) or not math.isfinite(float(text)):
    raise ValueError('not a finite number')
  return float(text)


_ELEMENTS: dict[type, Callable[[str], Any]] = {int: _whole, float: _finite, str: str}
_PLURALS = {int: 'whole numbers', float: 'finite numbers', str: 'words'}


class Number(flags.ArgumentParser):
  """A whole or a finite number, in decimal digits."""

  def __init__(self, kind: type) -> None:
    self._kind = kind

  def parse(self, argument: Any) -> Any:
    return _ELEMENTS[self._kind](argument) if isinstance(argument, str) else argument

  def flag_type(self) -> str:
    return self._kind.__name__


class Tuple(flags.ArgumentParser):
  """Comma-separated numbers or words."""

  def __init__(self, element: type) -> None:
    self._element = element
    self.syntactic_help = f'comma-separated {_PLURALS[element]}'

  def parse(self, argument: Any) -> tuple:
    if isinstance(argument, (tuple, list)):
      return tuple(argument)
    return tuple(map(_ELEMENTS[self._element], split_list(argument)))

  def flag_type(self) -> str:
    return self.syntactic_help


def text_of(value: Any) -> str:
  """The value of a setting as it is given."""
  if isinstance(value, tuple):
    return join_list(value)
  return str(value).lower() if isinstance(value, bool) else str(value)
