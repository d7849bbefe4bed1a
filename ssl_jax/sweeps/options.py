"""The settings of a sweep, and its help page."""

from __future__ import annotations

import dataclasses

from ssl_jax.arguments import ArgumentError, setting
from ssl_jax.config.flags import Parser, Settings
from ssl_jax.config.help import flag_lines, program_name
from ssl_jax.sweeps.columns import COLUMNS, DEFAULT_COLUMNS


@dataclasses.dataclass(frozen=True)
class Options(Settings):
  """Which sweep is run, how, and what its table shows."""

  file: str = setting('', 'sweep file, also given as a word without dashes', path=True)
  seeds: tuple[int, ...] = setting(
    (0, 1, 2), 'seeds; every variant is run with each', at_least=0, at_most=2**31 - 1
  )
  out: str = setting(
    '', 'folder of the runs and the table; empty takes runs/sweeps/FILE', path=True
  )
  only: tuple[str, ...] = setting((), 'run and show these variants alone')
  jobs: int = setting(1, 'runs at once, which share the cores and the memory', at_least=1)
  columns: tuple[str, ...] = setting(DEFAULT_COLUMNS, 'columns of the table', choices=COLUMNS)
  dry_run: bool = setting(False, 'print the commands that are left to run, and run none')
  table_only: bool = setting(False, 'make the table of what has finished, and run nothing')

  def __post_init__(self) -> None:
    super().__post_init__()
    if not self.file:
      raise ArgumentError('file', 'none', 'a sweep file')
    for name in ('seeds', 'columns'):
      if not getattr(self, name):
        raise ArgumentError(name, 'none', 'at least one')
    for name in ('seeds', 'only', 'columns'):
      values = getattr(self, name)
      for value in values:
        if values.count(value) > 1:
          raise ArgumentError(name, f'{value} twice', 'different ones')


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
