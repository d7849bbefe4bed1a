"""The report page of a run, rendered from the files in its folder."""

from __future__ import annotations

import mimetypes
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import GENERATOR, Figure, Part, Percent, Table, render_report
from ssl_jax.reporting.page import anchors
from ssl_jax.tasks.run import folder
from ssl_jax.training.atomic import atomic_write
from ssl_jax.training.json_file import read_json

# A report of a version that kept pictures in the page alone.
OLD_REPORT = 'report_old.html'

Scores = Mapping[str, Mapping[str, float | None]]  # by protocol and by name
ScoreTypes = Mapping[str, Mapping[str, Mapping[str, Any]]]  # `percent` and `better`, likewise


def write_report(run_dir: pathlib.Path) -> pathlib.Path:
  """Renders `report.html` of `run_dir` and returns its path.

  A page of a version that kept pictures in the page alone is renamed to `report_old.html` first.

  Raises:
    OSError: a file cannot be read or written.
  """
  path = run_dir / folder.REPORT
  if path.exists() and GENERATOR not in path.read_text(encoding='utf-8', errors='replace')[:1000]:
    path.replace(run_dir / OLD_REPORT)
  atomic_write(path, render(run_dir))
  return path


def render(run_dir: pathlib.Path) -> str:
  """The page of `config.flags`, `result.json`, `evaluation.json` and the figures they name.

  Each of these files may be missing: training may not have ended, or not be evaluated.

  Raises:
    UsageError: what one of them holds is not what a run writes.
  """
  try:
    return _render(run_dir)
  except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
    names = ' or '.join((folder.CONFIG, folder.RESULT, folder.EVALUATION))
    raise UsageError(
      f'{run_dir}: no report can be made, {names} is damaged ({type(error).__name__}: {error})'
    ) from error


def _render(run_dir: pathlib.Path) -> str:
  result = read_json(run_dir / folder.RESULT)
  evaluation = read_json(run_dir / folder.EVALUATION)
  flags = run_dir / folder.CONFIG
  config_text = (
    flags.read_text(encoding='utf-8') if flags.is_file() else evaluation.get('config_flags', '')
  )
  if flags.is_file() and result:
    facts = _training(config_lib.read(flags), result)
  else:
    facts = {
      'title': f'Evaluation of {evaluation.get("encoder", run_dir)}',
      'lead': 'Frozen features of an encoder.',
      'summary': evaluation.get('summary', {}),
    }
  if (run_dir / OLD_REPORT).exists():
    facts['summary'] = {**facts['summary'], 'report of an earlier version': OLD_REPORT}
  return render_report(
    **facts,
    figures=load_figures(run_dir, result.get('figures', ())),
    parts=[_evaluation(run_dir, evaluation)] if evaluation.get('protocols') else [],
    config_text=config_text,
    versions=(result or evaluation).get('versions'),
    devices=(result or evaluation).get('devices', ''),
    timings=result.get('seconds'),
  )


def _training(config: Config, result: Mapping[str, Any]) -> dict[str, Any]:
  """Title, scores and facts of a run that has ended."""
  knn, rate = result['knn'], result['images_per_second']
  extended = ', '.join(f'{epochs:g} epochs ({word})' for epochs, word in config.extensions)
  scores = {
    'trained': knn.get('trained'),
    'given weights': knn.get('init_from'),
    'random initialization': knn.get('random_init'),
    'raw pixels': knn.get('pixels'),
  }
  return {
    'title': f'{config.method.name} on {config.source_name}',
    'summary': {
      'method': config.method.name,
      'encoder': f'{config.model.name}, width {config.model.width}',
      'data': result['data'],
      'training': f'{result["steps"]:,} steps, {result["epochs"]:g} epochs, last step shown',
      'seed': config.seed,
      **({'extended': extended} if extended else {}),
      **({'started from': config.model.init_from} if config.model.init_from else {}),
      'images/s': f'{rate:,.0f}' if rate else 'not measured in this process',
      **({'kNN': f'k = {knn["k"]}, temperature {knn["temperature"]}'} if knn else {}),
    },
    'scores': {name: value for name, value in scores.items() if value is not None},
    'lead': ' '.join(f'{name}: {why}.' for name, why in result.get('reason', {}).items()),
  }


def _evaluation(run_dir: pathlib.Path, evaluation: Mapping[str, Any]) -> Part:
  """The part of `evaluation.json`."""
  protocols, step = evaluation['protocols'], evaluation.get('step')
  written = f' on {evaluation["written"]}' if 'written' in evaluation else ''
  lead = f'Measured{written}{"" if step is None else f", at step {step:,}"}.'
  if failed := evaluation.get('failed'):
    lead += f' Not measured: {"; ".join(f"{name} ({why})" for name, why in failed.items())}.'
  encoders = dict.fromkeys(who for protocol in protocols.values() for who in protocol['scores'])
  table = score_table(
    'All numbers',
    'Frozen features.',
    {
      who: {name: one['scores'][who] for name, one in protocols.items() if who in one['scores']}
      for who in encoders
    },
    {name: one.get('score_types', {}) for name, one in protocols.items()},
    evaluation.get('failed', {}),
    join_notes((name, line) for name, one in protocols.items() for line in one.get('notes', ())),
  )
  figures = [
    figure for one in protocols.values() for figure in load_figures(run_dir, one.get('figures', ()))
  ]
  if not table.rows:
    return Part('Evaluation', lead, figures=figures)
  return Part('Evaluation', lead, [_headlines(table)], figures, [table])


def join_notes(notes: Iterable[tuple[str, str]]) -> list[str]:
  """One line for each different text, behind the names that it is about.

  >>> join_notes([('knn', 'no labels'), ('ridge', 'one row'), ('linear', 'no labels')])
  ['knn, linear: no labels', 'ridge: one row']
  """
  names: dict[str, list[str]] = {}
  for name, words in notes:
    names.setdefault(words, []).append(name)
  return [f'{", ".join(of)}: {words}' for words, of in names.items()]


def score_table(
  heading: str,
  caption: str,
  columns: Mapping[str, Scores],
  types: ScoreTypes,
  failed: Iterable[str] = (),
  notes: Sequence[str] = (),
) -> Table:
  """A table with a row for each score and a column for each encoder; fractions become percentages.

  Args:
    heading: of the table.
    caption: what the numbers are.
    columns: the scores of each encoder.
    types: whether a score is a fraction to be shown in percent, and which end is `better`: 'max',
      'min' or None. A score without a type is a plain number.
    failed: protocols without a score, a row without numbers each.
    notes: below the table.
  """
  names = dict.fromkeys(
    (protocol, name)
    for scores in columns.values()
    for protocol, by_name in scores.items()
    for name in by_name
  )
  rows, best = [], []
  for protocol, name in names:
    kind = types.get(protocol, {}).get(name, {})
    values = [scores.get(protocol, {}).get(name) for scores in columns.values()]
    if kind.get('percent'):
      values = [None if value is None else Percent(100 * value) for value in values]
    unit = ', %' if kind.get('percent') else ''
    rows.append((f'{protocol}: {name}{unit}', *values))
    best.append(kind.get('better'))
  measured = {protocol for protocol, _ in names}
  for protocol in failed if columns else ():
    if protocol not in measured:
      rows.append((protocol, *[None] * len(columns)))
      best.append(None)
  return Table(heading, caption, ('', *columns), tuple(rows), tuple(best), (), tuple(notes))


def _headlines(table: Table) -> Table:
  """The first row of each protocol."""
  first: dict[str, int] = {}
  for at, row in enumerate(table.rows):
    first.setdefault(row[0].partition(':')[0], at)
  chosen = list(first.values())
  return Table(
    'Scores',
    'The first number of each protocol; all of them are in the last table.',
    table.columns,
    tuple(table.rows[at] for at in chosen),
    tuple(table.best[at] for at in chosen),
    (),
    table.notes,
  )


def save_figures(
  run_dir: pathlib.Path, below: str, figures: Iterable[Figure]
) -> list[dict[str, Any]]:
  """Writes the picture of each figure to a file in `run_dir / below`.

  Returns:
    What `load_figures` takes: one dict of plain values for each figure.

  Raises:
    OSError: a file cannot be written.
  """
  figures, index = list(figures), []
  if figures:
    (run_dir / below).mkdir(parents=True, exist_ok=True)
  for figure, name in zip(figures, anchors(f.heading for f in figures), strict=True):
    file = f'{below}/{name}{mimetypes.guess_extension(figure.mime) or ""}'
    atomic_write(run_dir / file, figure.image)
    facts = {key: value for key, value in figure._asdict().items() if key != 'image'}
    index.append({'file': file, **facts})
  return index


def load_figures(run_dir: pathlib.Path, index: Sequence[Mapping[str, Any]]) -> list[Figure]:
  """The figures of an index from `save_figures`, without those whose file is gone."""
  found = []
  for entry in index:
    facts = {key: value for key, value in entry.items() if key != 'file'}
    path = run_dir / entry['file']
    if path.is_file():
      found.append(Figure(image=path.read_bytes(), **facts))
  return found
