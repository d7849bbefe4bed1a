"""Report pages: the result of a run, its evaluation, or several runs side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.page import Figure, Section, figure_html, page, text
from ssl_jax.reporting.progress import format_duration
from ssl_jax.reporting.tables import Table, as_html


class Part(NamedTuple):
  """A part of a report with a heading of its own, such as an evaluation.

  Attributes:
    heading: of its first section.
    lead: a sentence or two below it.
    tables: after the lead.
    figures: after the tables.
    appendix: long tables, after the figures.
  """

  heading: str
  lead: str = ''
  tables: Sequence[Table] = ()
  figures: Sequence[Figure] = ()
  appendix: Sequence[Table] = ()


def render_report(
  *,
  title: str,
  summary: Mapping[str, Any],
  scores: Mapping[str, float] | None = None,
  figures: Iterable[Figure] = (),
  tables: Iterable[Table] = (),
  tables_first: bool = False,
  parts: Iterable[Part] = (),
  lead: str = '',
  config_text: str = '',
  versions: Mapping[str, str] | None = None,
  devices: str = '',
  timings: Mapping[str, float] | None = None,
) -> str:
  """The HTML of a report. All text is escaped; whatever is empty or None leaves its section out.

  Args:
    title: the page's heading.
    summary: facts by name, such as method, data, epochs and images/s; values are shown as text.
    scores: kNN accuracy, a fraction from 0 to 1, by name; the first is the trained encoder's, the
      others are baselines that it is compared with.
    figures: in the order of reading.
    tables: of numbers, after the figures.
    tables_first: shows them before the figures instead.
    parts: after figures and tables.
    lead: the result in words; by default what the scores are.
    config_text: the resolved configuration, shown folded.
    versions: of the software, by name.
    devices: the hardware in words.
    timings: seconds by phase.

  Raises:
    ValueError: a row of a table does not fit its columns.
  """
  result = [('Result', _result(scores or {}, summary, lead))]
  content = [_figures(figures), _tables(tables)]
  for sections in reversed(content) if tables_first else content:
    result += sections
  details = []
  if timings and sum(timings.values()) > 0:
    details.append(('Where the time went', _timings(timings)))
  if config_text:
    details.append(('Configuration', _configuration(config_text)))
  if versions or devices:
    details.append(('Versions and devices', _environment(versions or {}, devices)))
  return page(title, result, *map(_part, parts), details)


def render_comparison(
  *,
  title: str,
  runs: Mapping[str, Mapping[str, Any]],
  tables: Iterable[Table] = (),
  figures: Iterable[Figure] = (),
  versions: Mapping[str, str] | None = None,
  devices: str = '',
) -> str:
  """The HTML of a page of several runs: their settings, scores and figures.

  Args:
    title: the page's heading.
    runs: by name, facts by name; those in which runs differ come first, in bold.
    tables: of scores, a column for each run.
    figures: those that are `half` stand side by side.
    versions: of the software, by name.
    devices: the hardware in words.

  Raises:
    ValueError: there is no run.
  """
  if not runs:
    raise ArgumentError('runs', 'none', 'at least one')
  names = list(dict.fromkeys(name for facts in runs.values() for name in facts))
  # As text: a table would round the number of a seed or a batch as a measurement.
  as_word = lambda value: None if value is None else str(value)
  rows = [(name, *(as_word(facts.get(name)) for facts in runs.values())) for name in names]
  differing = [row for row in rows if len(set(row[1:])) > 1]
  equal = [row for row in rows if len(set(row[1:])) <= 1]
  words = f'They differ in: {", ".join(str(row[0]) for row in differing)}.' if differing else ''
  bold = [True] * len(differing) + [False] * len(equal)
  facts_table = Table('What they are', words, ('', *runs), [*differing, *equal], (), bold)
  count = '1 encoder' if len(runs) == 1 else f'{len(runs)} encoders'
  return render_report(
    title=title,
    summary={},
    lead=f'{count}, measured by the same protocols. {words}',
    tables=[facts_table, *tables],
    figures=figures,
    tables_first=True,
    versions=versions,
    devices=devices,
  )


def _figures(figures: Iterable[Figure]) -> list[Section]:
  return [(figure.heading, figure_html(figure)) for figure in figures]


def _tables(tables: Iterable[Table]) -> list[Section]:
  return [(table.heading, as_html(table)) for table in tables]


def _part(part: Part) -> list[Section]:
  lead = f'<p class="lead">{text(part.lead)}</p>' if part.lead else ''
  first = (part.heading, f'<h2>{text(part.heading)}</h2>{lead}')
  return [first, *_tables(part.tables), *_figures(part.figures), *_tables(part.appendix)]


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
