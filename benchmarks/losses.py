"""Time and memory of value and gradient: NT-Xent, other implementations, all losses with a matrix.

  python benchmarks/losses.py                                     the sizes that fit a CPU
  python benchmarks/losses.py --batches=65536 --only=blocked      131,072 embeddings: minutes
  python benchmarks/losses.py --batches=8192 --devices=1,2,4,8    memory of each device, not time
  python benchmarks/losses.py --out=benchmarks/results/NAME.json

`whole` and `blocked` are `ssl_jax.losses` without and with a `block_size`; both return their
metrics too, as in training. `plain` is NT-Xent as one matrix product and autodiff, `optax` is
`optax.losses.ntxent`; neither has metrics. Programs are timed in turn, round by round, so that a
machine whose speed drifts treats them alike; medians are printed, and ratios are medians of the
ratios within a round. Memory is the compiled program's own figure for its temporaries. What would
take more than `--max_gib` is compiled and not run; what takes a minute is run once.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import losses, reporting
from tests.losses.cases import Batch, measured

LONG = 60.0
WAYS = ('shard_map', 'jit')
TEMPERATURE = 0.5
CASES = measured()


def plain_nt_xent(view1: jax.Array, view2: jax.Array) -> tuple[jax.Array, None]:
  """NT-Xent as it is usually written: one matrix product, autodiff for the rest."""
  z = jnp.concatenate([view1, view2])
  z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
  logits = z @ z.T / TEMPERATURE
  logits = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, logits)
  positives = jnp.sum(z * jnp.roll(z, view1.shape[0], axis=0), axis=-1) / TEMPERATURE
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positives), None


def optax_nt_xent(view1: jax.Array, view2: jax.Array) -> tuple[jax.Array, None]:
  labels = jnp.tile(jnp.arange(view1.shape[0]), 2)
  return optax.losses.ntxent(jnp.concatenate([view1, view2]), labels, TEMPERATURE), None


def versions(block_size: int) -> dict[str, Callable[..., Any]]:
  """The ways to compute NT-Xent of two views."""
  ours = functools.partial(losses.nt_xent, temperature=TEMPERATURE)
  return {
    'whole': ours,
    'blocked': functools.partial(ours, block_size=block_size),
    'plain': plain_nt_xent,
    'optax': optax_nt_xent,
  }


def inputs_like(batch: int, dim: int, dtype: str) -> Batch:
  rows = jax.ShapeDtypeStruct((batch, dim), dtype)
  labels, weights = (jax.ShapeDtypeStruct((batch,), kind) for kind in ('int32', 'float32'))
  return Batch(rows, rows, rows, rows, labels, weights)


def random_inputs(batch: int, dim: int, dtype: str) -> Batch:
  """Two views that are alike, as those of a trained encoder, and ten classes."""
  generator = np.random.default_rng(0)
  image, noise1, noise2, other = generator.normal(size=(4, batch, dim))
  return Batch(
    view1=jnp.asarray(image + noise1, dtype),
    view2=jnp.asarray(image + noise2, dtype),
    target1=jnp.asarray(other, dtype),
    target2=jnp.asarray(other, dtype),
    labels=jnp.asarray(generator.integers(0, 10, batch), jnp.int32),
    weights=jnp.asarray(generator.uniform(0.5, 2, batch), jnp.float32),
  )


def compile_gradient(call: Callable[[Batch], Any], like: Batch) -> Any:
  """The compiled value and gradient of a loss, with its metrics; nothing is allocated."""

  def loss(view1: Any, view2: Any, rest: Batch) -> Any:
    return call(rest._replace(view1=view1, view2=view2))

  gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  return jax.jit(gradient).lower(like.view1, like.view2, like).compile()


def temporary_bytes(compiled: Any) -> int:
  """What a compiled program needs beside its arguments and results."""
  return compiled.memory_analysis().temp_size_in_bytes


def measure(
  calls: Mapping[str, Callable[..., Any]], size: tuple[int, int, str], options: Any
) -> dict[str, dict[str, Any]]:
  """Compiles all, and times in turn those that are small enough: a row for each."""
  like = inputs_like(*size)
  rows: dict[str, dict[str, Any]] = {}
  runs: dict[str, Callable[[], Any]] = {}
  arrays = random_inputs(*size)
  for name, call in calls.items():
    begin = time.perf_counter()
    compiled = compile_gradient(call, like)
    num_bytes = temporary_bytes(compiled)
    rows[name] = {
      'compile_s': round(time.perf_counter() - begin, 2),
      'temporary_mib': round(num_bytes / 2**20, 1),
    }
    if num_bytes <= options.max_gib * 2**30:
      runs[name] = functools.partial(compiled, arrays.view1, arrays.view2, arrays)

  times: dict[str, list[float]] = {name: [] for name in runs}
  repeats = {}
  for name, run in runs.items():
    once, ((loss, _), _) = timed(run)
    rows[name]['loss'] = float(loss)
    if once > LONG:
      times[name].append(once)
    else:
      once, _ = timed(run)
      repeats[name] = max(1, round(options.seconds / once))
  for _ in range(options.rounds):
    for name, repeat in repeats.items():
      times[name].append(statistics.mean(timed(runs[name])[0] for _ in range(repeat)))
  base = times.get('whole')
  for name, seconds in times.items():
    rows[name]['ms'] = round(1000 * statistics.median(seconds), 2)
    rows[name]['ms_spread'] = [round(1000 * f(seconds), 2) for f in (min, max)]
    if base:
      ratios = [x / y for x, y in zip(seconds, base, strict=False)]
      rows[name]['time_over_whole'] = round(statistics.median(ratios), 3)
  return rows


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
  """The seconds until the result is there, and the result."""
  begin = time.perf_counter()
  result = jax.block_until_ready(run())
  return time.perf_counter() - begin, result


def measure_versions(batch: int, options: Any) -> list[dict[str, Any]]:
  """NT-Xent at one batch, each way that was asked for."""
  chosen = versions(options.block_size)
  calls = {
    name: lambda x, f=f: f(x.view1, x.view2)
    for name, f in chosen.items()
    if name in options.only.split(',')
  }
  rows = measure(calls, (batch, options.dim, options.dtype), options)
  if 'whole' in rows:
    for row in rows.values():
      whole_mib = max(rows['whole']['temporary_mib'], 0.1)
      row['memory_over_whole'] = round(row['temporary_mib'] / whole_mib, 3)
  return [{'batch': batch, 'version': name, **row} for name, row in rows.items()]


def measure_case(name: str, options: Any) -> dict[str, Any]:
  """One loss of the catalog, whole and blocked."""
  batch, case = options.catalog_batch, CASES[name]
  calls: dict[str, Callable[..., Any]] = {
    'whole': case.call,
    'blocked': functools.partial(case.call, block_size=options.block_size),
  }
  rows = measure(calls, (batch, options.dim, options.dtype), options)
  assert case.matrix is not None
  matrix_mib = case.matrix.elements(batch, options.dim) * 4 / 2**20
  for row in rows.values():
    row['matrices'] = round(row['temporary_mib'] / matrix_mib, 2)
  return {'loss': name, 'batch': batch, 'matrix_mib': matrix_mib, **rows}


def compile_on_devices(
  way: str, name: str, num_devices: int, size: tuple[int, int, str], block_size: int
) -> Any:
  """`compile_gradient` of a loss in blocks with rows split over devices, by `WAYS`."""
  devices = jax.devices()[:num_devices]
  mesh = jax.make_mesh((num_devices,), ('data',), (AxisType.Auto,), devices=devices)
  split, whole = PartitionSpec('data'), PartitionSpec()
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, split)),
    inputs_like(*size),
  )
  axis = {'axis_name': 'data'} if way == 'shard_map' else {}

  def gradient(x: Batch) -> Any:
    def loss(view1: Any, view2: Any) -> Any:
      inputs = x._replace(view1=view1, view2=view2)
      return CASES[name].call(inputs, block_size=block_size, **axis)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x.view1, x.view2)

  if way == 'shard_map':
    gradient = jax.shard_map(gradient, mesh=mesh, in_specs=split, out_specs=(whole, split))
  return jax.jit(gradient).lower(like).compile()


def devices_table(batches: list[int], counts: list[int], options: Any) -> str:
  """What each device needs for NT-Xent in blocks, for a terminal or a page."""
  head = ' | '.join(['images, devices', *(f'on {count}' for count in counts)])
  lines = [f'| {head} |', '|---' * (1 + len(counts)) + '|']
  for batch in batches:
    size = batch, options.dim, options.dtype
    for way in WAYS:
      compiled = [
        compile_on_devices(way, 'nt_xent', count, size, options.block_size) for count in counts
      ]
      memory = ' | '.join(f'{temporary_bytes(x) / 2**20:,.0f} MiB' for x in compiled)
      lines.append(f'| {batch:,}, `{way}` | {memory} |')
  return '\n'.join(lines)


def milliseconds(row: dict[str, Any]) -> str:
  if 'ms' not in row:
    return f'needs {row["temporary_mib"] / 1024:,.1f} GiB, not run'
  low, high = row['ms_spread']
  digits = 0 if row['ms'] >= 100 else 1
  return f'{row["ms"]:,.{digits}f} ms ({low:,.{digits}f} to {high:,.{digits}f})'


def ratio(row: dict[str, Any], key: str) -> str:
  return f'{row[key]:.2f}' if key in row else ''


def versions_table(rows: list[dict[str, Any]]) -> str:
  """NT-Xent for a terminal or a page."""
  head = '| batch | version | time | over whole | memory | over whole | value - whole |'
  lines = [head, '|---|---|---|---|---|---|---|']
  whole = {row['batch']: row.get('loss') for row in rows if row['version'] == 'whole'}
  for row in rows:
    base = whole.get(row['batch'])
    gap = f'{row["loss"] - base:.1e}' if base is not None and 'loss' in row else ''
    lines.append(
      f'| {row["batch"]:,} | {row["version"]} | {milliseconds(row)} '
      f'| {ratio(row, "time_over_whole")} | {row["temporary_mib"]:,.0f} MiB '
      f'| {ratio(row, "memory_over_whole")} | {gap} |'
    )
  return '\n'.join(lines)


def catalog_table(rows: list[dict[str, Any]]) -> str:
  """Every loss with a matrix, for a terminal or a page."""
  head = (
    '| loss | whole | blocked | blocked / whole | whole, memory | in matrices '
    '| blocked, memory | in matrices |'
  )
  lines = [head, '|---|---|---|---|---|---|---|---|']
  for row in rows:
    whole, blocked = row['whole'], row['blocked']
    memory = ' | '.join(
      f'{part["temporary_mib"]:,.0f} MiB | {part["matrices"]:.2f}' for part in (whole, blocked)
    )
    lines.append(
      f'| `{row["loss"]}` | {milliseconds(whole)} | {milliseconds(blocked)} '
      f'| {ratio(blocked, "time_over_whole")} | {memory} |'
    )
  return '\n'.join(lines)


def commit() -> str:
  """The commit that is measured, marked if files differ from it."""
  root = pathlib.Path(__file__).resolve().parent.parent
  command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
  done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
  return done.stdout.strip() or 'unknown'


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  names = ','.join(versions(1))
  parser.add_argument('--batches', default='512,2048,4096', help='images; two embeddings each')
  parser.add_argument('--dim', type=int, default=128)
  parser.add_argument('--dtype', default='float32', help='of the embeddings')
  parser.add_argument('--block_size', type=int, default=1024)
  parser.add_argument('--only', default=names, help='versions of NT-Xent')
  parser.add_argument('--catalog_batch', type=int, default=None, help='0 leaves the rest out')
  parser.add_argument('--devices', default='', help='only the memory of so many; a CPU simulates')
  parser.add_argument('--rounds', type=int, default=5, help='the median over these is printed')
  parser.add_argument('--seconds', type=float, default=1.0, help='of each program in each round')
  parser.add_argument('--max_gib', type=float, default=4.0, help='larger programs are not run')
  parser.add_argument('--out', type=pathlib.Path, help='also write the figures as JSON')
  options = parser.parse_args(arguments)
  if unknown := set(options.only.split(',')) - set(names.split(',')):
    parser.error(f'--only: found {",".join(sorted(unknown))}, must be of {names}')
  if options.catalog_batch is None:
    # Whoever asks for one version of NT-Xent does not wait for all losses.
    options.catalog_batch = 4096 if options.only == names else 0
  return options


def main(arguments: list[str] | None = None) -> None:
  options = parse(arguments)
  batches, counts = (
    [int(x) for x in y.split(',') if x] for y in (options.batches, options.devices)
  )
  if counts:
    jax.config.update('jax_num_cpu_devices', max(counts))
    print(devices_table(batches, counts, options))
    return
  rows = []
  for batch in batches:
    rows += measure_versions(batch, options)
    print(f'nt_xent at {batch:,} measured', file=sys.stderr, flush=True)
  print(versions_table(rows), flush=True)
  catalog = []
  if options.catalog_batch:
    for name in CASES:
      catalog.append(measure_case(name, options))
      print(f'{name} measured', file=sys.stderr, flush=True)
    print(f'\n{catalog_table(catalog)}')
  if options.out:
    facts = {
      'devices': reporting.describe_devices(),
      'versions': reporting.collect_versions(),
      'commit': commit(),
      'dim': options.dim,
      'dtype': options.dtype,
      'block_size': options.block_size,
      'rounds': options.rounds,
      'nt_xent': rows,
      'catalog': catalog,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=2) + '\n')


if __name__ == '__main__':
  main()
