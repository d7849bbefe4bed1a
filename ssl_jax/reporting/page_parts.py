"""Parts of a page that come after it, such as an evaluation: put in, replaced, and kept."""

import os
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from ssl_jax.reporting.page import Figure, body_of, figure_html, navigation, text
from ssl_jax.reporting.stylesheet import CSS
from ssl_jax.reporting.tables import Table, as_html
from ssl_jax.training.atomic import atomic_write

# Text is escaped, so that no value can hold one of these.
_BODY = re.compile(r'<!-- part ([a-z]+) -->.*?<!-- end \1 -->\n?', re.DOTALL)
_LINKS = re.compile(r'<!-- links ([a-z]+) -->.*?<!-- end links \1 -->', re.DOTALL)
_STYLE = re.compile('<style>.*?</style>', re.DOTALL)


class Parts(NamedTuple):
  """The parts of a page: their sections and the links to these, as HTML, in order."""

  bodies: list[str]
  links: list[str]


def parts_of(path: str | os.PathLike[str]) -> Parts:
  """The parts in a page; none where there is no page, or one that cannot be read."""
  try:
    page = pathlib.Path(path).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError):
    return Parts([], [])
  return Parts([m[0] for m in _BODY.finditer(page)], [m[0] for m in _LINKS.finditer(page)])


def add_to_report(
  path: str | os.PathLike[str],
  name: str,
  *,
  heading: str,
  lead: str = '',
  figures: Iterable[Figure | tuple] = (),
  tables: Iterable[Table] = (),
  appendix: Iterable[Table] = (),
) -> pathlib.Path:
  """Puts a part at the end of a page that `write_report` wrote, in place of its former self.

  Args:
    path: the page; it is replaced by a complete one or not at all.
    name: of the part, lower-case letters.
    heading: of its first section.
    lead: what it says, and when it was measured.
    figures: after the tables.
    tables: after the lead.
    appendix: long tables, after the figures.

  Returns:
    The path.

  Raises:
    ValueError: the name has other characters, the file is no such page, or a table does not fit.
    OSError: the page cannot be read or written.
  """
  if not re.fullmatch('[a-z]+', name):
    raise ValueError(f'name: found {name!r}, must be lower-case letters')
  path = pathlib.Path(path)
  try:
    page = path.read_text(encoding='utf-8')
  except UnicodeDecodeError:
    page = ''
  if '</nav>' not in page or '</main>' not in page:
    raise ValueError(f'{path}: found another file, must be a page that write_report wrote')
  sections = [(heading, f'<h2>{text(heading)}</h2><p class="lead">{text(lead)}</p>')]
  sections += [(table.heading, as_html(table)) for table in tables]
  sections += [(item.heading, figure_html(item)) for item in (Figure(*one) for one in figures)]
  sections += [(table.heading, as_html(table)) for table in appendix]
  body = f'<!-- part {name} -->\n{body_of(sections, f"{name}-")}\n<!-- end {name} -->\n'
  links = f'<div>{navigation(sections, f"{name}-")}</div>'
  links = f'<!-- links {name} -->{links}<!-- end links {name} -->'
  for pattern in (_BODY, _LINKS):
    page = pattern.sub(lambda found: '' if found[1] == name else found[0], page)
  # The page may be of an older version, whose style lacks what this part needs.
  page = _STYLE.sub(lambda _: f'<style>{CSS}</style>', page, count=1)
  for end, part in (('</nav>', links), ('</main>', body)):
    before, _, after = page.rpartition(end)
    page = f'{before}{part}{end}{after}'
  atomic_write(path, page)
  return path
