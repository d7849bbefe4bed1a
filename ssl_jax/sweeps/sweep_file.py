"""Sweep files: flags common to all runs, and one variant a line, which indented lines continue."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Sequence

from ssl_jax.arguments import shown
from ssl_jax.config.flag_files import (
  Argument,
  UsageError,
  find_file,
  nearest_files,
  read_lines,
  recipes_folder,
)

_VARIANT = re.compile(r'(?P<name>[^\s:=]+):(?:\s+(?P<flags>.*))?')
# A name becomes the name of a folder and a log file, on any file system.
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9+_.-]*')
_FORMS = '--flag=value ..., NAME: --flag=value ..., or a # comment on a line of its own'
# A sweep chooses these itself.
_CHOSEN = {'seed': 'the seeds are given by --seeds', 'run_dir': 'the folder is given by --out'}


@dataclasses.dataclass(frozen=True)
class Variant:
  """A variant of a sweep file: a name, its flags, and where it starts (`FILE:LINE`)."""

  name: str
  flags: tuple[Argument, ...]
  origin: str


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A sweep file: flags common to all runs, and variants in the file's order."""

  path: pathlib.Path
  common: tuple[Argument, ...]
  variants: tuple[Variant, ...]


def read(path: pathlib.Path) -> Sweep:
  """Reads a sweep file, of the working directory or a shipped one, with or without `.sweep`.

  Raises:
    UsageError: the file is missing, cannot be read or is no text, a line is neither flags nor a
      variant, a name is taken or cannot name a folder, or no variant is left; the message says
      `FILE:LINE`.
  """
  shipped = recipes_folder('sweeps')
  found = find_file(str(path), '.sweep', shipped)
  if found is None:
    likely = nearest_files(str(path), '.sweep', shipped)
    hint = f'; nearest: {", ".join(likely)}' if likely else ''
    raise UsageError(f'FILE: found {shown(str(path))}, must be a sweep file{hint}')
  path = found
  lines = read_lines(path, 'FILE')
  common: list[Argument] = []
  variants: dict[str, Variant] = {}
  for number, line in enumerate(lines, start=1):
    text, origin = line.strip(), f'{path}:{number}'
    if not text or text.startswith('#'):
      continue
    if text.startswith('--'):
      more = arguments(_words(text, origin), origin)
      if line[0].isspace() and variants:
        name, variant = variants.popitem()
        variants[name] = dataclasses.replace(variant, flags=(*variant.flags, *more))
      else:
        common += more
      continue
    variant = _variant(text, origin)
    # Some file systems take 'A' and 'a' for one name.
    earlier = variants.setdefault(variant.name.lower(), variant)
    if earlier is not variant:
      raise UsageError(
        f'{origin}: found {variant.name}, must be a name of its own; {earlier.origin} has '
        f'{earlier.name}'
      )
  if not variants:
    raise UsageError(f'{path}: found no variant, must hold at least one line NAME: --flag=value')
  return Sweep(path, tuple(common), tuple(variants.values()))


def arguments(words: Sequence[str], origin: str) -> tuple[Argument, ...]:
  """Flags of runs with their origin; those that a sweep chooses itself are refused."""
  for word in words:
    if not word.startswith('-'):
      continue  # the value of the flag before it, or for the configuration to refuse
    if reason := _CHOSEN.get(word.lstrip('-').partition('=')[0]):
      raise UsageError(f'{origin}: found {word}, must be left out; {reason}')
  return tuple(Argument(word, origin) for word in words)


def _variant(text: str, origin: str) -> Variant:
  match = _VARIANT.fullmatch(text)
  if not match:
    raise UsageError(f'{origin}: found {shown(text)!r}, must be {_FORMS}')
  name = match['name']
  if not _NAME.fullmatch(name):
    raise UsageError(
      f'{origin}: found the name {shown(name)!r}, must be letters, digits and + - _ . after a '
      'letter or digit'
    )
  words = _words(match['flags'] or '', origin)
  if words and not words[0].startswith('-'):
    raise UsageError(f'{origin}: found {words[0]!r} after the name, must be --flag=value ...')
  return Variant(name, arguments(words, origin), origin)


def _words(text: str, origin: str) -> list[str]:
  try:
    words = shlex.split(text)
  except ValueError as error:
    raise UsageError(f'{origin}: found {shown(text)!r}, must be {_FORMS} ({error})') from error
  if '#' in {word[:1] for word in words}:
    raise UsageError(f'{origin}: found {shown(text)!r}, must be {_FORMS}')
  return words
