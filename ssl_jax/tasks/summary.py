"""What a finished run has to say: `result.json`, and the lines printed at its end."""

from __future__ import annotations

import pathlib
import statistics
from typing import Any

from ssl_jax.reporting import collect_versions, describe_devices, read_metrics
from ssl_jax.tasks.assembly import Assembly

_NAMES = {
  'trained': 'trained encoder, last step',
  'random_init': 'same encoder, untrained',
  'pixels': 'raw pixels',
}


def summarize(
  parts: Assembly,
  k: int,
  knn: dict[str, float],
  representation: dict[str, dict[str, float]],
  seconds: dict[str, float],
  metrics: pathlib.Path,
) -> dict[str, Any]:
  """The result of a run as plain numbers and words.

  Args:
    parts: the run.
    k: neighbours that voted.
    knn: accuracies in [0, 1] by what they are of; empty without labels.
    representation: meters of test features by what they are of; empty without labels.
    seconds: where the time of this process went.
    metrics: the run's `metrics.jsonl`.
  """
  config = parts.config
  rows = read_metrics(metrics)
  rates = [row['images_per_second'] for row in rows if 'images_per_second' in row]
  last = next((row for row in reversed(rows) if 'loss' in row), {})
  return {
    'method': config.method.name,
    'data': parts.dataset.describe(),
    'seed': config.seed,
    'steps': parts.total_steps,
    'epochs': round(parts.total_steps / parts.steps_per_epoch, 3),
    'knn': {**knn, 'k': k, 'temperature': config.knn.temperature} if knn else {},
    'representation': representation,
    'last_metrics': {name: last[name] for name in sorted(last) if name not in ('time', 'step')},
    'images_per_second': round(statistics.median(rates), 1) if rates else None,
    'seconds': {name: round(value, 2) for name, value in seconds.items()},
    'devices': describe_devices(),
    'versions': collect_versions(),
  }


def lines(result: dict[str, Any]) -> list[str]:
  """The result for a terminal."""
  shown = []
  if knn := result['knn']:
    shown.append(f'kNN       k = {knn["k"]}, temperature = {knn["temperature"]}, test images')
    shown += [f'  {_NAMES[name]:<28}{100 * knn[name]:6.2f} %' for name in _NAMES if name in knn]
  shown += [
    f'  {_NAMES[name]:<28}crowding {meters["crowding_ratio"]:.3f}, '
    f'uniformity {meters["uniformity"]:.2f}, spread {meters["feature_std"]:.2f}'
    for name, meters in result['representation'].items()
  ]
  if result['images_per_second']:
    shown.append(f'speed     {result["images_per_second"]:,.0f} images/s (median of the intervals)')
  spent = ', '.join(f'{name} {value:.1f} s' for name, value in result['seconds'].items() if value)
  shown.append(f'time      {spent}')
  return shown
