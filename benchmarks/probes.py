"""Our probes beside scikit-learn's logistic regression, on the features of an evaluated run.

  python experiments/run.py --task=evaluate --run_dir=RUN --protocols=knn
  python benchmarks/probes.py RUN
  python benchmarks/probes.py RUN --data.source=npz:MOVED.npz --out=benchmarks/results/NAME.json

Features are standardized for all of them; scikit-learn's penalty is its default, C = 1, 1/n
of ours. Seconds are of one call each, compilation included, one after the other in one process.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from ssl_jax import config as config_lib
from ssl_jax import evaluation, reporting
from ssl_jax.tasks.protocols import feature_cache
from ssl_jax.tasks.run import folder


def main(arguments: list[str]) -> None:
  run = pathlib.Path(arguments[0])
  out = [one.removeprefix('--out=') for one in arguments[1:] if one.startswith('--out=')]
  flags = [one for one in arguments[1:] if not one.startswith('--out=')]
  settings = config_lib.parse([f'--flagfile={run / folder.CONFIG}', *flags]).data
  dataset = settings.load()
  train, test = (features(run, split) for split in ('train', 'test'))
  labels, wanted = dataset.train.labels, dataset.test.labels
  if labels is None or wanted is None:
    sys.exit(f'{run}: found images without labels')
  print(f'{dataset.describe()}; {train.shape[1]} features')
  rows = [measure(name, way) for name, way in ways(train, labels, test, wanted).items()]
  if out:
    facts = {
      'run': run.name,
      'data': dataset.describe(),
      'features': train.shape[1],
      'devices': reporting.describe_devices(),
      'versions': reporting.collect_versions(),
      'rows': rows,
    }
    pathlib.Path(out[0]).write_text(json.dumps(facts, indent=2) + '\n')


def features(run: pathlib.Path, split: str) -> np.ndarray:
  found = sorted((run / feature_cache.FOLDER).glob(f'trained-{split}-encoder-*.npy'))
  if len(found) != 1:
    sys.exit(f'{run}: found {len(found)} files of {split} features, must be 1: evaluate it first')
  return np.load(found[0])


def ways(
  train: np.ndarray, labels: np.ndarray, test: np.ndarray, wanted: np.ndarray
) -> dict[str, Callable[[], float]]:
  """Accuracies by name."""

  def reference() -> float:
    from sklearn.linear_model import LogisticRegression

    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation == 0] = 1
    # Its default tolerance stops it early.
    model = LogisticRegression(max_iter=5000, tol=1e-8).fit((train - mean) / deviation, labels)
    return float(model.score((test - mean) / deviation, wanted))

  both = (train, labels, test, wanted)
  return {
    'scikit-learn, C=1': reference,
    'linear_probe, grid': lambda: (
      evaluation.linear_probe(*both, recipe=evaluation.PRESETS['grid']).accuracy
    ),
    'logistic_probe': lambda: evaluation.logistic_probe(*both).accuracy,
    'ridge_probe': lambda: evaluation.ridge_probe(*both).accuracy,
  }


def measure(name: str, way: Callable[[], float]) -> dict[str, float | str]:
  start = time.perf_counter()
  accuracy = way()
  seconds = time.perf_counter() - start
  print(f'{name:<22}{100 * accuracy:6.2f} %  {seconds:6.1f} s', flush=True)
  return {'name': name, 'accuracy': accuracy, 'seconds': round(seconds, 2)}


if __name__ == '__main__':
  main(sys.argv[1:])
