"""The report of a run: one HTML page that needs nothing else, neither files nor a network."""

import base64
import html
import os
import pathlib
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ssl_jax.reporting.progress import format_duration
from ssl_jax.reporting.stylesheet import CSS
from ssl_jax.reporting.tables import Table, as_html
from ssl_jax.training.atomic import atomic_write


class Figure(NamedTuple):
  """A picture of the report.

  Attributes:
    heading: of its section, unique in the report.
    caption: what is to be seen, in a sentence or two.
    image: the file's bytes.
    mime: the media type of `image`.
    photographic: True keeps the colours in a dark page; a diagram's lightness is turned over.
  """

  heading: str
  caption: str
  image: bytes
  mime: str = 'image/png'
  photographic: bool = False


def write_report(
  path: str | os.PathLike[str],
  *,
  title: str,
  summary: Mapping[str, Any],
  scores: Mapping[str, float] | None = None,
  figures: Iterable[Figure | tuple] = (),
  tables: Iterable[Table] = (),
  lead: str = '',
  config_text: str = '',
  versions: Mapping[str, str] | None = None,
  devices: str = '',
  timings: Mapping[str, float] | None = None,
) -> pathlib.Path:
  """Writes the page in one piece; an existing one is replaced only by a complete one.

  All text is escaped. Whatever is empty or None leaves its section out.

  Args:
    path: the file to write.
    title: the page's heading.
    summary: facts by name, such as method, data, epochs and images/s; values are shown as text.
    scores: kNN accuracy, a fraction from 0 to 1, by name; the first is the trained encoder's, the
      others are what it has to beat.
    figures: `Figure`s, or tuples of their fields, in the order of reading.
    tables: of numbers, shown after the figures.
    lead: the result in words, above the facts; by default what the scores are.
    config_text: the resolved configuration, shown folded.
    versions: of the software, by name.
    devices: the hardware in words.
    timings: seconds by phase.

  Returns:
    The path.

  Raises:
    OSError: the file cannot be written; the message names it.
  """
  path = pathlib.Path(path)
  sections = [('Result', _result(scores or {}, summary, lead))]
  sections += [(item.heading, _figure(item)) for item in (Figure(*figure) for figure in figures)]
  sections += [(table.heading, as_html(table)) for table in tables]
  if timings and sum(timings.values()) > 0:
    sections.append(('Where the time went', _timings(timings)))
  if config_text:
    sections.append(('Configuration', _configuration(config_text)))
  if versions or devices:
    sections.append(('Versions and devices', _environment(versions or {}, devices)))
  page = _page(title, sections)

  path.parent.mkdir(parents=True, exist_ok=True)
  atomic_write(path, page)
  return path


def _page(title: str, sections: list[tuple[str, str]]) -> str:
  links = ''.join(f'<a href="#{_anchor(name)}">{_text(name)}</a>' for name, _ in sections)
  body = '\n'.join(
    f'<section id="{_anchor(name)}">{content}</section>' for name, content in sections
  )
  written = time.strftime('%Y-%m-%d %H:%M:%S %Z')
  # The policy makes the browser itself refuse whatever would leave this page.
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>{_text(title)}</h1><nav>{links}</nav></header>
<main>
{body}
</main>
<footer>Written by ssl_jax on {_text(written)}.</footer>
</body>
</html>
"""


def _result(scores: Mapping[str, float], summary: Mapping[str, Any], lead: str) -> str:
  parts = ['<h2>Result</h2>']
  if lead:
    parts.append(f'<p class="lead">{_text(lead)}</p>')
  if scores:
    parts.append(
      '<figcaption>Accuracy of a weighted k-nearest-neighbour vote on frozen features.</figcaption>'
    )
    best = next(iter(scores.values()))
    cards = [
      _score(name, value, None if index == 0 else best)
      for index, (name, value) in enumerate(scores.items())
    ]
    parts.append(f'<div class="scores">{"".join(cards)}</div>')
  elif not lead:
    parts.append('<figcaption>No accuracy was measured: that needs labels.</figcaption>')
  if summary:
    facts = ''.join(
      f'<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>' for name, value in summary.items()
    )
    parts.append(f'<dl>{facts}</dl>')
  return ''.join(parts)


def _score(name: str, value: float, trained: float | None) -> str:
  note = ''
  if trained is not None:
    points = 100 * (trained - value)
    note = f'trained is {abs(points):.1f} points {"above" if points >= 0 else "below"}'
  width = min(max(100 * value, 0), 100)
  return (
    f'<div class="score{" first" if trained is None else ""}"><span>{_text(name)}</span>'
    f'<b>{100 * value:.1f} %</b><div class="track"><i style="width:{width:.1f}%"></i></div>'
    f'<small>{note}</small></div>'
  )


def _figure(figure: Figure) -> str:
  data = base64.b64encode(figure.image).decode()
  kind = 'photo' if figure.photographic else 'plot'
  return (
    f'<figure><h2>{_text(figure.heading)}</h2><figcaption>{_text(figure.caption)}</figcaption>'
    f'<div class="frame {kind}"><img alt="{_text(figure.heading)}" '
    f'src="data:{_text(figure.mime)};base64,{data}"></div></figure>'
  )


def _timings(timings: Mapping[str, float]) -> str:
  total = sum(timings.values())
  rows = ''.join(
    f'<tr><th scope="row">{_text(name)}</th><td class="number">{seconds:,.1f} s</td>'
    f'<td class="number">{100 * seconds / total:.1f} %</td><td><div class="track">'
    f'<i style="width:{100 * seconds / total:.1f}%"></i></div></td></tr>'
    for name, seconds in timings.items()
  )
  return (
    f'<h2>Where the time went</h2><figcaption>{format_duration(total)} in all.</figcaption>'
    f'<table>{rows}</table>'
  )


def _configuration(text: str) -> str:
  return f'<details><summary><h2>Configuration</h2></summary><pre>{_text(text)}</pre></details>'


def _environment(versions: Mapping[str, str], devices: str) -> str:
  facts = {'devices': devices} if devices else {}
  items = ''.join(
    f'<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>'
    for name, value in {**facts, **versions}.items()
  )
  return f'<h2>Versions and devices</h2><dl>{items}</dl>'


def _anchor(heading: str) -> str:
  return re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-') or 'section'


def _text(value: Any) -> str:
  return html.escape(str(value), quote=True)
