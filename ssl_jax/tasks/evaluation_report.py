"""The result of an evaluation: a table, `evaluation.json`, figures, and its part of the report."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
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
from ssl_jax.tasks.protocols.context import describe_labels
from ssl_jax.tasks.protocols.protocol import canonical_name
from ssl_jax.tasks.run import folder, report
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training.atomic import atomic_write
from ssl_jax.training.json_file import read_json, write_json

# Flags that all scores depend on: those of the sections below that affect a run, and these. What a
# protocol reads besides is stored with its scores.
_SECTIONS = ('data.', 'views.')
_SETTINGS = ('seed', 'evaluate.checkpoint', 'evaluate.baseline', 'evaluate.layer')


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
    {name: {'': reason} for name, reason in found.failed.items()},
  )
  _publish_table(found.path / 'evaluation' / 'evaluation.csv', table, log)
  path = found.path / folder.EVALUATION
  old = read_json(path)
  content = _content(found, old)
  if not content['protocols'].keys() >= _protocols(old).keys() - found.failed.keys():
    kept = found.path / 'evaluation' / f'before-{time.strftime("%Y%m%d-%H%M%S")}.json'
    path.replace(kept)
    log(f'earlier   numbers of other weights, images or settings are in {kept}')
  write_json(path, content)
  log(f'numbers   {path}')
  if not html or not found.results:
    return
  for name, by_encoder in found.results.items():
    content['protocols'][name]['figures'] = report.save_figures(
      found.path, f'evaluation/{folder.FIGURES}/{name}', _drawn(name, by_encoder, log)
    )
  write_json(path, content)
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
  failed: dict[str, dict[str, str]] = {}
  for name, run in runs.items():
    for protocol, reason in run.failed.items():
      failed.setdefault(protocol, {})[name] = reason
  encoders = [*runs, *([UNTRAINED] if baseline is not None else [])]
  table = _table(
    'Side by side',
    'The best of each line is marked.',
    {who: {name: one[who] for name, one in results.items() if who in one} for who in encoders},
    failed,
  )
  _make_folder(target)
  _publish_table(target / 'comparison.csv', table, log)
  page = render_comparison(
    title=' and '.join(runs),
    runs={name: _summary(run) for name, run in runs.items()},
    tables=[table] if table.rows else [],
    figures=[
      figure for name, by_encoder in results.items() for figure in _drawn(name, by_encoder, log)
    ],
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


def _table(
  heading: str,
  caption: str,
  columns: Mapping[str, Mapping[str, Result]],
  failed: Mapping[str, Mapping[str, str]],
) -> Table:
  """The scores of measurements by encoder and by protocol; `failed` has reasons by protocol and
  encoder."""
  types: dict[str, dict[str, Any]] = {}
  for by_protocol in columns.values():
    for protocol, one in by_protocol.items():
      types.setdefault(protocol, {}).update(_score_types(one))
  scores = {
    who: {protocol: _scores(one) for protocol, one in by_protocol.items()}
    for who, by_protocol in columns.items()
  }
  lines: list[tuple[str, str]] = []
  for protocol, reasons in failed.items():
    # One line for all encoders where they agree.
    for reason in dict.fromkeys(reasons.values()):
      encoders = [who for who, one in reasons.items() if one == reason]
      of = f' of {" and ".join(encoders)}' if any(encoders) and len(encoders) < len(columns) else ''
      lines.append((f'{protocol}{of}', reason))
  for protocol in types:
    measured = {who: one[protocol] for who, one in columns.items() if protocol in one}
    lines += [(protocol, line) for line in notes(measured)]
  return report.score_table(heading, caption, scores, types, failed, report.join_notes(lines))


def _publish_table(path: pathlib.Path, table: Table, log: Callable[[str], None]) -> None:
  if table.rows:
    log('\n' + tables.as_text(table) + '\n')
    atomic_write(path, tables.as_csv(table))
    log(f'table     {path}')


def _content(found: Evaluation, old: Mapping[str, Any]) -> dict[str, Any]:
  """The content of `evaluation.json`; what `old` has of the same encoder and settings stays."""
  config, parser = found.experiment.config, config_lib.parser()
  flags = parser.render(config)
  affecting = [name for name in parser.affecting_result(config) if name.startswith(_SECTIONS)]
  settings = {name: flags[name] for name in (*_SETTINGS, *affecting)}
  content: dict[str, Any] = {
    'encoder': found.name,
    'step': found.step,
    'weights_sha256': found.digest,
    'data': found.experiment.dataset.describe(),
    'labels': describe_labels(found.experiment.dataset) or 'all',
    'data_sha256': found.experiment.fingerprint.sha256,
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
  earlier = {}
  if _is_of_the_same(old, content):
    earlier = {name: one for name, one in _protocols(old).items() if name not in found.failed}
  content['protocols'] = earlier | {
    name: {
      'scores': {who: _scores(one) for who, one in by_encoder.items()},
      'score_types': {k: v for one in by_encoder.values() for k, v in _score_types(one).items()},
      'reason': {who: reasons for who, one in by_encoder.items() if (reasons := _reasons(one))},
      'notes': notes(by_encoder),
      'details': {who: one.measurement.details for who, one in by_encoder.items()},
      'figures': earlier.get(name, {}).get('figures', []),
      'seconds': round(found.seconds[name], 2),
      'settings': {flag: flags[flag] for flag in PROTOCOLS[name].settings},
    }
    for name, by_encoder in found.results.items()
  }
  return content


def _is_of_the_same(old: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
  """Whether two evaluations are of the same encoder, data and settings."""
  hashes = ('weights_sha256', 'data_sha256')
  same = all(old.get(name) == content[name] for name in hashes)
  if old and 'data_sha256' not in old:
    # Version 0.1, whose hash of the weights was another one: the folder of a run holds one run.
    same = content['step'] is not None and all(old.get(n) == content[n] for n in ('step', 'data'))
  defaults, stored = config_lib.parser().render(config_lib.Config()), old.get('settings')
  return (
    same
    and isinstance(stored, Mapping)
    and all(
      stored.get(name, defaults[name]) == value for name, value in content['settings'].items()
    )
  )


def _protocols(old: Mapping[str, Any]) -> dict[str, Any]:
  """The results of an evaluation by today's names of their protocols, each with its settings."""
  found, stored, protocols = {}, old.get('settings'), old.get('protocols')
  if not isinstance(protocols, Mapping) or not isinstance(stored, Mapping):
    return {}
  for word, one in protocols.items():
    if not isinstance(one, Mapping) or not isinstance(one.get('scores'), Mapping):
      continue
    name = canonical_name(word)
    reads = PROTOCOLS[name].settings if name in PROTOCOLS else ()
    found[name] = {'settings': {flag: stored[flag] for flag in reads if flag in stored}, **one}
  return found


def notes(by_encoder: Mapping[str, Result]) -> list[str]:
  """What a protocol did otherwise than the defaults say, and why some numbers are left out."""
  lines = dict.fromkeys(line for one in by_encoder.values() for line in one.measurement.notes)
  left_out: dict[str, dict[str, None]] = {}
  for one in by_encoder.values():
    for name, reason in _reasons(one).items():
      left_out.setdefault(reason, {})[name] = None
  return [*lines, *(f'{", ".join(names)}: {reason}' for reason, names in left_out.items())]


def _reasons(one: Result) -> dict[str, str]:
  return {n: score.reason for n, score in one.measurement.scores.items() if score.reason}


def _scores(one: Result) -> dict[str, float | None]:
  return {
    name: None if score.reason else score.value for name, score in one.measurement.scores.items()
  }


def _score_types(one: Result) -> dict[str, dict[str, Any]]:
  return {
    name: {'percent': score.percent, 'better': score.better}
    for name, score in one.measurement.scores.items()
  }


def _drawn(
  protocol: str, by_encoder: Mapping[str, Result], log: Callable[[str], None]
) -> list[Figure]:
  """The figures of a protocol; a line is logged where they cannot be drawn."""
  draw = PROTOCOLS[protocol].draw
  try:
    return list(draw(by_encoder)) if draw is not None and by_encoder else []
  except ModuleNotFoundError as error:
    log(f'pictures  of {protocol} left out: {error.name} is not installed')
  except ValueError as error:
    log(f'pictures  of {protocol} left out: {" ".join(str(error).split())}')
  return []


def _make_folder(target: pathlib.Path) -> None:
  try:
    target.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f'--run_dir: {target} cannot be made ({error.strerror})') from error
