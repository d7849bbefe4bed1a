"""A table of numbers for a terminal, a spreadsheet and a page."""

import csv
import html
import io
import math
import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssl_jax.training.atomic import atomic_write

ABSENT = '–'
_WIDTH = 100


class Probability(float):
  """A number from 0 to 1, of which a reader sees whether it is 1 or only nearly so."""


class Measured(NamedTuple):
  """A number with its standard error, which is infinite where it is unknown."""

  value: float
  error: float


class Table(NamedTuple):
  """A table of a report.

  Attributes:
    heading: unique in the report.
    caption: what the numbers are, in a sentence or two.
    columns: their names, that of the row names first.
    rows: a name and a cell for each further column: a number, a `Measured`, text, or None.
  """

  heading: str
  caption: str
  columns: Sequence[str]
  rows: Sequence[Sequence[Any]]


def as_text(table: Table) -> str:
  """The table for a terminal: heading, aligned columns, caption."""
  lines = [[str(name) for name in table.columns]]
  lines += [[cell(value) for value in row] for row in table.rows]
  widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
  shown = [
    '  '.join(
      [line[0].ljust(widths[0])]
      + [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
    ).rstrip()
    for line in lines
  ]
  return '\n'.join([table.heading, '', *shown, '', *textwrap.wrap(table.caption, _WIDTH)])


def write_csv(path: str | os.PathLike[str], table: Table) -> pathlib.Path:
  """Writes the numbers in full, in one piece; standard errors are rows of their own.

  Returns:
    The path.

  Raises:
    OSError: the file cannot be written.
  """
  path = pathlib.Path(path)
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(table.columns)
  for name, *cells in table.rows:
    plain = [value.value if isinstance(value, Measured) else value for value in cells]
    writer.writerow([name, *('' if value is None else value for value in plain)])
    if any(isinstance(value, Measured) for value in cells):
      errors = [value.error if isinstance(value, Measured) else '' for value in cells]
      writer.writerow([f'{name}, standard error', *errors])
  atomic_write(path, buffer.getvalue())
  return path


def as_html(table: Table) -> str:
  """The table for a page, all text escaped."""
  escape = lambda value: html.escape(str(value), quote=True)
  head = ''.join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
  body = ''.join(
    f'<tr><th scope="row">{escape(row[0])}</th>'
    + ''.join(f'<td class="number">{escape(cell(value))}</td>' for value in row[1:])
    + '</tr>'
    for row in table.rows
  )
  return (
    f'<h2>{escape(table.heading)}</h2><figcaption>{escape(table.caption)}</figcaption>'
    f'<div class="frame"><table><tr>{head}</tr>{body}</table></div>'
  )


def cell(value: Any) -> str:
  """A cell as a person reads it: about four digits."""
  if value is None:
    return ABSENT
  if isinstance(value, Measured):
    if not math.isfinite(value.error):
      return cell(value.value)
    return f'{cell(value.value)} ±{value.error:.1g}'
  if isinstance(value, Probability) and 0.99995 <= value < 1:
    return f'1-{1 - value:.0e}'
  if isinstance(value, float):
    if value == 0 or not math.isfinite(value):
      return {0.0: '0', math.inf: '∞', -math.inf: '-∞'}.get(value, 'nan')
    if 1e-3 <= abs(value) < 1e4:
      return f'{value:.4f}' if abs(value) < 100 else f'{value:,.1f}'
    return f'{value:.3e}'
  if isinstance(value, int):
    return f'{value:,}'
  return str(value)
