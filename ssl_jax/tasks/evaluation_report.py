"""The result of an evaluation: a table, `evaluation.json`, figures, and its part of the report."""

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
  Table,
  collect_versions,
  describe_devices,
  render_comparison,
  tables,
)
from ssl_jax.tasks.protocols import PROTOCOLS, UNTRAINED, Result
from ssl_jax.tasks.protocols.protocol import canonical_name
from ssl_jax.tasks.run import folder, report
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training.atomic import atomic_write

# Flags that scores depend on: those of the sections below, and the seed.
_SETTINGS = ('evaluate.', 'knn.k', 'knn.temperature', 'data.', 'views.')


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
  """The measurements of one encoder and of its untrained baseline.

  Attributes:
    name: of the encoder: the folder of its run, or its file of weights.
    path: the folder that results are written to.
    experiment: data, views and architecture.
    step: optimizer steps behind the encoder; None for a file of weights.
    digest: SHA-256 of the encoder's variables.
    results: measurements, by protocol and by encoder.
    failed: the reason of each protocol that could not be measured.
    seconds: by protocol.
  """

  name: str
  path: pathlib.Path
  experiment: Experiment
  step: int | None
  digest: str
  results: dict[str, dict[str, Result]]
  failed: dict[str, str]
  seconds: dict[str, float]


def publish(found: Evaluation, log: Callable[[str], None], *, html: bool) -> None:
  """Logs the table; writes it as CSV, `evaluation.json`, the figures, and the report anew."""
  _make_folder(found.path / 'evaluation')
  encoders = dict.fromkeys(who for by_encoder in found.results.values() for who in by_encoder)
  table = _table(
    'All numbers',
    f'{found.name}{"" if found.step is None else f", step {found.step:,}"}: frozen features.',
    {
      who: {name: one[who] for name, one in found.results.items() if who in one} for who in encoders
    },
  )
  _publish_table(found.path / 'evaluation' / 'evaluation.csv', table, log)
  path, content = found.path / folder.EVALUATION, _content(found)
  _write_json(path, content)
  log(f'numbers   {path}')
  if not html or not found.results:
    return
  try:
    for name, by_encoder in found.results.items():
      content['protocols'][name]['figures'] = report.save_figures(
        found.path, f'evaluation/{folder.FIGURES}/{name}', _draw(name, by_encoder)
      )
  except ModuleNotFoundError as error:
    log(f'pictures  left out: {error.name} is not installed')
  _write_json(path, content)
  log(f'report    {report.write_report(found.path)}')


def publish_comparison(
  target: pathlib.Path,
  runs: Mapping[str, Evaluation],
  baseline: Evaluation | None,
  log: Callable[[str], None],
) -> None:
  """One page of several runs, the untrained encoder of the first beside them."""
  results: dict[str, dict[str, Result]] = {}
  for name, run in runs.items():
    for protocol, by_encoder in run.results.items():
      results.setdefault(protocol, {})[name] = next(iter(by_encoder.values()))
  if baseline is not None:
    for protocol, by_encoder in baseline.results.items():
      if protocol in results:
        results[protocol][UNTRAINED] = next(iter(by_encoder.values()))
  encoders = [*runs, *([UNTRAINED] if baseline is not None else [])]
  table = _table(
    'Side by side',
    'The best of each line is marked.',
    {who: {name: one[who] for name, one in results.items() if who in one} for who in encoders},
  )
  _make_folder(target)
  _publish_table(target / 'comparison.csv', table, log)
  page = render_comparison(
    title=' and '.join(runs),
    runs={name: _summary(run) for name, run in runs.items()},
    tables=[table] if table.rows else [],
    figures=[figure for name, by_encoder in results.items() for figure in _draw(name, by_encoder)],
    versions=collect_versions(),
    devices=describe_devices(),
  )
  atomic_write(target / 'comparison.html', page)
  log(f'report    {target / "comparison.html"}')


def _summary(found: Evaluation) -> dict[str, Any]:
  """Facts of the encoder by name, for the top of a page."""
  config = found.experiment.config
  encoder = {
    'encoder': f'{config.model.name}, width {config.model.width}',
    'weights': found.digest[:12],
  }
  if found.step is None:
    return {'file': found.name, **encoder}
  return {
    'run': found.name,
    'method': config.method.name,
    'data': found.experiment.dataset.describe(),
    'step': f'{found.step:,} of {found.experiment.total_steps:,}',
    'batch': config.data.batch_size,
    'learning rate': config.optimizer.learning_rate,
    'seed': config.seed,
    **encoder,
  }


def _table(heading: str, caption: str, columns: Mapping[str, Mapping[str, Result]]) -> Table:
  """The scores of measurements by encoder and by protocol."""
  types: dict[str, dict[str, Any]] = {}
  for by_protocol in columns.values():
    for protocol, one in by_protocol.items():
      types.setdefault(protocol, {}).update(_score_types(one))
  scores = {
    who: {protocol: _scores(one) for protocol, one in by_protocol.items()}
    for who, by_protocol in columns.items()
  }
  return report.score_table(heading, caption, scores, types)


def _publish_table(path: pathlib.Path, table: Table, log: Callable[[str], None]) -> None:
  if table.rows:
    log('\n' + tables.as_text(table) + '\n')
    atomic_write(path, tables.as_csv(table))
    log(f'table     {path}')


def _content(found: Evaluation) -> dict[str, Any]:
  """The content of `evaluation.json`; earlier results of the same encoder and settings stay."""
  config = found.experiment.config
  settings = {
    name: value
    for name, value in config_lib.parser().render(config).items()
    if name.startswith(_SETTINGS) or name == 'seed'
  }
  content: dict[str, Any] = {
    'encoder': found.name,
    'step': found.step,
    'weights_sha256': found.digest,
    'data': found.experiment.dataset.describe(),
    'settings': settings,
    'protocols': {},
    'failed': found.failed,
    'written': time.strftime('%Y-%m-%d %H:%M'),
    'summary': _summary(found),
    'devices': describe_devices(),
    'versions': collect_versions(),
  }
  if found.step is None:  # the folder of a run has its flags
    content['config_flags'] = config_lib.to_flags(config)
  old, earlier = report.read_json(found.path / folder.EVALUATION), {}
  if all(old.get(name) == content[name] for name in ('weights_sha256', 'data', 'settings')):
    current = {canonical_name(name): one for name, one in old['protocols'].items()}
    earlier = {name: one for name, one in current.items() if name not in found.failed}
  content['protocols'] = earlier | {
    name: {
      'scores': {who: _scores(one) for who, one in by_encoder.items()},
      'score_types': {k: v for one in by_encoder.values() for k, v in _score_types(one).items()},
      'details': {who: _to_json(one.measurement.details) for who, one in by_encoder.items()},
      'figures': earlier.get(name, {}).get('figures', []),
      'seconds': round(found.seconds[name], 2),
    }
    for name, by_encoder in found.results.items()
  }
  return content


def _scores(one: Result) -> dict[str, float | None]:
  return {name: _finite(score.value) for name, score in one.measurement.scores.items()}


def _score_types(one: Result) -> dict[str, dict[str, Any]]:
  return {
    name: {'percent': score.percent, 'better': score.better}
    for name, score in one.measurement.scores.items()
  }


def _draw(protocol: str, by_encoder: Mapping[str, Result]) -> Iterator[Figure]:
  draw = PROTOCOLS[protocol].draw
  if draw is not None and by_encoder:
    yield from draw(by_encoder)


def _finite(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def _to_json(value: Any) -> Any:
  """NumPy arrays and scalars as lists and numbers; numbers that are not finite become None."""
  if isinstance(value, Mapping):
    return {str(key): _to_json(one) for key, one in value.items()}
  if isinstance(value, list | tuple):
    return [_to_json(one) for one in value]
  if hasattr(value, 'item') and getattr(value, 'ndim', 0) == 0:
    value = value.item()
  if hasattr(value, 'tolist'):
    return _to_json(value.tolist())
  return _finite(value) if isinstance(value, float) else value


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  atomic_write(path, json.dumps(content, indent=2, allow_nan=False) + '\n')


def _make_folder(target: pathlib.Path) -> None:
  try:
    target.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f'--run_dir: {target} cannot be made ({error.strerror})') from error
