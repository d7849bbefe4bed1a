"""Tables of numbers as aligned text, CSV and HTML."""

import csv
import io
import math
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.page import text

ABSENT = '–'
_WIDTH = 100
# Part of Persian and Indic spelling, and of emoji.
_JOINERS = '\u200c\u200d'
# Vowels and finals of a syllable whose first letter is as wide as all of it.
_HANGUL_ENDS = frozenset(map(chr, range(0x1160, 0x1200)))


class Probability(float):
  """A number from 0 to 1; one that rounds to 1 is written as 1 minus the difference."""


class Percent(float):
  """A number in percent, written with two decimals."""


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
    best: for each row 'max', 'min' or None: which of its numbers, if they differ, a page sets in
      bold. Empty marks none.
    strong: for each row, whether a page sets all of it in bold. Empty is False for all.
    notes: lines below the table, such as why a cell is empty.
  """

  heading: str
  caption: str
  columns: Sequence[str]
  rows: Sequence[Sequence[Any]]
  best: Sequence[str | None] = ()
  strong: Sequence[bool] = ()
  notes: Sequence[str] = ()


def as_text(table: Table) -> str:
  """The table for a terminal: heading, aligned columns, caption."""
  lines = [[printable(name) for name in table.columns]]
  lines += [[printable(cell(value)) for value in row] for row in table.rows]
  widths = [max(columns_of(line[at]) for line in lines) for at in range(len(table.columns))]
  shown = [
    '  '.join(
      [line[0] + padding(line[0], widths[0])]
      + [padding(words, width) + words for words, width in zip(line[1:], widths[1:], strict=True)]
    ).rstrip()
    for line in lines
  ]
  below = [
    line
    for words in (table.caption, *table.notes)
    for line in textwrap.wrap(printable(words), _WIDTH)
  ]
  return '\n'.join([printable(table.heading), '', *shown, '', *below])


def as_markdown(lines: Sequence[Sequence[str]]) -> str:
  """A table in Markdown, columns aligned, of lines of cells, the names of the columns first."""
  shown = [[printable(words).replace('|', r'\|') for words in line] for line in lines]
  widths = [max(columns_of(line[at]) for line in shown) for at in range(len(shown[0]))]
  body = [
    f'| {" | ".join(w + padding(w, width) for w, width in zip(line, widths, strict=True))} |'
    for line in shown
  ]
  rule = f'|{"|".join("-" * (width + 2) for width in widths)}|'
  return '\n'.join([body[0], rule, *body[1:]])


def printable(words: Any) -> str:
  """Text in any script; characters that control a terminal become escapes such as `\\x1b`."""
  shown = lambda c: c.isprintable() or c in _JOINERS or unicodedata.category(c) == 'Zs'
  return ''.join(c if shown(c) else c.encode('unicode_escape').decode() for c in str(words))


def columns_of(words: str) -> int:
  """How many columns of a terminal printable text takes: 2 of a wide letter, none of an accent that
  is a character of its own."""
  # An emoji behind a joiner is drawn into the one before it.
  pairs = zip(f' {words}', words, strict=False)
  return sum(_columns(c) for before, c in pairs if before != _JOINERS[1] or _columns(c) < 2)


def padding(words: str, width: int) -> str:
  """The spaces that fill a cell up to a number of columns."""
  return ' ' * (width - columns_of(words))


def _columns(character: str) -> int:
  if unicodedata.category(character) in ('Mn', 'Mc', 'Me', 'Cf') or character in _HANGUL_ENDS:
    return 0
  return 2 if unicodedata.east_asian_width(character) in 'WF' else 1


def as_csv(table: Table) -> str:
  """The table as CSV with the numbers in full; standard errors are rows of their own."""
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(table.columns)
  for name, *cells in table.rows:
    plain = [value.value if isinstance(value, Measured) else value for value in cells]
    writer.writerow([name, *('' if value is None else value for value in plain)])
    if any(isinstance(value, Measured) for value in cells):
      errors = [value.error if isinstance(value, Measured) else '' for value in cells]
      writer.writerow([f'{name}, standard error', *errors])
  return buffer.getvalue()


def as_html(table: Table) -> str:
  """The table for a page, all text escaped; a column of words alone may wrap.

  Raises:
    ValueError: a row has another length than `columns`, `best` or `strong` another than `rows`, or
      `best` another word.
  """
  for row in table.rows:
    if len(row) != len(table.columns):
      raise ArgumentError('rows', f'{len(row)} cells in {row}', len(table.columns))
  kinds = [
    'words' if all(isinstance(row[at], str | None) for row in table.rows) else 'number'
    for at in range(1, len(table.columns))
  ]
  head = ''.join(
    f'<th scope="col"{f" class={kind}" if kind else ""}>{text(name)}</th>'
    for name, kind in zip(table.columns, ('', *kinds), strict=True)
  )
  strong = table.strong or [False] * len(table.rows)
  if len(strong) != len(table.rows):
    raise ArgumentError('strong', f'{len(strong)} rows', len(table.rows))
  body = ''.join(
    f'<tr{" class=strong" if bold else ""}><th scope="row">{text(row[0])}</th>'
    + ''.join(
      f'<td class="{kinds[at]}{" best" if at in marked else ""}">{text(cell(value))}</td>'
      for at, value in enumerate(row[1:])
    )
    + '</tr>'
    for row, marked, bold in zip(table.rows, _best(table), strong, strict=True)
  )
  return (
    f'<h2>{text(table.heading)}</h2><figcaption>{text(table.caption)}</figcaption>'
    f'<div class="frame"><table><tr>{head}</tr>{body}</table></div>'
    + ''.join(f'<figcaption>{text(note)}</figcaption>' for note in table.notes)
  )


def _best(table: Table) -> list[set[int]]:
  """The cells of each row, its name not counted, that hold the best of different numbers."""
  found: list[set[int]] = []
  if table.best and len(table.best) != len(table.rows):
    raise ArgumentError('best', f'{len(table.best)} rows', len(table.rows))
  for row, better in zip(table.rows, table.best or [None] * len(table.rows), strict=True):
    if better not in (None, 'max', 'min'):
      raise ArgumentError('best', f'{better!r} of {row[0]}', "'max', 'min' or None")
    plain = [value.value if isinstance(value, Measured) else value for value in row[1:]]
    numbers = {
      at: value
      for at, value in enumerate(plain)
      if isinstance(value, int | float) and math.isfinite(value)
    }
    if better is None or len(set(numbers.values())) < 2:
      found.append(set())
      continue
    best = {'max': max, 'min': min}[better](numbers.values())
    found.append({at for at, value in numbers.items() if value == best})
  return found


def cell(value: Any) -> str:
  """The text of a cell: about four digits."""
  if value is None:
    return ABSENT
  if isinstance(value, Measured):
    if not math.isfinite(value.error):
      return cell(value.value)
    return f'{cell(value.value)} ±{value.error:.1g}'
  if isinstance(value, Probability) and 0.99995 <= value < 1:
    return f'1-{1 - value:.0e}'
  if isinstance(value, Percent) and math.isfinite(value):
    return f'{value:.2f}'
  if isinstance(value, float):
    if value == 0 or not math.isfinite(value):
      return {0.0: '0', math.inf: '∞', -math.inf: '-∞'}.get(value, 'nan')
    if 1e-3 <= abs(value) < 1e4:
      return f'{value:.4f}' if abs(value) < 100 else f'{value:,.1f}'
    return f'{value:.3e}'
  if isinstance(value, int):
    return f'{value:,}'
  return str(value)
