"""Checks of arguments, and the declaration of settings that are checked: an `ArgumentError` says in
fields which argument it is, what was found and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import os
import pathlib
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

# The label of an image whose class is not known, beside others whose class is.
UNLABELED = -1


class ArgumentError(ValueError):
  """An argument that is not allowed: `NAME: found FOUND, must be ALLOWED; nearest: LIKELY`.

  Attributes:
    name: the argument, as the function that refuses it calls it.
    found: the value, or what is wrong with it.
    allowed: what it must be.
    likely: valid words most like the one found.
  """

  def __init__(self, name: object, found: Any, allowed: object, likely: Iterable[str] = ()) -> None:
    self.name, self.found, self.allowed = str(name), found, str(allowed)
    self.likely = tuple(likely)
    super().__init__(name, found, allowed, self.likely)

  def __str__(self) -> str:
    return self.sentence(self.name)

  def sentence(self, name: str, origin: str = '') -> str:
    """The message under another name of the argument, with the place it was given at."""
    where = f' (from {origin})' if origin else ''
    hint = f'; nearest: {", ".join(self.likely)}' if self.likely else ''
    return f'{name}: found {self.found}, must be {self.allowed}{where}{hint}'


_LONGEST_SHOWN = 200
# What would end a line, or a name in a file system, or is no character at all.
_NO_TEXT = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
# What counters of the device, int32, and its numbers, float32, can hold.
_MOST_WHOLE = 2**31 - 1
_MOST_FLOAT = 3.4028234663852886e38


def shown(text: str) -> str:
  """A text as far as one line has room for it."""
  return text if len(text) <= _LONGEST_SHOWN else f'{text[: _LONGEST_SHOWN - 3]}...'


def expand_home(name: str, path: str) -> str:
  """A path, or KIND:PATH, with a leading `~` or `~USER` replaced by the home folder.

  A name that begins with ~, given as ./~NAME, becomes absolute: pathlib would drop the ./ of it.

  Raises:
    ArgumentError: there is no such home folder.
  """
  match = re.match(r'(?:[a-z_]+:)?(?=(?:\./+)*~)', path)
  if not match:
    return path
  kind, place = path[: match.end()], path[match.end() :]
  if place.startswith('.'):
    return f'{kind}{pathlib.Path(place).absolute()}'
  expanded = os.path.expanduser(place)  # noqa: PTH111 - pathlib would also drop //
  if expanded == place:
    allowed = 'a path; there is no such home folder (./~ is a name that begins with ~)'
    raise ArgumentError(name, repr(shown(path)), allowed)
  return f'{kind}{expanded}'


def nearest(word: str, valid: Iterable[str], count: int = 3) -> list[str]:
  """The valid words most like `word`, best first."""
  known = {name.lower(): name for name in valid}
  word = word[:_LONGEST_SHOWN]
  matches = difflib.get_close_matches(word.lower(), list(known), n=count, cutoff=0.5)
  return [known[match] for match in matches]


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
  """Requires one of the words `allowed`.

  Raises:
    ArgumentError: it is another.
  """
  allowed = tuple(allowed)
  if value not in allowed:
    likely = nearest(str(value), allowed)
    found = repr(shown(value) if isinstance(value, str) else value)
    raise ArgumentError(name, found, f'one of {", ".join(allowed)}', likely)


@dataclasses.dataclass(frozen=True)
class Bounds:
  """The finite numbers within bounds; `str` names them.

  Attributes:
    whole: whether only whole numbers are.
    at_least, above, at_most, below: the bounds, None for none.
    also: one number that is allowed outside of them.
  """

  whole: bool = False
  at_least: float | None = None
  above: float | None = None
  at_most: float | None = None
  below: float | None = None
  also: float | None = None

  def __contains__(self, value: Any) -> bool:
    try:
      if isinstance(value, str | bool):
        return False
      number = operator.index(value) if self.whole else float(value)
    except (TypeError, ValueError):
      return False
    if self.also is not None and number == self.also:
      return True
    return (
      (self.whole or math.isfinite(number))
      and (self.at_least is None or number >= self.at_least)
      and (self.above is None or number > self.above)
      and (self.at_most is None or number <= self.at_most)
      and (self.below is None or number < self.below)
    )

  def __str__(self) -> str:
    if self.at_least is not None and self.at_most is not None:
      bounds = [f'from {_digits(self.at_least)} to {_digits(self.at_most)}']
    else:
      limits = {'>=': self.at_least, '>': self.above, '<=': self.at_most, '<': self.below}
      bounds = [f'{sign} {_digits(limit)}' for sign, limit in limits.items() if limit is not None]
      if not self.whole and (self.at_most is None and self.below is None):
        bounds += ['finite'] if bounds else ['a finite number']
    text = ' and '.join(bounds)
    text = f'a whole number {text}'.strip() if self.whole else text
    return text if self.also is None else f'{text}, or {_digits(self.also)}'


def check_number(name: str, value: Any, **bounds: Any) -> float:
  """The finite number `value`, within `bounds`, those of `Bounds`.

  >>> check_number('temperature', 0, above=0)
  Traceback (most recent call last):
  ssl_jax.arguments.ArgumentError: temperature: found 0, must be > 0 and finite

  Raises:
    ArgumentError: it is another, or no number.
  """
  allowed = Bounds(**bounds)
  if value not in allowed:
    raise ArgumentError(name, repr(value) if isinstance(value, str) else value, str(allowed))
  return float(value)


def check_whole(name: str, value: Any, at_least: int = 1, **bounds: Any) -> int:
  """The whole number `value`, of at least `at_least`.

  Raises:
    ArgumentError: it is less, or no whole number.
  """
  check_number(name, value, whole=True, at_least=at_least, **bounds)
  return operator.index(value)


def check_seed(name: str, value: Any) -> int:
  """The seed `value` of a random key of JAX, which would drop all but its lowest 32 bits.

  Raises:
    ArgumentError: it is negative or greater, or no whole number.
  """
  return check_whole(name, value, 0, at_most=2**32 - 1)


def setting(
  default: Any,
  help: str,
  *,
  choices: Iterable[str] | None = None,
  affects_result: bool | Literal['first'] = True,
  path: bool = False,
  read_by: tuple[str, ...] | None = None,
  read_with: Mapping[str, tuple[str, ...]] | None = None,
  **bounds: float,
) -> Any:
  """Declares a field of a frozen dataclass that becomes a flag; `check_settings` checks it.

  Args:
    default: a bool, int, float, str or tuple of them; the value when no flag is given.
    help: one line for `--help`.
    choices: the allowed words of a str, or of each element of a tuple of them.
    affects_result: whether the setting affects the result of a run. One that does not may change
      on resume. 'first': of a tuple, only the first element does.
    path: whether it is a path, KIND:PATH, or a tuple of these, in which `~` is the home folder.
    read_by: what reads the setting, where that is not all that reads its section; see `Settings`.
    read_with: another setting of the section, and the values with which this one is read; () for
      all but the empty one and 0.
    **bounds: `at_least`, `above`, `at_most`, `below` and `also` of a number, or of each element of
      a tuple of numbers; see `Bounds`.
  """
  metadata = {
    'help': help,
    'affects_result': affects_result,
    'choices': None if choices is None else tuple(choices),
    'bounds': bounds,
    'path': path,
    'read_by': read_by,
    'read_with': read_with,
  }
  return dataclasses.field(default=default, metadata=metadata)


def redefault(kind: type, name: str, default: Any) -> Any:
  """The setting `name` of the dataclass `kind`, declared again with another default."""
  declared = {field.name: field for field in dataclasses.fields(kind)}
  return dataclasses.field(default=default, metadata=declared[name].metadata)


@functools.cache
def type_hints(kind: type) -> Mapping[str, Any]:
  """The types of a dataclass's fields, by name."""
  return typing.get_type_hints(kind)


@functools.cache
def _declared(kind: Any) -> tuple[tuple[str, type, bool, Bounds, tuple[str, ...] | None], ...]:
  declared = []
  for field in dataclasses.fields(kind):
    if 'bounds' in field.metadata:
      hint = type_hints(kind)[field.name]
      many = typing.get_origin(hint) is tuple
      element = typing.get_args(hint)[0] if many else hint
      bounds = Bounds(whole=element is int, **field.metadata['bounds'])
      declared.append((field.name, element, many, bounds, field.metadata['choices']))
  return tuple(declared)


def expand_paths(settings: Any) -> None:
  """Replaces `~` in the paths among the fields of a frozen dataclass.

  Raises:
    ArgumentError: naming the first field with a home folder that does not exist.
  """
  for field in dataclasses.fields(settings):
    if field.metadata.get('path'):
      value = getattr(settings, field.name)
      several = isinstance(value, tuple)
      expanded = tuple(
        expand_home(field.name, path) if isinstance(path, str) else path
        for path in (value if several else (value,))
      )
      object.__setattr__(settings, field.name, expanded if several else expanded[0])


def check_settings(settings: Any) -> None:
  """Checks every field that `setting` declares: its type, bounds and choices.

  Whole numbers must fit into 32 bits, as the device counts, numbers into a float32, and text must
  be one line of UTF-8.

  Raises:
    ArgumentError: naming the first field that is not as declared.
  """
  for name, element, many, bounds, choices in _declared(settings.__class__):
    value = getattr(settings, name)
    if many and not isinstance(value, tuple):
      raise ArgumentError(name, repr(value), f'a tuple of {_KINDS[element]}s')
    for each in value if many else (value,):
      if element in (int, float):
        if not isinstance(each, int | float) or each not in bounds:
          found = each if isinstance(each, int | float) else repr(each)
          raise ArgumentError(
            name, found, f'a list of numbers, each {bounds}' if many else str(bounds)
          )
        if bounds.at_most is None and abs(each) > (_MOST_WHOLE if bounds.whole else _MOST_FLOAT):
          most = f'{_MOST_WHOLE}' if bounds.whole else f'{_MOST_FLOAT:.2g}'
          raise ArgumentError(name, each, f'at most {most}')
      elif not isinstance(each, element):
        raise ArgumentError(name, repr(each), _KINDS[element])
      elif _NO_TEXT.search(text := str(each)):
        allowed = 'UTF-8 text without line breaks and control characters'
        raise ArgumentError(name, repr(shown(text)), allowed)
      if choices is not None:
        check_choice(name, each, choices)


_KINDS = {bool: 'true or false', str: 'text', int: 'whole number', float: 'number'}


def _digits(number: float) -> str:
  """Whole numbers in full, others as short as they are told apart."""
  return str(int(number)) if number == int(number) else f'{number:g}'
