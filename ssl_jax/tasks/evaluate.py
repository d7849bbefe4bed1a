"""`--task=evaluate`: measures a frozen encoder by protocols, or several runs side by side."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Mapping

import jax

from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks import evaluation_report
from ssl_jax.tasks.evaluation_report import Evaluation
from ssl_jax.tasks.protocols import (
  PROTOCOLS,
  TRAINED,
  UNTRAINED,
  Result,
  check_files,
  chosen_protocols,
  feature_cache,
  lacking,
)
from ssl_jax.tasks.protocols.context import EvalContext, describe_labels
from ssl_jax.tasks.protocols.feature_cache import FeatureCache
from ssl_jax.tasks.run import folder, frozen_encoder
from ssl_jax.tasks.run.experiment import build_experiment
from ssl_jax.tasks.run.stored import check_run, open_run

_PARTLY_FAILED = 2
# Errors that end one protocol and not the others: a setting or the data, a file, a package, a size.
_FAILURES = (ValueError, OSError, ModuleNotFoundError, MemoryError)


def evaluate(config: Config) -> int:
  """Measures what `--protocols` names and returns the exit status: 2 where a protocol failed.

  Raises:
    UsageError: a setting is refused.
    OSError: data or a checkpoint cannot be read, or the folder cannot be written.
  """
  if jax.process_count() > 1:
    raise UsageError('--devices.num_processes: found more than 1, must be 1 for --task=evaluate')
  log = lambda line: print(line, flush=True)
  check_files(config)
  if 'all' in config.protocols:
    for name, flag in lacking(config).items():
      log(f'note      {name}: left out of --protocols=all; it needs --{flag}')
  if config.compare:
    return _compare(config, log)
  found = _evaluate_one(config, log, baseline=config.evaluate.baseline)
  evaluation_report.publish(found, log, html=config.report.html)
  return _PARTLY_FAILED if found.failed else 0


def _compare(config: Config, log: Callable[[str], None]) -> int:
  """The same protocols on several runs, and one page of all of them."""
  if config.run_dir and (pathlib.Path(config.run_dir) / folder.CONFIG).exists():
    raise UsageError(
      f'--run_dir: found the run {config.run_dir}, must be another folder: the page of --compare '
      'goes there'
    )
  if len(set(config.compare)) < 2 or len(set(config.compare)) < len(config.compare):
    raise UsageError(
      f'--compare: found {",".join(config.compare)}, must be two different runs or more: A,B'
    )
  every = [dataclasses.replace(config, run_dir=path, compare=()) for path in config.compare]
  # All are checked before the first one is measured.
  for one in every:
    check_run(one)
  found = [_evaluate_one(one, log, baseline=False) for one in every]
  words = [pathlib.Path(path).name for path in config.compare]
  names = words if len(set(words)) == len(words) else list(config.compare)
  # File names have room for 255 bytes, which are fewer letters in other scripts.
  short = f'compare-{"-".join(words)}'.encode(errors='replace')[:115].decode(errors='ignore')
  target = pathlib.Path(config.run_dir or f'runs/{short}')
  baseline = None
  if config.evaluate.baseline:
    baseline = _evaluate_one(
      dataclasses.replace(config, run_dir=config.compare[0], compare=()), log, only=UNTRAINED
    )
  evaluation_report.publish_comparison(target, dict(zip(names, found, strict=True)), baseline, log)
  return _PARTLY_FAILED if any(one.failed for one in found) else 0


def _evaluate_one(
  config: Config, log: Callable[[str], None], *, baseline: bool = False, only: str = ''
) -> Evaluation:
  """The protocols on the encoder of a run or of a file; with `only`, on the untrained one alone."""
  if config.weights:
    experiment = build_experiment(dataclasses.replace(config, task='evaluate'), log=log)
    encoder, step = frozen_encoder.of_weights(experiment), None
    path = pathlib.Path(config.run_dir or f'runs/evaluate-{pathlib.Path(config.weights).stem}')
    if (path / folder.CONFIG).exists():
      raise UsageError(
        f'--run_dir: found the run {path} and --weights, must be one of them, or another folder'
      )
    name = config.weights
  else:
    run = open_run(config, log=log)
    experiment, step, path = run.experiment, run.step, run.path
    encoder, name = frozen_encoder.of_run(run), str(run.path)
    log(f'run       {path}, step {step:,}')
  log(f'data      {experiment.dataset.describe()}')
  if words := describe_labels(experiment.dataset):
    log(f'labels    of {words}: protocols that tell classes apart take those')
  cache = FeatureCache(path / feature_cache.FOLDER, log)
  context = lambda who, of: EvalContext(who, of, experiment.dataset, experiment.config, cache)
  contexts = [] if only == UNTRAINED else [context(TRAINED, encoder)]
  if baseline or only == UNTRAINED:
    contexts.append(context(UNTRAINED, frozen_encoder.untrained(experiment)))

  results: dict[str, dict[str, Result]] = {}
  failed: dict[str, str] = {}
  seconds: dict[str, float] = {}
  for protocol in chosen_protocols(config.protocols, lacking(config)):
    start = time.perf_counter()
    try:
      results[protocol] = {
        one.name: Result(one, PROTOCOLS[protocol].measure(one)) for one in contexts
      }
    except _FAILURES as error:
      failed[protocol] = ' '.join(str(error).split()) or type(error).__name__
      print(f'ssl-jax: protocol {protocol}: {failed[protocol]}', file=sys.stderr, flush=True)
      continue
    seconds[protocol] = time.perf_counter() - start
    log(f'protocol  {protocol}: {seconds[protocol]:.1f} s{_headline(results[protocol])}')
    for line in evaluation_report.notes(results[protocol]):
      log(f'note      {protocol}: {line}')
  if not only:
    cache.tidy()
  digest = encoder.digest(next(iter(encoder.networks)))
  return Evaluation(name, path, experiment, step, digest, results, failed, seconds)


def _headline(results: Mapping[str, Result]) -> str:
  """The first score of each encoder."""
  words = []
  for who, one in results.items():
    for name, score in list(one.measurement.scores.items())[:1]:
      number = f'{100 * score.value:.2f} %' if score.percent else f'{score.value:.4g}'
      number = 'not measured' if score.reason else number
      words.append(f'{who} {number} ({name})')
  return f', {", ".join(words)}' if words else ''
