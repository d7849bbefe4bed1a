"""The result of a pre-training: its numbers, its log lines and the figures of its report."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import shlex
import statistics
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import data, evaluation, views
from ssl_jax.config.help import program_name
from ssl_jax.reporting import (
  Figure,
  collect_versions,
  describe_devices,
  figures,
  read_metrics,
  tables,
)
from ssl_jax.tasks.online_evaluation import OnlineEvaluation
from ssl_jax.tasks.run import folder
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training import TrainState

_SHOWN_IMAGES = 10
_SHOWN_POINTS = 1000
_SHOWN_NEIGHBORS = 8
_FEWEST_POINTS = 3


@dataclasses.dataclass(frozen=True)
class ReportData:
  """Features of training images (the bank) and of test images; of training images without a test
  split.

  Attributes:
    bank: rows of the training split.
    bank_features: float32 [bank, dim].
    queries: rows of the split whose images are shown.
    query_features: float32 [query, dim].
    held_out: whether the queries are rows of the test split.
  """

  bank: np.ndarray
  bank_features: np.ndarray
  queries: np.ndarray
  query_features: np.ndarray
  held_out: bool


def collect(experiment: Experiment, online: OnlineEvaluation, state: TrainState) -> ReportData:
  """Encodes up to 10,000 training and 1,000 test images; a collective of all processes."""
  dataset = experiment.dataset
  shown = dataset.test if dataset.test is not None and len(dataset.test) else dataset.train
  rng = np.random.default_rng(0)
  choose = lambda source, most: np.sort(rng.permutation(len(source))[:most])
  bank, queries = choose(dataset.train, 10_000), choose(shown, _SHOWN_POINTS)
  return ReportData(
    bank,
    online.features(state, dataset.train.subset(bank)),
    queries,
    online.features(state, shown.subset(queries)),
    held_out=shown is dataset.test,
  )


def draw(
  experiment: Experiment, shown: ReportData, knn: dict[str, float], metrics: pathlib.Path
) -> Iterator[Figure]:
  """The figures of the report.

  Args:
    experiment: the run.
    shown: from `collect`.
    knn: that of the result, for the baselines of its curve.
    metrics: the run's `metrics.jsonl`.

  Raises:
    ModuleNotFoundError: matplotlib or scikit-learn is not installed.
  """
  rows = read_metrics(metrics)
  if any('loss' in row for row in rows):
    caption = 'Means over each logging interval.'
    yield Figure('Loss', caption, figures.loss_curves(rows))
  if any(math.isfinite(row.get('knn', math.nan)) for row in rows):
    baselines = {'random init': knn['random_init'], 'raw pixels': knn['pixels']}
    caption = 'Weighted kNN on test images; the dashed lines are its baselines.'
    yield Figure('kNN over time', caption, figures.knn_curve(rows, baselines))
  if any('/' in name and math.isfinite(row[name]) for row in rows for name in row):
    caption = 'Scores of --online_metrics.names, of the same test images each time.'
    yield Figure('Online metrics', caption, figures.protocol_curves(rows))
  yield Figure('What the model sees', *_contact_sheet(experiment), photographic=True)
  labeled = _labels(experiment, shown) is not None
  caption = f't-SNE of features of {_split(shown)}{", colored by label" if labeled else ""}.'
  caption += figures.class_key(experiment.dataset.class_names) if labeled else ''
  if len(shown.queries) >= _FEWEST_POINTS:
    yield Figure('Embeddings', caption, _map(experiment, shown))
  caption = f'Left: some {_split(shown)}. Right: the most similar training images.'
  if labeled and experiment.dataset.train.labels is not None:
    caption += ' A solid blue frame is the same class, a dashed orange one another.'
  yield Figure('Nearest neighbors', caption, _neighbors(experiment, shown), photographic=True)
  if any('learning_rate' in row for row in rows):
    caption = 'Learning rate, gradient norm and images a second.'
    yield Figure('Optimization', caption, figures.optimizer_curves(rows))


def _split(shown: ReportData) -> str:
  return 'test images' if shown.held_out else 'training images'


def _contact_sheet(experiment: Experiment) -> tuple[str, bytes]:
  images = jnp.asarray(
    experiment.dataset.train[np.arange(min(_SHOWN_IMAGES, len(experiment.dataset.train)))]
  )
  key = jax.random.key(experiment.config.seed)
  made = views.denormalize(experiment.recipe, views.apply(experiment.recipe, key, images))
  caption = (
    f'The recipe {experiment.config.views.recipe}: each image above the views drawn of it, '
    f'{experiment.recipe.size} pixels wide.'
  )
  return caption, figures.contact_sheet(np.asarray(images), np.asarray(made))


def _map(experiment: Experiment, shown: ReportData) -> bytes:
  labels = _labels(experiment, shown)
  return figures.tsne(shown.query_features, labels, experiment.dataset.class_names)


def _neighbors(experiment: Experiment, shown: ReportData) -> bytes:
  dataset = experiment.dataset
  source = _source(experiment, shown)
  # Without a test split every image finds itself first; that one is left out.
  skip = 0 if shown.held_out else 1
  count = min(_SHOWN_NEIGHBORS + skip, len(shown.bank))
  chosen = np.random.default_rng(1).permutation(len(shown.queries))[:8]
  found, _ = evaluation.nearest_neighbors(shown.bank_features, shown.query_features[chosen], count)
  rows = shown.bank[found[:, skip:]]
  labels = _labels(experiment, shown)
  hits = None
  if labels is not None and dataset.train.labels is not None:
    hits = figures.same_class(dataset.train.labels[rows], labels[chosen])
  queries = source[shown.queries[chosen]]
  return figures.neighbor_grid(queries, dataset.train[rows], hits)


def _labels(experiment: Experiment, shown: ReportData) -> np.ndarray | None:
  labels = _source(experiment, shown).labels
  return None if labels is None else labels[shown.queries]


def _source(experiment: Experiment, shown: ReportData) -> data.ArraySource:
  source = experiment.dataset.test if shown.held_out else experiment.dataset.train
  assert source is not None
  return source


_NAMES = {
  'trained': 'trained encoder, last step',
  'init_from': 'given weights, at the start',
  'random_init': 'same encoder, untrained',
  'pixels': 'raw pixels',
}


def summarize(
  experiment: Experiment,
  k: int,
  knn: dict[str, float],
  representation: dict[str, dict[str, float]],
  reason: dict[str, str],
  seconds: dict[str, float],
  metrics: pathlib.Path,
) -> dict[str, Any]:
  """The content of `result.json`.

  Args:
    experiment: the run.
    k: neighbors that voted.
    knn: accuracies in [0, 1] by encoder ('trained', 'random_init', 'pixels', 'init_from'); empty
      without labels.
    representation: metrics of test features by encoder; empty without labels.
    reason: by number, why it is not finite, or is not measured although there are labels.
    seconds: by phase.
    metrics: the run's `metrics.jsonl`.
  """
  config = experiment.config
  rows = read_metrics(metrics)
  rates = [row['images_per_second'] for row in rows if 'images_per_second' in row]
  last = next((row for row in reversed(rows) if 'loss' in row), {})
  return {
    'method': config.method.name,
    'data': experiment.dataset.describe(),
    'data_sha256': experiment.fingerprint.sha256,
    'seed': config.seed,
    'steps': experiment.total_steps,
    'epochs': round(experiment.total_steps / experiment.steps_per_epoch, 3),
    'extend': list(config.extend),
    'knn': {**knn, 'k': k, 'temperature': config.knn.temperature[0]} if knn else {},
    'representation': representation,
    'reason': reason,
    'last_metrics': {name: last[name] for name in sorted(last) if name not in ('time', 'step')},
    'images_per_second': round(statistics.median(rates), 1) if rates else None,
    'seconds': {name: round(value, 2) for name, value in seconds.items()},
    'devices': describe_devices(),
    'versions': collect_versions(),
  }


def lines(result: dict[str, Any]) -> list[str]:
  """The lines of the result that are logged."""
  shown = []
  if knn := result['knn']:
    shown.append(f'kNN       k = {knn["k"]}, temperature = {knn["temperature"]}, test images')
    shown += [
      f'  {_NAMES[name]:<28}{_show(100 * knn[name], 2):>6} %' for name in _NAMES if name in knn
    ]
  shown += [
    f'  {_NAMES[name]:<28}crowding {_show(metrics["crowding_ratio"], 3)}, '
    f'uniformity {_show(metrics["uniformity"], 2)}, spread {_show(metrics["feature_std"], 2)}'
    for name, metrics in result['representation'].items()
  ]
  shown += [f'note      {name}: {reason}' for name, reason in result['reason'].items()]
  if result['images_per_second']:
    shown.append(f'speed     {result["images_per_second"]:,.0f} images/s (median of the intervals)')
  spent = ', '.join(f'{name} {value:.1f} s' for name, value in result['seconds'].items() if value)
  shown.append(f'time      {spent}')
  return shown


def _show(number: float, digits: int) -> str:
  return f'{number:.{digits}f}' if math.isfinite(number) else tables.ABSENT


def next_steps(experiment: Experiment, run_dir: pathlib.Path) -> list[str]:
  """Commands and Python that continue from a finished run, one a line."""
  program, run = program_name(), shlex.quote(str(run_dir))
  labels = experiment.dataset.train.labels
  labeled = labels is not None and len(np.unique(labels[labels >= 0])) > 1
  protocols = 'linear,crowding,embedding' if labeled else 'spectrum,embedding'
  config = shlex.quote(str(run_dir / folder.CONFIG))
  return [
    'next',
    f'  evaluate    {program} --task=evaluate --run_dir={run} --protocols={protocols}',
    f'  own images  {program} --flagfile={config} --data.source=folder:PATH --run_dir={run}-mine',
    f'  embed       in Python: import ssl_jax; encoder = ssl_jax.load_encoder({str(run_dir)!r})',
    '              features = encoder(images)  # uint8 [n, height, width, 3] to float32 [n, dim]',
  ]
