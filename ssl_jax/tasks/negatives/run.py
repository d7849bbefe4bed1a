"""`--task=negatives`: bounds and collisions measured on runs, or planned from class sizes alone."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError, flags_of
from ssl_jax.reporting import (
  Figure,
  Table,
  collect_versions,
  describe_devices,
  render_report,
  tables,
)
from ssl_jax.tasks.negatives import class_counts, figures, planner
from ssl_jax.tasks.negatives.features import HeadFeatures
from ssl_jax.tasks.negatives.study import (
  Study,
  control_table,
  joined,
  measure,
  terms_table,
  upper_table,
)
from ssl_jax.tasks.protocols.context import describe_labels, labeled_only
from ssl_jax.tasks.run import folder
from ssl_jax.tasks.run.stored import StoredRun, open_run
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.atomic import atomic_write
from ssl_jax.training.json_file import read_json

FOLDER = 'negatives'


def negatives(config: Config) -> int:
  """Studies the run in `run_dir`, or all runs below it; plans without a run for `class_counts`.

  Raises:
    UsageError: a setting is refused.
    OSError: data cannot be read, or the folder cannot be written.
  """
  if jax.process_count() > 1:
    raise UsageError('--devices.num_processes: found more than 1, must be 1 for --task=negatives')
  log = lambda line: print(line, flush=True)
  if config.class_counts:
    return _plan(config, log)
  if not config.run_dir:
    raise UsageError(
      '--run_dir: found nothing, must be the folder of a run; or plan without one by --class_counts'
    )
  runs = _runs_below(pathlib.Path(config.run_dir))
  return _sweep(config, runs, log) if runs else _study(config, log)


def _runs_below(path: pathlib.Path) -> list[pathlib.Path]:
  """The runs in a folder that is not a run itself."""
  if (path / folder.CONFIG).is_file() or not path.is_dir():
    return []
  return sorted(below.parent for below in path.glob(f'*/{folder.CONFIG}'))


def _plan(config: Config, log: Callable[[str], None]) -> int:
  """Coverage, collisions and bounds of batches, from class sizes alone."""
  sizes = planner.ClassSizes('the training images', class_counts.read(config.class_counts))
  if sizes.classes < 2:
    raise UsageError(
      f'--class_counts: found {config.class_counts}, a single class, must be two or more'
    )
  run_dir = pathlib.Path(config.run_dir or f'runs/negatives-{_word(config.class_counts)}')
  if (run_dir / folder.CONFIG).exists():
    raise UsageError(
      f'--class_counts: found {config.class_counts} and a run in {run_dir}, must be left out to '
      'study the run, or planned in another folder'
    )
  marked = config.data.batch_size
  if marked > sizes.images:
    raise UsageError(
      f'--data.batch_size: found {marked}, must be at most {sizes.images}, all images there are'
    )
  batches = _batches(config, sizes, marked, 'all images there are')
  shown = [
    planner.coupon_table(sizes),
    planner.batch_table(sizes, batches, marked, 'planned'),
    planner.minima_table(sizes, batches, marked, 'planned'),
  ]
  words = planner.sentences(sizes, marked)
  drawn = figures.planned(sizes, batches, shown, marked)
  return _publish(
    run_dir / FOLDER,
    shown,
    words,
    drawn if config.report.html else None,
    log,
    title=f'Negatives for {sizes.classes:,} classes',
    summary={
      'classes': f'{sizes.classes:,}',
      'images': f'{sizes.images:,}',
      'smallest and largest class': f'{sizes.counts.min():,} and {sizes.counts.max():,}',
      'batch planned': f'{marked:,}',
    },
    config_text=f'--task=negatives\n--class_counts={config.class_counts}\n',
  )


def _study(config: Config, log: Callable[[str], None]) -> int:
  """The terms of the bounds, measured with the encoder of a run."""
  run = open_run(config, log=log)
  own = run.experiment.config
  study, timings = _measure(run, log)
  return _publish(
    run.path / FOLDER,
    _study_tables(study),
    [planner.in_words(study.sizes, study.marked)],
    figures.measured(study) if config.report.html else None,
    log,
    title=f'Negatives of {own.method.name} on {own.source_name}',
    summary={'run': run.path, 'step': f'{run.step:,}', **_facts(run, study)},
    config_text=config_lib.to_flags(own),
    timings=timings,
  )


def _sweep(config: Config, runs: Sequence[pathlib.Path], log: Callable[[str], None]) -> int:
  """The terms of the bounds of several runs, each with the K that it was trained with."""
  studies, timings = {}, dict.fromkeys(('features', 'bounds'), 0.0)
  for path in runs:
    run = open_run(dataclasses.replace(config, run_dir=str(path)), log=log)
    studies[path.name], spent = _measure(run, log, own_batch=True)
    timings = {name: timings[name] + spent[name] for name in timings}
  with flags_of(''):
    study = joined(studies)
  return _publish(
    pathlib.Path(config.run_dir) / FOLDER,
    _study_tables(study),
    [planner.in_words(study.sizes, batch) for batch in study.batches],
    figures.measured(study) if config.report.html else None,
    log,
    title=f'Negatives of {len(runs)} runs on {run.experiment.config.source_name}',
    summary={'runs': ', '.join(study.names), **_facts(run, study)},
    timings=timings,
  )


def _measure(
  run: StoredRun, log: Callable[[str], None], *, own_batch: bool = False
) -> tuple[Study, dict[str, float]]:
  """The study of one run, and its seconds; with `own_batch` of its own batch size alone."""
  experiment = run.experiment
  if words := describe_labels(experiment.dataset):
    log(f'labels    of {words}: those are studied')
  # Without unlabeled images, which are of no class.
  labeled = dataclasses.replace(experiment, dataset=labeled_only(experiment.dataset))
  run = run._replace(experiment=labeled)
  config, dataset = run.experiment.config, run.experiment.dataset
  method, settings = run.experiment.method, config.negatives
  log(f'run       {run.path}, step {run.step:,}')
  log(f'data      {dataset.describe()}')
  train_labels, test_labels = _labels(run)
  name = f'the test images of {config.source_name}'
  sizes = planner.ClassSizes(name, np.bincount(test_labels).astype(np.int64))
  marked = getattr(method, 'group_size', 0) or config.data.batch_size
  drawn = getattr(method, 'num_negatives', 0)  # apart from the size of the batch
  if own_batch and drawn:
    marked = drawn + 1
  if own_batch and marked > sizes.images:
    raise UsageError(
      f'--run_dir: found batches of {marked} in {run.path}, must be at most {sizes.images}, '
      'all test images'
    )
  batches = _batches(config, sizes, marked, 'all test images')
  control = settings.control_batch_size or (marked if own_batch else batches[-1])
  if control > sizes.images:
    allowed = f'at most {sizes.images}, the test images'
    raise UsageError(f'--negatives.control_batch_size: found {control}, must be {allowed}')
  numbers = settings.num_negatives or tuple(b - 1 for b in batches if b < control)
  for number in settings.num_negatives if not own_batch else ():
    if number >= control:
      raise UsageError(
        f"--negatives.num_negatives: found {number}, must be below {control}, the control's batch"
      )

  target = run.path / FOLDER
  target.mkdir(exist_ok=True)
  start = time.perf_counter()
  with flags_of('negatives', settings):
    behind_head = HeadFeatures(run, settings.mean_feature_passes, log)
    features = behind_head.of_views(settings.epochs)
    linear = behind_head.linear_accuracies() if settings.linear else ()
  known = time.perf_counter()
  with flags_of('negatives', settings):
    study = measure(
      features,
      train_labels,
      test_labels,
      name=name,
      batches=(marked,) if own_batch else batches,
      control_batch=control,
      num_negatives=[number for number in numbers if number < control],
      marked=marked,
      temperature=settings.temperature or getattr(method, 'temperature', 0.5),
      seed=config.seed,
      knn=_knn(run.path),
      linear=linear,
      sharding=mesh_lib.split(run.experiment.mesh) if run.experiment.mesh.size > 1 else None,
    )
  end = time.perf_counter()
  log(f'time      features {known - start:.1f} s, bounds {end - known:.1f} s')
  return study, {'features': known - start, 'bounds': end - known}


def _study_tables(study: Study) -> list[Table]:
  shown = [
    planner.coupon_table(study.sizes),
    terms_table(study),
    upper_table(study),
  ]
  control = control_table(study)
  return shown if control is None else [*shown, control]


def _facts(run: StoredRun, study: Study) -> dict[str, Any]:
  return {
    'data': run.experiment.dataset.describe(),
    'temperature': study.bounds[0].temperature,
    'views behind a mean': 2 * run.experiment.config.negatives.mean_feature_passes,
    'epochs': study.epochs,
  }


def _publish(
  target: pathlib.Path,
  shown: Sequence[Table],
  words: Sequence[str],
  drawn: Callable[[], list[Figure]] | None,
  log: Callable[[str], None],
  **facts: Any,
) -> int:
  """Logs the tables; writes them as CSV and, with the figures that `drawn` makes, as a page."""
  for table in shown:
    log('\n' + tables.as_text(table))
  log('')
  for line in words:
    log(textwrap.fill(line, 100))
  try:
    target.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f'--run_dir: {target} cannot be made ({error.strerror})') from error
  log('')
  for table in shown:
    short = table.heading.partition('.')[0].lower()
    atomic_write(target / f'{short}.csv', tables.as_csv(table))
    log(f'table     {target / f"{short}.csv"}')
  if drawn is None:
    return 0
  try:
    pictures = drawn()
  except ModuleNotFoundError as error:
    log(f'pictures  left out: {error.name} is not installed')
    pictures = []
  page = render_report(
    figures=pictures,
    tables=shown,
    lead=' '.join(words),
    versions=collect_versions(),
    devices=describe_devices(),
    **facts,
  )
  atomic_write(target / 'negatives.html', page)
  log(f'report    {target / "negatives.html"}')
  return 0


def _batches(config: Config, sizes: planner.ClassSizes, marked: int, limit: str) -> list[int]:
  """K+1 of each column, rising."""
  wanted = sorted(set(config.negatives.batch_sizes))
  for size in wanted:
    if size > sizes.images:
      raise UsageError(
        f'--negatives.batch_sizes: found {size}, must be at most {sizes.images}, {limit}'
      )
  fitting = [size for size in planner.batch_sizes(sizes, marked) if size <= sizes.images]
  return wanted or fitting or [sizes.images]


def _labels(run: StoredRun) -> tuple[np.ndarray, np.ndarray]:
  """Training and test labels, of the same classes without a gap."""
  dataset, source = run.experiment.dataset, run.experiment.config.data.source
  if dataset.train.labels is None or dataset.test.labels is None or not len(dataset.test):
    lacking = 'no labels' if dataset.train.labels is None else 'no labeled test images'
    raise UsageError(
      f'--data.source: found {source} with {lacking}, must be labeled for --task=negatives; '
      'or plan by --class_counts'
    )
  train, test = dataset.train.labels, dataset.test.labels
  train_classes, test_classes = np.unique(train), np.unique(test)
  if len(train_classes) < 2:
    raise UsageError(
      f'--data.source: found {source} with a single class, must be at least 2 for --task=negatives'
    )
  if not np.array_equal(train_classes, test_classes):
    raise UsageError(
      f'--data.source: found {len(train_classes)} classes in the training images of {source} and '
      f'{len(test_classes)} in its test images, must be the same'
    )
  # Labels may leave numbers out; classes here are counted without a gap.
  return np.searchsorted(train_classes, train), np.searchsorted(test_classes, test)


def _knn(run_dir: pathlib.Path) -> float | None:
  """The kNN accuracy in the `result.json` of the run."""
  try:
    return float(read_json(run_dir / folder.RESULT)['knn']['trained'])
  except (KeyError, TypeError, ValueError, OverflowError):
    return None


def _word(text: str) -> str:
  """A file name from the flag."""
  word = re.sub(r'[^A-Za-z0-9]+', '-', pathlib.Path(text).stem or text).strip('-')
  return word[:40] or 'plan'
