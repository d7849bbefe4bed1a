"""The report of a run: one HTML page that needs nothing else, neither files nor a network."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ssl_jax.reporting.page import Figure, figure_html, page, text
from ssl_jax.reporting.page_parts import parts_of
from ssl_jax.reporting.progress import format_duration
from ssl_jax.reporting.tables import Table, as_html
from ssl_jax.training.atomic import atomic_write


def write_report(
  path: str | os.PathLike[str],
  *,
  title: str,
  summary: Mapping[str, Any],
  scores: Mapping[str, float] | None = None,
  figures: Iterable[Figure | tuple] = (),
  tables: Iterable[Table] = (),
  tables_first: bool = False,
  lead: str = '',
  config_text: str = '',
  versions: Mapping[str, str] | None = None,
  devices: str = '',
  timings: Mapping[str, float] | None = None,
) -> pathlib.Path:
  """Writes the page in one piece; an existing one is replaced only by a complete one.

  All text is escaped. Whatever is empty or None leaves its section out. Parts that `add_to_report`
  put into an existing page stay, each with the time it was written.

  Args:
    path: the file to write.
    title: the page's heading.
    summary: facts by name, such as method, data, epochs and images/s; values are shown as text.
    scores: kNN accuracy, a fraction from 0 to 1, by name; the first is the trained encoder's, the
      others are what it has to beat.
    figures: `Figure`s, or tuples of their fields, in the order of reading.
    tables: of numbers, shown after the figures.
    tables_first: shows them before the figures instead.
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
  pictures = [(item.heading, figure_html(item)) for item in (Figure(*one) for one in figures)]
  numbers = [(table.heading, as_html(table)) for table in tables]
  sections += [*numbers, *pictures] if tables_first else [*pictures, *numbers]
  if timings and sum(timings.values()) > 0:
    sections.append(('Where the time went', _timings(timings)))
  if config_text:
    sections.append(('Configuration', _configuration(config_text)))
  if versions or devices:
    sections.append(('Versions and devices', _environment(versions or {}, devices)))
  kept = parts_of(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic_write(path, page(title, sections, ''.join(kept.bodies), ''.join(kept.links)))
  return path


def _result(scores: Mapping[str, float], summary: Mapping[str, Any], lead: str) -> str:
  parts = ['<h2>Result</h2>']
  if lead:
    parts.append(f'<p class="lead">{text(lead)}</p>')
  if scores:
    parts.append(
      '<figcaption>Accuracy of a weighted k-nearest-neighbor vote on frozen features.</figcaption>'
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
      f'<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>' for name, value in summary.items()
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
    f'<div class="score{" first" if trained is None else ""}"><span>{text(name)}</span>'
    f'<b>{100 * value:.1f} %</b><div class="track"><i style="width:{width:.1f}%"></i></div>'
    f'<small>{note}</small></div>'
  )


def _timings(timings: Mapping[str, float]) -> str:
  total = sum(timings.values())
  rows = ''.join(
    f'<tr><th scope="row">{text(name)}</th><td class="number">{seconds:,.1f} s</td>'
    f'<td class="number">{100 * seconds / total:.1f} %</td><td><div class="track">'
    f'<i style="width:{100 * seconds / total:.1f}%"></i></div></td></tr>'
    for name, seconds in timings.items()
  )
  return (
    f'<h2>Where the time went</h2><figcaption>{format_duration(total)} in all.</figcaption>'
    f'<table>{rows}</table>'
  )


def _configuration(flags: str) -> str:
  return f'<details><summary><h2>Configuration</h2></summary><pre>{text(flags)}</pre></details>'


def _environment(versions: Mapping[str, str], devices: str) -> str:
  facts = {'devices': devices} if devices else {}
  items = ''.join(
    f'<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>'
    for name, value in {**facts, **versions}.items()
  )
  return f'<h2>Versions and devices</h2><dl>{items}</dl>'
