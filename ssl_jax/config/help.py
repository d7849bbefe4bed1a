"""What `--help` and `--show` print, and how messages name the command that was started."""

from __future__ import annotations

import pathlib
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ssl_jax
from ssl_jax.arguments import nearest
from ssl_jax.config.flag_files import UsageError, join_list, quote
from ssl_jax.config.flags import Parser, Section

HELP_FLAGS = ('help', 'h', 'helpfull', 'helpshort')
_WIDTH = 100
_LEFT = 40


def program_scripts() -> tuple[pathlib.Path, ...]:
  """The scripts of a checkout that start the program: `experiments/run.py` and `sweep.py`."""
  folder = pathlib.Path(ssl_jax.__file__).resolve().parent.parent / 'experiments'
  return folder / 'run.py', folder / 'sweep.py'


def program_name(subcommand: str = '') -> str:
  """The program as it was started, for usage lines and for commands to copy.

  `ssl-jax`, `python -m ssl_jax`, or `python experiments/run.py`, with the interpreter as it was
  typed. `ssl-jax` also where another program calls the library.

  Args:
    subcommand: what follows; `experiments/sweep.py` stands for its own.
  """
  script = pathlib.Path(sys.argv[0])
  words = ['ssl-jax']
  if script.name == 'ssl-jax' and shutil.which('ssl-jax') != str(script):
    words = [str(script)]  # not on PATH
  elif script.name == '__main__.py' and script.parent.name == 'ssl_jax':
    words = [sys.orig_argv[0], '-m', 'ssl_jax']
  elif script.resolve() in program_scripts():
    words = [sys.orig_argv[0], str(script)]
  if subcommand and script.stem != subcommand:
    words.append(subcommand)
  return shlex.join(words)


def started_as() -> str:
  """The whole command that started this process, to be copied into a shell."""
  if pathlib.Path(sys.argv[0]).name == 'ssl-jax':  # behind it stands an interpreter
    return shlex.join([*shlex.split(program_name()), *sys.argv[1:]])
  return shlex.join(sys.orig_argv)


def help_text(parser: Parser, wanted: str, chosen: Mapping[str, str], program: str) -> str:
  """The help page: an overview for '', else one section's flags with defaults.

  Raises:
    UsageError: `wanted` is no section.
  """
  sections = parser.sections(chosen)
  names = [section.prefix for section in sections if section.prefix]
  if not wanted:
    lines = [f'usage: {program} --flagfile=RECIPE.flags [--flag=value ...]']
    lines += [f'       {program} sweep FILE [--flag=value ...]', '']
    lines += flag_lines(sections[0])
    more = f'More: --help=SECTION, or --help=all. Sections: {", ".join(names)}.'
    show = (
      '--show prints every flag as set, with the file and line that set it; --show=SECTION some.'
    )
    lines += ['', *textwrap.wrap(more, _WIDTH), *textwrap.wrap(show, _WIDTH)]
    return '\n'.join(lines)
  if wanted == 'all':
    return '\n\n'.join(help_text(parser, name, chosen, program) for name in ['', *names])
  for section in sections:
    if section.prefix == wanted:
      variant = f' ({chosen[wanted]}; others with --{wanted}.name=...)' if wanted in chosen else ''
      return '\n'.join([f'{wanted}{variant}', *flag_lines(section)])
  raise _no_section('help', wanted, [*names, 'all'])


def show_text(parser: Parser, wanted: str, config: Any, origins: Mapping[str, str]) -> str:
  """The flags of `config`, those that were set first, each with where it was set.

  Args:
    parser: of the configuration.
    wanted: '' for all flags, else the section whose flags are shown.
    config: the configuration.
    origins: by flag, 'command line' or 'FILE:LINE'; a flag that is missing has its default.

  Raises:
    UsageError: `wanted` is no section.
  """
  values = parser.render(config)
  sections = dict.fromkeys(name.partition('.')[0] for name in values if '.' in name)
  if wanted and wanted not in sections:
    raise _no_section('show', wanted, sections)
  chosen = [name for name in values if not wanted or name.startswith(f'{wanted}.')]
  rows = [
    (f'--{name}={quote(values[name])}', origins.get(name, 'default'))
    for name in sorted(chosen, key=lambda name: name not in origins)
  ]
  width = min(max(len(left) for left, _ in rows), _WIDTH // 2) + 2
  return '\n'.join(f'{left:<{max(width, len(left) + 1)}}{right}' for left, right in rows)


def _no_section(flag: str, found: str, allowed: Iterable[str]) -> UsageError:
  allowed = list(allowed)
  likely = nearest(found, allowed)
  hint = f'; nearest: {", ".join(likely)}' if likely else ''
  return UsageError(f'--{flag}: found {found!r}, must be one of {", ".join(allowed)}{hint}')


def take(argv: Sequence[str], names: Iterable[str]) -> tuple[str | None, list[str]]:
  """Takes `--NAME`, `--NAME=SECTION` or `--NAME SECTION` out of the arguments.

  Returns:
    The section, '' without one, None where no such flag is given; and the other arguments.
  """
  for index, argument in enumerate(argv):
    name, equals, section = argument.lstrip('-').partition('=')
    if argument.startswith('-') and name in names:
      rest = [*argv[index + 1 :]]
      if not equals and rest and not rest[0].startswith('-'):
        section = rest.pop(0)
      return 'all' if name == 'helpfull' else section, [*argv[:index], *rest]
  return None, [*argv]


def flag_lines(section: Section) -> list[str]:
  """The flags of a section with default, help and choices, for a terminal."""
  rows = []
  for field in section.fields:
    default = field.default
    if isinstance(default, tuple):
      default = join_list(default)
    text = field.metadata.get('help', '')
    if choices := field.metadata.get('choices'):
      text += f' [{", ".join(choices)}]'
    shown = str(default).lower() if isinstance(default, bool) else default
    rows.append((f'--{section.flag(field)}={shown}', text))
  return columns(rows)


def columns(rows: Iterable[tuple[str, str]]) -> list[str]:
  """Lines of two columns, the second one wrapped."""
  rows = list(rows)
  width = min(max((len(left) for left, _ in rows), default=0), _LEFT) + 2
  lines = []
  for left, text in rows:
    # A flag too long for its column pushes its own text, not everybody's.
    column = max(width, len(left) + 1)
    first, *rest = textwrap.wrap(text, _WIDTH - 2 - column) or ['']
    lines.append(f'  {left:<{column}}{first}')
    lines += [' ' * (2 + column) + line for line in rest]
  return lines
