"""The help pages: an overview, and one page a section."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from ssl_jax.config.flags import Parser, Section, UsageError, nearest

_WIDTH = 100
_LEFT = 40


def help_text(parser: Parser, wanted: str, chosen: Mapping[str, str], program: str) -> str:
  """The help page: an overview for '', else one section's flags with defaults.

  Raises:
    UsageError: `wanted` is no section.
  """
  sections = parser.sections(chosen)
  names = [section.prefix for section in sections if section.prefix]
  if not wanted:
    lines = [f'usage: {program} --flagfile=RECIPE.flags [--flag=value ...]', '']
    lines += _flag_lines(sections[0])
    more = f'More: --help=SECTION, or --help=all. Sections: {", ".join(names)}.'
    lines += ['', *textwrap.wrap(more, _WIDTH)]
    return '\n'.join(lines)
  if wanted == 'all':
    return '\n\n'.join(help_text(parser, name, chosen, program) for name in ['', *names])
  for section in sections:
    if section.prefix == wanted:
      variant = f' ({chosen[wanted]}; others with --{wanted}.name=...)' if wanted in chosen else ''
      return '\n'.join([f'{wanted}{variant}', *_flag_lines(section)])
  likely = nearest(wanted, names)
  hint = f'; nearest: {", ".join(likely)}' if likely else ''
  raise UsageError(f'--help: found {wanted!r}, must be one of {", ".join(names)} or all{hint}')


def _flag_lines(section: Section) -> list[str]:
  rows = []
  for field in section.fields:
    default = field.default
    if isinstance(default, tuple):
      default = ','.join(map(str, default))
    text = field.metadata.get('help', '')
    if choices := field.metadata.get('choices'):
      text += f' [{", ".join(choices)}]'
    shown = str(default).lower() if isinstance(default, bool) else default
    rows.append((f'--{section.flag(field)}={shown}', text))
  width = min(max((len(left) for left, _ in rows), default=0), _LEFT) + 2
  lines = []
  for left, text in rows:
    # A flag too long for its column pushes its own text, not everybody's.
    column = max(width, len(left) + 1)
    first, *rest = textwrap.wrap(text, _WIDTH - 2 - column) or ['']
    lines.append(f'  {left:<{column}}{first}')
    lines += [' ' * (2 + column) + line for line in rest]
  return lines
