"""What may stand on the command line of a sweep, and its help page."""

from __future__ import annotations

import dataclasses
import pathlib
import textwrap
from collections.abc import Iterable, Sequence

from ssl_jax.config.flags import Parser, UsageError, nearest, setting
from ssl_jax.config.help import program_name
from ssl_jax.sweeps.columns import COLUMNS, DEFAULT_COLUMNS

_WIDTH = 100
_SWITCHES = ('dry_run', 'table_only')
_HELP = ('--help', '-h', '-help', '--helpfull', '--helpshort')


@dataclasses.dataclass(frozen=True)
class Options:
  """How a sweep is run and what its table shows."""

  seeds: tuple[int, ...] = setting((0, 1, 2), 'every variant is run with each')
  out: str = setting('', 'folder of the runs and the table; empty takes runs/sweeps/FILE')
  only: tuple[str, ...] = setting((), 'run and show these variants alone')
  jobs: int = setting(1, 'runs at once, which share the cores and the memory')
  columns: tuple[str, ...] = setting(DEFAULT_COLUMNS, f'any of {", ".join(COLUMNS)}')
  dry_run: bool = setting(False, 'print the commands that are left to run, and run none')
  table_only: bool = setting(False, 'make the table of what has finished, and run nothing')

  def __post_init__(self) -> None:
    _require('seeds', self.seeds, 'at least one number', bool(self.seeds))
    for seed in self.seeds:
      _require('seeds', seed, 'between 0 and 2**31 - 1', 0 <= seed < 2**31)
    for name in ('seeds', 'only', 'columns'):
      values = getattr(self, name)
      twice = next((value for value in values if values.count(value) > 1), None)
      _require(name, f'{twice} twice', 'different ones', twice is None)
    _require('jobs', self.jobs, 'at least 1', self.jobs >= 1)
    _require('columns', 'none', f'some of {", ".join(COLUMNS)}', bool(self.columns))
    for name in self.columns:
      one_of('columns', name, COLUMNS)


@dataclasses.dataclass(frozen=True)
class Request:
  """A command line, understood.

  Attributes:
    file: the sweep file.
    options: the settings of the sweep.
    extra: flags for every run: what followed `--`.
  """

  file: pathlib.Path
  options: Options
  extra: tuple[str, ...]


def parse(argv: Sequence[str]) -> Request | None:
  """Understands the command line without the program's name; None is a wish for help.

  Raises:
    UsageError: one line naming the flag, what was found and what is allowed.
  """
  words = list(argv)
  cut = words.index('--') if '--' in words else len(words)
  own, extra = words[:cut], tuple(words[cut + 1 :])
  if any(word.partition('=')[0] in _HELP for word in own):
    return None
  files: list[str] = []
  flags: list[str] = []
  takes_value = False
  for word in own:
    is_flag = word.startswith('-')
    (flags if is_flag or takes_value else files).append(word)
    takes_value = is_flag and '=' not in word and word.lstrip('-') not in _SWITCHES
  if len(files) != 1:
    found = ' '.join(files) or 'none'
    raise UsageError(
      f'FILE: found {found}, must be one sweep file; {program_name("sweep")} --help explains'
    )
  return Request(pathlib.Path(files[0]), Parser(Options).parse(flags), extra)


def help_page() -> str:
  """How a sweep is started and how its file is written, for a terminal."""
  lines = [f'usage: {program_name("sweep")} FILE [--flag=value ...] [-- flags for every run]', '']
  for field in dataclasses.fields(Options):
    default = field.default
    if isinstance(default, tuple):
      default = ','.join(map(str, default))
    shown = str(default).lower() if isinstance(default, bool) else default
    lines.append(f'  --{field.name}={shown}')
    indent = ' ' * 6
    lines += textwrap.wrap(
      field.metadata['help'], _WIDTH, initial_indent=indent, subsequent_indent=indent
    )
  return '\n'.join([*lines, '', *_FILE_HELP])


_FILE_HELP = (
  'FILE holds one variant a line, which indented lines continue, and flags common to all:',
  '',
  '  # a comment',
  '  --flagfile=photographs/simclr',
  '  warm: --method.temperature=0.5',
  '  cold: --method.temperature=0.1 --epochs=8',
  '',
  'Later flags win: common, variant, then those after --. A run lies in OUT/NAME-seedS, its output',
  'in OUT/NAME-seedS.log. The same command again skips what has finished and goes on with the',
  'rest.',
)


def one_of(flag: str, found: str, allowed: Iterable[str]) -> None:
  """Raises a UsageError that names the nearest ones, unless `found` is allowed."""
  allowed = tuple(allowed)
  if found not in allowed:
    likely = ', '.join(nearest(found, allowed))
    hint = f'; nearest: {likely}' if likely else ''
    raise UsageError(f'--{flag}: found {found}, must be one of {", ".join(allowed)}{hint}')


def _require(name: str, found: object, allowed: str, ok: bool) -> None:
  if not ok:
    shown = ','.join(map(str, found)) or 'none' if isinstance(found, tuple) else found
    raise UsageError(f'--{name}: found {shown}, must be {allowed}')
