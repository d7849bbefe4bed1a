"""Images a second of the step alone, of the views alone, and of both fused, with peak memory.

  python benchmarks/throughput.py                                  the sizes that fit a CPU
  python benchmarks/throughput.py --sizes=cifar512,imagenet256     named sizes, for an accelerator
  python benchmarks/throughput.py --out=benchmarks/results/NAME.json

An image counts once, although it enters the network as two views. The three are timed in turn,
round by round, so that a machine whose speed drifts treats them alike, and the medians are printed.
`views / step` is the time of the views over that of the step on ready-made views.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import methods, models, reporting, views
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training import optimizers, schedules, state, step


@dataclasses.dataclass(frozen=True)
class Size:
  """What is timed: SimCLR with one encoder on images of one size."""

  model: str
  stem: str
  width: int
  batch: int
  stored: int
  side: int
  recipe: str
  dtype: str = 'float32'


SIZES = {
  'cifar64': Size('resnet18', 'cifar', 64, 64, 32, 32, 'cifar_simclr'),
  'cifar64_narrow': Size('resnet18', 'cifar', 16, 64, 32, 32, 'cifar_simclr'),
  'imagenet8': Size('resnet50', 'imagenet', 64, 8, 256, 224, 'simclr'),
  'cifar512': Size('resnet18', 'cifar', 64, 512, 32, 32, 'cifar_simclr'),
  'cifar512_bf16': Size('resnet18', 'cifar', 64, 512, 32, 32, 'cifar_simclr', 'bfloat16'),
  'imagenet256_bf16': Size('resnet50', 'imagenet', 64, 256, 256, 224, 'simclr', 'bfloat16'),
}
ON_CPU = 'cifar64,cifar64_narrow,imagenet8'
ON_ACCELERATOR = 'cifar512,cifar512_bf16,imagenet256_bf16'


@dataclasses.dataclass
class Program:
  """A compiled program that is run again and again, and the bytes it needs at its peak."""

  run: Callable[[], Any]
  bytes: int


def needed_bytes(compiled: Any) -> int:
  """Arguments, results and temporaries of a compiled program, what is donated counted once."""
  memory = compiled.memory_analysis()
  parts = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
  return parts - memory.alias_size_in_bytes


def training_program(size: Size, images: jax.Array, augment: Callable) -> Program:
  """The compiled step on the first batch of `images`, its state fed back as in a run."""
  mesh = mesh_lib.make_mesh(jax.devices()[:1])
  encoder = models.resnet(size.model, stem=size.stem, width=size.width, dtype=size.dtype)
  method = methods.create('simclr').setup(encoder=encoder, total_steps=1000)
  schedule = schedules.constant(0.06)
  optimizer = optimizers.build('sgd', schedule=schedule, momentum=0.9, weight_decay=5e-4)
  current = state.create(method, optimizer, 0, size.side, mesh)
  update = step.make_update(method, optimizer, schedule, augment, mesh)
  images = jax.device_put(images, mesh_lib.replicated(mesh))
  compiled, init_metrics = step.compile_step(update, current, images, mesh, (1, 1, size.batch))
  rows = mesh_lib.put(
    np.arange(size.batch, dtype=np.int32)[None, None], mesh_lib.split(mesh, axis=2)
  )
  one = mesh_lib.put(np.int32(1), mesh_lib.replicated(mesh))
  carry = [current, init_metrics()]

  def run() -> None:
    nonlocal carry
    *carry, done = compiled(*carry, images, rows, one)
    done.block_until_ready()

  return Program(run, needed_bytes(compiled))


def views_program(recipe: views.Recipe, pixels: jax.Array) -> Program:
  """The views of one batch, a new key each time."""
  keys = iter(jax.random.split(jax.random.key(0), 10_000))
  compiled = jax.jit(functools.partial(views.apply, recipe)).lower(next(keys), pixels).compile()
  return Program(
    lambda: jax.block_until_ready(compiled(next(keys), pixels)), needed_bytes(compiled)
  )


def measure(name: str, size: Size, rounds: int, seconds: float) -> dict[str, Any]:
  """Times the three programs of one size in turn."""
  recipe = views.recipe(size.recipe, size=size.side)
  shape = (size.batch, size.stored, size.stored, 3)
  pixels = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
  augment = functools.partial(views.apply, recipe)
  ready = augment(jax.random.key(0), pixels)
  programs = {
    'step': training_program(size, ready, lambda key, batch: batch),
    'views': views_program(recipe, pixels),
    'fused': training_program(size, pixels, augment),
  }
  calls = {}
  for kind, program in programs.items():
    program.run()
    begin = time.perf_counter()
    program.run()
    once = time.perf_counter() - begin
    calls[kind] = max(1, round(seconds / once))
  times: dict[str, list[float]] = {kind: [] for kind in programs}
  for _ in range(rounds):
    for kind, program in programs.items():
      begin = time.perf_counter()
      for _ in range(calls[kind]):
        program.run()
      times[kind].append((time.perf_counter() - begin) / calls[kind])
  median = {kind: statistics.median(values) for kind, values in times.items()}
  row: dict[str, Any] = {'size': name, **dataclasses.asdict(size)}
  row['devices'] = reporting.describe_devices()
  for kind, program in programs.items():
    row[f'{kind}_images_per_s'] = round(size.batch / median[kind], 1)
    row[f'{kind}_ms'] = round(1000 * median[kind], 2)
    row[f'{kind}_ms_spread'] = [round(1000 * f(times[kind]), 2) for f in (min, max)]
    row[f'{kind}_program_mib'] = round(program.bytes / 2**20, 1)
  row['views_over_step'] = round(median['views'] / median['step'], 4)
  # Paired within a round, as the difference of two large times drifts with the machine.
  overheads = [f / s - 1 for f, s in zip(times['fused'], times['step'], strict=True)]
  row['fused_over_step_minus_1'] = round(statistics.median(overheads), 4)
  peak = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
  # A backend that does not count (CPU) leaves the compiled program's own figure.
  row['device_peak_mib'] = round(peak / 2**20, 1) if peak else None
  return row


def measure_apart(name: str, rounds: int, seconds: float) -> dict[str, Any]:
  """`measure` in a process of its own: the peak of a device's memory is that of its process."""
  with tempfile.NamedTemporaryFile(suffix='.json') as file:
    settings = [f'--sizes={name}', f'--rounds={rounds}', f'--seconds={seconds}']
    command = [sys.executable, __file__, *settings, f'--out={file.name}']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    row = json.loads(pathlib.Path(file.name).read_text())['rows'][0]
  print(f'{name}: {row["fused_images_per_s"]:,.1f} images/s', file=sys.stderr, flush=True)
  return row


def table(rows: list[dict[str, Any]]) -> str:
  """The rows for a terminal or a page."""
  head = '| size | batch | step | views | fused | views / step | fused / step - 1 | peak memory |'
  lines = [head, '|---|---|---|---|---|---|---|---|']
  for row in rows:
    speeds = ' | '.join(
      f'{row[f"{kind}_images_per_s"]:,.0f} /s' for kind in ('step', 'views', 'fused')
    )
    lines.append(
      f'| {row["size"]} ({row["model"]}, width {row["width"]}, {row["side"]} px, {row["dtype"]}) '
      f'| {row["batch"]} | {speeds} | {100 * row["views_over_step"]:.1f} % '
      f'| {100 * row["fused_over_step_minus_1"]:.1f} % '
      f'| {row["device_peak_mib"] or row["fused_program_mib"]:,.0f} MiB |'
    )
  return '\n'.join(lines)


def default_sizes() -> str:
  """The sizes that fit the devices of this machine, found in a process that releases them."""
  code = 'import jax; print(jax.default_backend())'
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  return ON_CPU if done.stdout.strip() == 'cpu' else ON_ACCELERATOR


def commit() -> str:
  """The commit that is measured, marked if files differ from it."""
  root = pathlib.Path(__file__).resolve().parent.parent
  command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
  done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
  return done.stdout.strip() or 'unknown'


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--sizes', default='', help=', '.join(SIZES))
  parser.add_argument('--rounds', type=int, default=5, help='the median over these is printed')
  parser.add_argument('--seconds', type=float, default=3.0, help='of each program in each round')
  parser.add_argument('--out', type=pathlib.Path, help='also write the figures as JSON')
  arguments = parser.parse_args()
  # The parent of several measurements takes no device, whose memory its children need.
  names = (arguments.sizes or default_sizes()).split(',')
  if unknown := [name for name in names if name not in SIZES]:
    parser.error(f'--sizes: found {", ".join(unknown)}, must be of {", ".join(SIZES)}')
  if len(names) == 1:
    rows = [measure(names[0], SIZES[names[0]], arguments.rounds, arguments.seconds)]
  else:
    rows = [measure_apart(name, arguments.rounds, arguments.seconds) for name in names]
  print(table(rows))
  if arguments.out:
    facts = {
      'devices': rows[0]['devices'],
      'versions': reporting.collect_versions(),
      'commit': commit(),
      'rows': rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(facts, indent=2) + '\n')


if __name__ == '__main__':
  main()
