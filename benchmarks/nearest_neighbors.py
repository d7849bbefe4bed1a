"""Time and memory of the weighted nearest-neighbor vote, `ssl_jax.evaluation.knn_predict`.

  python benchmarks/nearest_neighbors.py                      10,000 queries, 50,000 x 512, k = 200
  python benchmarks/nearest_neighbors.py --bank=1300000 --only=file
  python benchmarks/nearest_neighbors.py --out=benchmarks/results/NAME.json

`whole` keeps the bank on the device, with the default number of queries at once; `whole_1024` takes
1,024 of them; `file` reads the bank part by part from a file mapped into memory.
Each is measured in a process of its own, whose peak resident memory is printed: Python, JAX, bank
and queries included, and of a mapped file what the system has kept. The default takes few queries
at once on the CPU: above 32 MiB an array is new memory each time on Linux, its first touch costs a
fifth of the search; `file` takes many, because it reads the bank once for every chunk of them. The
seconds are medians over rounds after a first, which compiles and is printed too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np

# Queries, and rows of the bank, at once.
WAYS = {'whole': (None, None), 'whole_1024': (1024, None), 'file': (1024, 16_384)}
CLASSES = 100
ROWS = 8192  # of the bank made at once


def make_bank(rows: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> None:
  """Fills in random rows around the center of their class, a few at a time."""
  generator = np.random.default_rng(0)
  for start in range(0, len(rows), ROWS):
    part = rows[start : start + ROWS]
    part[:] = generator.standard_normal(part.shape, np.float32)
    part += centers[labels[start : start + ROWS]]


def measure(way: str, settings: dict[str, Any]) -> dict[str, Any]:
  """One way, in the process that calls this."""
  from ssl_jax import evaluation

  chunk_size, bank_chunk_size = WAYS[way]
  generator = np.random.default_rng(1)
  count, dim = settings['bank'], settings['dim']
  centers = generator.standard_normal((CLASSES, dim), np.float32) / 4
  labels = generator.integers(0, CLASSES, count)
  truth = generator.integers(0, CLASSES, settings['queries'])
  queries = generator.standard_normal((settings['queries'], dim), np.float32) + centers[truth]
  with tempfile.TemporaryFile() as file:
    bank = (
      np.empty((count, dim), np.float32)
      if way != 'file'
      else np.memmap(file, np.float32, 'w+', shape=(count, dim))
    )
    make_bank(bank, labels, centers)
    seconds = []
    for _ in range(settings['rounds'] + 1):
      begin = time.perf_counter()
      found = evaluation.knn_predict(
        bank,
        labels,
        queries,
        k=settings['k'],
        chunk_size=chunk_size,
        bank_chunk_size=bank_chunk_size,
      )
      seconds.append(time.perf_counter() - begin)
  first, *rest = seconds
  return {
    'way': way,
    'chunk_size': chunk_size,
    'bank_chunk_size': bank_chunk_size,
    's': round(statistics.median(rest), 2),
    's_spread': [round(f(rest), 2) for f in (min, max)],
    'first_s': round(first, 2),
    'peak_resident_mib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    'accuracy': round(float(np.mean(found == truth)), 4),
  }


def table(rows: list[dict[str, Any]]) -> str:
  """For a terminal or a page."""
  lines = ['| bank | time | first | peak resident memory | accuracy |', '|---|---|---|---|---|']
  for row in rows:
    low, high = row['s_spread']
    lines.append(
      f'| {row["way"]} | {row["s"]:.1f} s ({low:.1f} to {high:.1f}) | {row["first_s"]:.1f} s '
      f'| {row["peak_resident_mib"]:,} MiB | {row["accuracy"]:.4f} |'
    )
  return '\n'.join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--bank', type=int, default=50_000, help='rows')
  parser.add_argument('--queries', type=int, default=10_000)
  parser.add_argument('--dim', type=int, default=512)
  parser.add_argument('--k', type=int, default=200)
  parser.add_argument('--only', default=','.join(WAYS), help='ways')
  parser.add_argument('--rounds', type=int, default=3, help='the median over these is printed')
  parser.add_argument('--out', type=pathlib.Path, help='also write the figures as JSON')
  options = parser.parse_args(arguments)
  if unknown := set(options.only.split(',')) - set(WAYS):
    parser.error(f'--only: found {",".join(sorted(unknown))}, must be of {",".join(WAYS)}')
  return options


def main(arguments: list[str] | None = None) -> None:
  options = parse(arguments)
  settings = {name: getattr(options, name) for name in ('bank', 'queries', 'dim', 'k', 'rounds')}
  rows = []
  for way in options.only.split(','):
    # Spawned, not forked, and one process each: a peak is one of the process's whole life.
    with multiprocessing.get_context('spawn').Pool(1) as pool:
      rows.append(pool.apply(measure, (way, settings)))
  print(table(rows))
  if options.out:
    from losses import commit  # its neighbor in this folder

    from ssl_jax import reporting

    facts = {
      'devices': reporting.describe_devices(),
      'versions': reporting.collect_versions(),
      'commit': commit(),
      **settings,
      'rows': rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=2) + '\n')


if __name__ == '__main__':
  main()
