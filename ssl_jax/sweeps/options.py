"""The settings of a sweep, and its help page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ssl_jax.config.flags import Parser, UsageError, nearest, setting
from ssl_jax.config.help import flag_lines, program_name
from ssl_jax.sweeps.columns import COLUMNS, DEFAULT_COLUMNS


@dataclasses.dataclass(frozen=True)
class Options:
  """Which sweep is run, how, and what its table shows."""

  file: str = setting('', 'sweep file, also given as a word without dashes')
  seeds: tuple[int, ...] = setting((0, 1, 2), 'every variant is run with each')
  out: str = setting('', 'folder of the runs and the table; empty takes runs/sweeps/FILE')
  only: tuple[str, ...] = setting((), 'run and show these variants alone')
  jobs: int = setting(1, 'runs at once, which share the cores and the memory')
  columns: tuple[str, ...] = setting(DEFAULT_COLUMNS, f'any of {", ".join(COLUMNS)}')
  dry_run: bool = setting(False, 'print the commands that are left to run, and run none')
  table_only: bool = setting(False, 'make the table of what has finished, and run nothing')

  def __post_init__(self) -> None:
    _require('file', 'none', 'a sweep file', bool(self.file))
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


PARSER = Parser(Options, word='file')


def help_page() -> str:
  """How a sweep is started and how its file is written, for a terminal."""
  usage = f'usage: {program_name("sweep")} FILE [--flag=value ...] [-- flags for every run]'
  return '\n'.join([usage, '', *flag_lines(PARSER.sections({})[0]), '', *_FILE_HELP])


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
