"""What an evaluation leaves behind: a table, evaluation.json, and its part of the report."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ssl_jax import config as config_lib
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import (
  Figure,
  Percent,
  Table,
  add_to_report,
  collect_versions,
  describe_devices,
  tables,
  write_comparison,
  write_report,
)
from ssl_jax.tasks.protocols import PROTOCOLS, UNTRAINED, Score, Taken
from ssl_jax.tasks.run import folder
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training.atomic import atomic_write

JSON = 'evaluation.json'
_SECTION = 'evaluation'


def publish(found: Evaluation, log: Callable[[str], None], *, html: bool) -> None:
  """Prints the table; writes it as CSV, evaluation.json, and its pictures into the report."""
  columns = list(dict.fromkeys(who for taken in found.taken.values() for who in taken))
  table = _table(
    'All numbers',
    f'{found.name}{"" if found.step is None else f", step {found.step:,}"}: frozen features.',
    {
      who: {name: taken[who] for name, taken in found.taken.items() if who in taken}
      for who in columns
    },
  )
  if table.rows:
    log('\n' + tables.as_text(table) + '\n')
  _make(found.path)
  target = found.path / 'evaluation'
  _make(target)
  if table.rows:
    log(f'table     {tables.write_csv(target / "evaluation.csv", table)}')
  atomic_write(found.path / JSON, json.dumps(_content(found), indent=2, allow_nan=False) + '\n')
  log(f'numbers   {found.path / JSON}')
  if not html or not found.taken:
    return
  try:
    pictures = list(_figures(found.taken))
  except ModuleNotFoundError as error:
    log(f'pictures  left out: {error.name} is not installed')
    pictures = []
  page = found.path / folder.REPORT
  made = time.strftime('%Y-%m-%d %H:%M')
  if not page.exists():
    write_report(
      page,
      title=f'Evaluation of {found.name}',
      lead='Frozen features of the newest checkpoint, judged below.',
      summary={'data': found.experiment.dataset.describe(), **_facts(found)},
      config_text=config_lib.to_flags(found.experiment.config),
      versions=collect_versions(),
      devices=describe_devices(),
    )
  lead = f'Measured on {made}{"" if found.step is None else f", at step {found.step:,}"}.'
  if found.failed:
    lead += ' Not measured: ' + '; '.join(f'{n} ({why})' for n, why in found.failed.items()) + '.'
  add_to_report(
    page,
    _SECTION,
    heading='Evaluation',
    lead=lead,
    tables=[_headlines(table)] if table.rows else [],
    figures=pictures,
    appendix=[table] if table.rows else [],
  )
  log(f'report    {page}')


def publish_comparison(
  target: pathlib.Path,
  runs: Mapping[str, Evaluation],
  baseline: Evaluation | None,
  log: Callable[[str], None],
) -> None:
  """One page of several runs, the untrained encoder of the first beside them."""
  taken: dict[str, dict[str, Taken]] = {}
  for name, run in runs.items():
    for protocol, by_encoder in run.taken.items():
      taken.setdefault(protocol, {})[name] = next(iter(by_encoder.values()))
  if baseline is not None:
    for protocol, by_encoder in baseline.taken.items():
      if protocol in taken:
        taken[protocol][UNTRAINED] = next(iter(by_encoder.values()))
  columns = [*runs, *([UNTRAINED] if baseline is not None else [])]
  by_column = {
    who: {name: one[who] for name, one in taken.items() if who in one} for who in columns
  }
  table = _table('Side by side', 'The best of each line is marked.', by_column)
  if table.rows:
    log('\n' + tables.as_text(table) + '\n')
  _make(target)
  if table.rows:
    log(f'table     {tables.write_csv(target / "comparison.csv", table)}')
  page = write_comparison(
    target / 'comparison.html',
    title=' and '.join(runs),
    runs={name: _facts(run) for name, run in runs.items()},
    tables=[table] if table.rows else [],
    figures=list(_figures(taken)),
    versions=collect_versions(),
    devices=describe_devices(),
  )
  log(f'report    {page}')


def _facts(found: Evaluation) -> dict[str, Any]:
  config = found.experiment.config
  facts = {
    'encoder': f'{config.model.name}, width {config.model.width}',
    'weights': found.digest[:12],
  }
  if found.step is None:
    return {'file': found.name, **facts}
  return {
    'run': found.name,
    'method': config.method.name,
    'data': found.experiment.dataset.describe(),
    'step': f'{found.step:,} of {found.experiment.total_steps:,}',
    'batch': config.data.batch_size,
    'learning rate': config.optimizer.learning_rate,
    'seed': config.seed,
    **facts,
  }


def _table(heading: str, caption: str, columns: Mapping[str, Mapping[str, Taken]]) -> Table:
  """A line a score, a column an encoder; percentages are written out."""
  names: dict[tuple[str, str], Score] = {}
  for taken in columns.values():
    for protocol, one in taken.items():
      for name, score in one.measurement.scores.items():
        names.setdefault((protocol, name), score)
  rows, best = [], []
  for (protocol, name), kind in names.items():
    cells: list[Any] = []
    for taken in columns.values():
      found = taken[protocol].measurement.scores.get(name) if protocol in taken else None
      value = None if found is None or not math.isfinite(found.value) else found.value
      cells.append(value if value is None or not kind.percent else Percent(100 * value))
    unit = ', %' if kind.percent else ''
    rows.append((f'{protocol}: {name}{unit}', *cells))
    best.append(kind.better)
  return Table(heading, caption, ('', *columns), tuple(rows), tuple(best))


def _headlines(table: Table) -> Table:
  """The first line of each protocol."""
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
  )


def _content(found: Evaluation) -> dict[str, Any]:
  """What evaluation.json holds; former results of the same encoder and settings stay."""
  flags = config_lib.parser().render(found.experiment.config)
  settings = {
    name: value
    for name, value in flags.items()
    if name.startswith(('evaluate.', 'data.', 'views.')) or name == 'seed'
  }
  protocols: dict[str, Any] = {}
  for name, by_encoder in found.taken.items():
    protocols[name] = {
      'scores': {
        who: {key: _number(score.value) for key, score in one.measurement.scores.items()}
        for who, one in by_encoder.items()
      },
      'details': {who: _plain(one.measurement.details) for who, one in by_encoder.items()},
      'seconds': round(found.seconds[name], 2),
    }
  content = {
    'encoder': found.name,
    'step': found.step,
    'weights_sha256': found.digest,
    'data': found.experiment.dataset.describe(),
    'settings': settings,
    'protocols': protocols,
    'failed': found.failed,
    'devices': describe_devices(),
    'versions': collect_versions(),
  }
  try:
    old = json.loads((found.path / JSON).read_text())
    if all(old[name] == content[name] for name in ('weights_sha256', 'data', 'settings')):
      kept = {n: v for n, v in old['protocols'].items() if n not in found.failed}
      content['protocols'] = {**kept, **protocols}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    pass
  return content


def _figures(taken: Mapping[str, Mapping[str, Taken]]) -> Iterator[Figure]:
  for name, by_encoder in taken.items():
    draw = PROTOCOLS[name].draw
    if draw is not None and by_encoder:
      yield from draw(by_encoder)


def _number(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
  """Numbers, words, lists and dicts that JSON knows."""
  if isinstance(value, Mapping):
    return {str(key): _plain(one) for key, one in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(one) for one in value]
  if hasattr(value, 'item') and getattr(value, 'ndim', 0) == 0:
    value = value.item()
  if hasattr(value, 'tolist'):
    return _plain(value.tolist())
  return _number(value) if isinstance(value, float) else value


def _make(target: pathlib.Path) -> None:
  try:
    target.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f'--run_dir: {target} cannot be made ({error.strerror})') from error


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
  """What came of an evaluation.

  Attributes:
    name: of the encoder, for people.
    path: the folder it is written to.
    experiment: data, recipe and architecture.
    step: optimizer steps behind the encoder; None for a file of weights.
    digest: of the encoder's variables.
    taken: measurements, by protocol and by encoder.
    failed: protocols that could not be measured, and why.
    seconds: by protocol.
  """

  name: str
  path: pathlib.Path
  experiment: Experiment
  step: int | None
  digest: str
  taken: dict[str, dict[str, Taken]]
  failed: dict[str, str]
  seconds: dict[str, float]
