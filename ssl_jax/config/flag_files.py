"""Reads flag files and sweep files, and quotes values in them: what is written is read back the
same.

A flag file holds one `--flag=value` a line, `#` comments, and `--flagfile=OTHER` lines; later flags
override earlier ones. A value reaches to the end of its line, without the spaces there; one that
begins with a quote is quoted as in a shell. A flag file is looked for beside the file that
names it, in the working directory, then among the shipped recipes, and may be named without
`.flags`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterable

import ssl_jax
from ssl_jax.arguments import ArgumentError, expand_home, nearest, shown

# The file of a run's folder that holds its whole configuration; the program itself writes it.
STORED = 'config.flags'

_MOST_DEPTH = 32
_MOST_FILES = 1000
_LONGEST_NAME = 1000

_QUOTED = re.compile(r"""(?:'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_ELEMENT = re.compile(
  rf"""\s*(?:(?P<quoted>{_QUOTED.pattern})\s*|(?P<plain>(?!["'])[^,]*))(?:,|\Z)""", re.DOTALL
)
_COMMENT = re.compile(r'\s#')
_CONTROL = re.compile(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')


class UsageError(ValueError):
  """A flag or its value is not allowed; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Argument:
  """One command-line argument and its origin: '' for the command line, else 'FILE:LINE'.

  Attributes:
    text: the argument.
    origin: where it stands.
    stored: whether it comes from the stored configuration of a run, which has every flag.
  """

  text: str
  origin: str = ''
  stored: bool = False


# -- Quoting --------------------------------------------------------------------------------------


def quote(value: str) -> str:
  """A value as it stands in a flag file: as it is, or quoted as in a shell where it must be."""
  plain = value == value.strip() and value[:1] not in ('"', "'") and not _COMMENT.search(value)
  return value if plain else shlex.quote(value)


def unquote(text: str) -> str:
  """The value that stands as `text` in a flag file.

  Raises:
    ValueError: a quote is not closed, or something follows it.
  """
  if text[:1] not in ('"', "'"):
    return text
  if not _QUOTED.fullmatch(text):
    raise ValueError('a value that begins with a quote must end with it')
  return shlex.split(text)[0]


def join_list(elements: Iterable[object]) -> str:
  """Elements separated by commas, each quoted where it holds one or would be read otherwise."""
  return ','.join(_quote_element(str(element)) for element in elements)


def split_list(text: str) -> list[str]:
  """The elements of a list separated by commas; those that are empty are left out.

  One that begins with a quote is quoted as in a shell. Parentheses around the whole are ignored.

  Raises:
    ValueError: a quote is not closed, or something else than a comma follows it.
  """
  text = text.strip()
  if text.startswith('(') and text.endswith(')'):
    text = text[1:-1]
  elements: list[str] = []
  at = 0
  while at < len(text):
    match = _ELEMENT.match(text, at)
    if not match:
      raise ValueError('a quoted element must be closed, and followed by a comma')
    quoted, plain = match['quoted'], match['plain']
    if quoted is not None:
      elements.append(shlex.split(quoted)[0])
    elif plain:
      elements.append(plain.strip())
    at = match.end()
  return elements


def _quote_element(element: str) -> str:
  plain = element and element == element.strip() and not re.search(r"""^["'(]|,|\)$""", element)
  return element if plain else shlex.quote(element)


# -- Reading --------------------------------------------------------------------------------------


def expand(argv: Iterable[str | Argument]) -> list[Argument]:
  """Replaces every `--flagfile=PATH` by the arguments of that file, recursively.

  Raises:
    UsageError: a flag file is missing, unreadable or includes itself, or there are too many.
  """
  return _Expansion().expand(argv)


@dataclasses.dataclass
class _Expansion:
  """The arguments of nested flag files; counts them, since two that name one twice double."""

  files: int = 0

  def expand(
    self, argv: Iterable[str | Argument], opened: tuple[pathlib.Path, ...] = ()
  ) -> list[Argument]:
    arguments: list[Argument] = []
    pending = iter(argv)
    for word in pending:
      argument = Argument(word) if isinstance(word, str) else word
      name, equals, path = argument.text.partition('=')
      if name not in ('--flagfile', '-flagfile'):
        arguments.append(argument)
        continue
      if not equals:
        following = next(pending, '')
        path = following if isinstance(following, str) else following.text
      arguments += self._read(path, argument.origin, opened)
    return arguments

  def _read(self, path: str, origin: str, opened: tuple[pathlib.Path, ...]) -> list[Argument]:
    where = f' (from {origin})' if origin else ''
    try:
      path = expand_home('--flagfile', path)
    except ArgumentError as error:
      raise UsageError(error.sentence('--flagfile', origin)) from error
    beside = [file.parent for file in opened[-1:]]
    file = find_file(path, '.flags', recipes_folder(), beside)
    if file is None:
      likely = nearest_files(path, '.flags', recipes_folder())
      hint = f'; nearest: {", ".join(likely)}' if likely else ''
      raise UsageError(f'--flagfile: {shown(path) or "(empty)"} is not a file{where}{hint}')
    file = file.resolve()
    if file in opened:
      raise UsageError(f'--flagfile: {path} includes itself{where}')
    self.files += 1
    if len(opened) >= _MOST_DEPTH or self.files > _MOST_FILES:
      raise UsageError(
        f'--flagfile: {path} is one too many, must be at most {_MOST_DEPTH} files within each '
        f'other and {_MOST_FILES} in all{where}'
      )
    arguments: list[Argument] = []
    for number, line in enumerate(read_lines(file, '--flagfile'), start=1):
      argument = _argument(line, f'{_short(file)}:{number}', file.name == STORED)
      if argument is not None:
        arguments += self.expand([argument], (*opened, file))
    return arguments


def read_lines(file: pathlib.Path, name: str, most_bytes: int = 2**20) -> list[str]:
  """The lines of a small file of UTF-8 text, with or without a byte order mark.

  Args:
    file: to be read.
    name: of the argument that names it, for messages.
    most_bytes: that are read.

  Raises:
    UsageError: it cannot be read, has more bytes, is no text or holds control characters.
  """
  try:
    with file.open('rb') as opened:
      content = opened.read(most_bytes + 1)
  except OSError as error:
    raise UsageError(f'{name}: {file} cannot be read: {error.strerror or error}') from error
  if len(content) > most_bytes:
    raise UsageError(f'{name}: {file} has more than {most_bytes:,} bytes, must be a short text')
  try:
    text = content.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UsageError(f'{name}: {file} is binary, must be UTF-8 text ({error.reason})') from error
  lines = re.split('\r\n|\r|\n', text)
  for number, line in enumerate(lines, start=1):
    if found := _CONTROL.search(line):
      raise UsageError(
        f'{name}: {file}:{number}: found the control character {found[0]!r}, must be text'
      )
  return lines


def _argument(line: str, origin: str, stored: bool) -> Argument | None:
  """The flag of a line; None for a comment and an empty line."""
  text = line.strip()
  if not text or text.startswith(('#', '//')):
    return None
  name, equals, value = text.partition('=')
  # Before version 0.2, a configuration was stored without quotes.
  literal = value[:1] not in ('"', "'")
  if not text.startswith('-') or (not equals and ' ' in text):
    problem = 'must be --flag=value, or a # comment on a line of its own'
  elif literal and not stored and _COMMENT.search(value):
    problem = 'must be --flag=value, or a # comment on a line of its own; a value with # is quoted'
  else:
    try:
      value = unquote(value)
    except ValueError as error:
      if not stored:
        raise UsageError(f'{origin}: found {shown(text)!r}: {error}') from error
    return Argument(f'{name}{equals}{value}', origin, stored)
  raise UsageError(f'{origin}: found {shown(text)!r}, {problem}')


# -- Finding --------------------------------------------------------------------------------------


def recipes_folder(kind: str = 'flags') -> pathlib.Path:
  """The folder of the shipped recipes ('flags') or of the shipped sweep files ('sweeps').

  An installed package holds both itself; in a checkout they stand in `experiments/`.
  """
  package = pathlib.Path(ssl_jax.__file__).resolve().parent
  installed = package / 'recipes'
  if installed.is_dir():
    return installed if kind == 'flags' else installed / kind
  return package.parent / 'experiments' / kind


def find_file(
  path: str, suffix: str, shipped: pathlib.Path, beside: Iterable[pathlib.Path] = ()
) -> pathlib.Path | None:
  """The regular file that `path`, with or without its suffix, names: the first found, or None.

  Args:
    path: as the user wrote it.
    suffix: that may be left out, such as '.flags'.
    shipped: the folder to look in last, after the working directory.
    beside: folders to look in first.
  """
  for folder in (*beside, pathlib.Path(), shipped):
    for name in (path, f'{path}{suffix}') if path else ():
      if is_file(folder / name):
        return folder / name
  return None


def nearest_files(path: str, suffix: str, shipped: pathlib.Path) -> list[str]:
  """The names of flag files most similar to `path`, which is none."""
  if len(path) > _LONGEST_NAME or '\0' in path:
    return []
  file = pathlib.Path(path)
  try:
    folder = file if file.is_dir() else file.parent
    local = sorted(str(other) for other in folder.glob(f'*{suffix}')) if folder.is_dir() else []
    if path and file.is_dir() and local:
      return local[:5]
  except OSError:
    local = []
  names = [other.relative_to(shipped).with_suffix('') for other in shipped.rglob(f'*{suffix}')]
  return nearest(path, [*local, *sorted(name.as_posix() for name in names)])


def is_file(path: pathlib.Path) -> bool:
  """Whether there is a regular file, False for what cannot be a path."""
  try:
    return path.is_file()
  except (OSError, ValueError):  # a name that is too long, or no name
    return False


def _short(path: pathlib.Path) -> str:
  for folder in (pathlib.Path.cwd(), recipes_folder().resolve()):
    if path.is_relative_to(folder):
      return str(path.relative_to(folder))
  return str(path)
