"""Memory, operations, kernels and collectives of a training step, compiled for absent devices.

  python benchmarks/compiled.py h200:1 cifar10/simclr -- --model.dtype=bfloat16
  python benchmarks/compiled.py h200:8x2 cifar10/simclr        2 hosts of 8 GPUs
  python benchmarks/compiled.py v5e:4x4 cifar10/simclr         16 TPU chips
  python benchmarks/compiled.py h200:1 loss:nt_xent --batch=65536 --dim=128 --block_size=4096
  python benchmarks/compiled.py h200:1 loss:optax_ntxent --batch=4096
  python benchmarks/compiled.py h200:1 cifar10/simclr --save=step.hlo
  python benchmarks/compiled.py h100:1 --hlo=step.hlo --top=40  the same program, not compiled again

The step of a recipe, or a loss alone, is compiled ahead of time for a GPU or a TPU topology, and
the optimized program is read. Counts, shapes, dtypes, collectives and the compiler's memory plan
are facts of that program. Times are a model and not a measurement: an instruction takes the longer
of its arithmetic at an attainable rate and its traffic at the full bandwidth of the device memory,
and nothing overlaps, so the real time is longer. The floor adds a fixed cost for every kernel.

What follows `--` are flags of the run. `--images` is the size of the data set, which lies in device
memory; no images are read. On two free cores a GPU takes about 40 s (ResNet-18) to 2 minutes
(ResNet-50), a TPU 2 to 4 minutes.

No device and no driver is needed, but the compiler of the device (Linux x86-64), each in an
environment of its own since either plugin wants to be the default backend:
  pip install 'jax[cuda13]==0.10.2'
  pip install 'jax[tpu]==0.10.2'

Parts are told apart by the names that tracing leaves: `encoder forward` holds the forward pass of a
target network too, `other` has no name (mostly updates and copies of convolution kernels).

Limits. XLA cannot tune for a GPU that is absent: cuDNN's algorithm, its workspace and the tiles of
matrix products stay at their defaults, and Triton is preferred to cuBLAS where tuning would decide,
so counts of kernels move by a few. Caches are not modeled (an H200 has 50 MB of L2). A fusion is
charged once for every operand and result; slices and gathers for what they take. Known to fit the
HLO that jax 0.10.2 prints.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import math
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# -- The devices. ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Device:
  """Attainable rates a second (about 80 % of the data sheet for matrix units), bytes, seconds."""

  bf16: float  # matrix units on bfloat16
  tf32: float  # matrix units on float32 at XLA's default precision
  f32: float  # float32 at precision 'highest'
  vector: float  # elementwise operations
  special: float  # exp, log, divisions, ...
  bandwidth: float
  memory: float
  launch: float  # the least between two kernels
  link: float  # bandwidth of a device toward the others of its host or slice, one direction
  far_link: float  # the same toward other hosts
  latency: float  # of one collective


GB, TF = 1e9, 1e12
DEVICES = {
  'h200': Device(
    790 * TF,
    395 * TF,
    55 * TF,
    30 * TF,
    4 * TF,
    4800 * GB,
    141 * GB,
    2.5e-6,
    360 * GB,
    45 * GB,
    15e-6,
  ),
  'h100': Device(
    790 * TF,
    395 * TF,
    55 * TF,
    30 * TF,
    4 * TF,
    3350 * GB,
    80 * GB,
    2.5e-6,
    360 * GB,
    45 * GB,
    15e-6,
  ),
  'a100': Device(
    250 * TF,
    125 * TF,
    17 * TF,
    9 * TF,
    2 * TF,
    2039 * GB,
    80 * GB,
    2.5e-6,
    240 * GB,
    22 * GB,
    15e-6,
  ),
  'v5e': Device(
    160 * TF, 160 * TF, 27 * TF, 5 * TF, 1 * TF, 819 * GB, 16 * GB, 1e-6, 90 * GB, 90 * GB, 5e-6
  ),
  'v5p': Device(
    370 * TF, 370 * TF, 60 * TF, 7 * TF, 2 * TF, 2765 * GB, 95 * GB, 1e-6, 270 * GB, 270 * GB, 5e-6
  ),
  'v6e': Device(
    730 * TF, 730 * TF, 120 * TF, 8 * TF, 2 * TF, 1640 * GB, 32 * GB, 1e-6, 180 * GB, 180 * GB, 5e-6
  ),
}
_GPU_DESCRIPTION = """gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared} threads_per_core_limit: 2048 core_count: {cores}
  fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {l2} clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {optin} cuda_compute_capability {{ major: {major} minor: 0 }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{name}"
"""
_HOPPER = {
  'shared': 233472,
  'cores': 132,
  'fpus': 128,
  'l2': 52428800,
  'clock': 1.98,
  'optin': 232448,
  'major': 9,
}
_GPUS = {
  'h200': {**_HOPPER, 'bandwidth': 4800000000000, 'memory': 150754820096, 'name': 'NVIDIA H200'},
  'h100': {**_HOPPER, 'bandwidth': 3350000000000, 'memory': 84942979072, 'name': 'NVIDIA H100'},
  'a100': {
    'shared': 167936,
    'cores': 108,
    'fpus': 64,
    'l2': 41943040,
    'clock': 1.41,
    'optin': 166912,
    'major': 8,
    'bandwidth': 2039000000000,
    'memory': 84987740160,
    'name': 'NVIDIA A100',
  },
}
_TPU_KINDS = {'v5e': 'v5litepod', 'v5p': 'v5p', 'v6e': 'v6e'}


def topology(target: str) -> tuple[str, list[Any], int]:
  """Parses 'h200:8x2' or 'v5e:4x4'.

  Returns:
    The kind, the devices to compile for, and how many of them share a host or slice.
  """
  kind, _, shape = target.partition(':')
  if kind not in DEVICES:
    raise SystemExit(f'target: found {kind}, allowed {", ".join(DEVICES)}')
  sizes = [int(n) for n in (shape or '1').split('x')]
  os.environ['JAX_PLATFORMS'] = 'cpu'
  if kind in _GPUS:
    per_host, hosts = (sizes + [1])[:2]
    from jax.experimental import topologies

    description = topologies.get_topology_desc(
      topology_name=kind,
      platform='cuda',
      target_config=_GPU_DESCRIPTION.format(**_GPUS[kind]),
      topology=f'1x{hosts}x{per_host}',
    )
    return kind, list(description.devices), per_host
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')  # no chip is taken
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', f'{_TPU_KINDS[kind]}-{math.prod(sizes)}')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault('TPU_WORKER_ID', '0')
  from jax.experimental import topologies

  description = topologies.get_topology_desc(topology_name=target, platform='tpu')
  return kind, list(description.devices), len(description.devices)


# -- What is compiled. -----------------------------------------------------------------------------


def compile_step(
  devices: list[Any], recipe: str, num_images: int, flags: list[str], options: dict[str, Any]
) -> tuple[Any, int]:
  """Compiles the step of a run as `ssl_jax.training.step` makes it.

  Returns:
    The compiled program, and the images of one step.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  from ssl_jax import config as config_lib
  from ssl_jax import data
  from ssl_jax.tasks.run import experiment as experiment_lib
  from ssl_jax.training import mesh as mesh_lib
  from ssl_jax.training import metrics as metrics_lib
  from ssl_jax.training import step as step_lib
  from ssl_jax.training.inputs import augment, stored_rows
  from ssl_jax.training.state import TrainState

  config = config_lib.parse([f'--flagfile={recipe}', *flags])
  side = config.data.image_size
  # No memory behind it: every image is the same byte.
  pixels = np.broadcast_to(np.zeros((), np.uint8), (num_images, side, side, 3))
  labels = (np.arange(num_images) % 10).astype(np.int32)
  source = data.ArraySource(pixels, labels)
  dataset = data.Dataset(
    name='shapes alone',
    train=source,
    test=source.subset(np.arange(0)),
    class_names=(*'0123456789',),
  )
  mesh = mesh_lib.make_mesh(devices)
  with (
    mock.patch.object(experiment_lib.data, 'load', lambda *_, **__: dataset),
    mock.patch.object(experiment_lib.mesh_lib, 'make_mesh', lambda *_: mesh),
  ):
    experiment = experiment_lib.build_experiment(config)
  method, optimizer = experiment.method, experiment.optimizer

  def init() -> TrainState:
    key = jax.random.key(0)
    variables = method.init(key, jnp.zeros((2, config.view_size, config.view_size, 3)))
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      **{part: variables[part] for part in ('params', 'batch_stats', 'target', 'method_state')},
      opt_state=optimizer.init(variables['params']),
      key=key,
    )

  same = mesh_lib.replicated(mesh)
  place = lambda tree: jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=same), tree
  )
  accumulation, batch = config.optimizer.accumulation_steps, config.data.batch_size
  state = place(jax.eval_shape(init))
  images = place(stored_rows(method, experiment.dataset.train))
  rows = jax.ShapeDtypeStruct(
    (accumulation, batch), jnp.int32, sharding=mesh_lib.split(mesh, axis=1)
  )
  batches = functools.partial(augment, method, experiment.recipe)
  update = step_lib.make_update(method, optimizer, experiment.schedule, batches, mesh, accumulation)
  _, metrics = jax.eval_shape(update, state, images, rows)
  totals = place(jax.eval_shape(lambda: metrics_lib.MetricsAccumulator.init(sorted(metrics))))

  def step(state: Any, totals: Any, images: Any, rows: Any) -> Any:
    new_state, metrics = update(state, images, rows)
    return new_state, totals.update(state.step, metrics)

  jitted = jax.jit(step, donate_argnums=(0, 1), out_shardings=(same, same))
  lowered = jitted.lower(state, totals, images, rows)
  return lowered.compile(compiler_options=options or None), accumulation * batch


def compile_loss(
  devices: list[Any], name: str, args: argparse.Namespace, options: dict
) -> tuple[Any, int]:
  """Compiles value, metrics and gradient of a loss of two views `[batch, dim]`, rows split over the
  devices."""
  import jax
  import jax.numpy as jnp

  from ssl_jax.training import mesh as mesh_lib

  settings: dict[str, Any] = {'temperature': 0.5}
  loss: Any
  if name == 'optax_ntxent':
    import optax

    labels = lambda n: jnp.tile(jnp.arange(n), 2)
    loss = lambda a, b: (optax.losses.ntxent(jnp.concatenate([a, b]), labels(a.shape[0]), 0.5), {})
  else:
    from ssl_jax import losses

    if args.block_size:
      settings['block_size'] = args.block_size
    loss = lambda a, b: getattr(losses, name)(a, b, **settings)
  mesh = mesh_lib.make_mesh(devices)
  view = jax.ShapeDtypeStruct(
    (args.batch, args.dim), jnp.dtype(args.dtype), sharding=mesh_lib.split(mesh)
  )
  jitted = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  return jitted.lower(view, view).compile(compiler_options=options or None), args.batch


# -- Reading HLO. ----------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


_BYTES = {'pred': 1, 's4': 0.5, 'u4': 0.5, 'c64': 8, 'c128': 16, 'token': 0, 'opaque': 0}
_SHAPE = re.compile(r'\b(pred|[suf]\d+\w*|bf16|c64|c128|token|opaque)\[([\d,]*)\](?:\{([^}]*)\})?')
_INSTRUCTION = re.compile(r'\s*(?:ROOT )?%?([\w.\-]+) = (.*)$')
_VECTOR = _words(
  'add subtract multiply maximum minimum abs negate and or xor not select compare clamp floor ceil '
  'sign convert round-nearest-even round-nearest-afz shift-left shift-right-logical '
  'shift-right-arithmetic is-finite popcnt reduce-precision'
)
_SPECIAL = _words(
  'exponential exponential-minus-one log log-plus-one tanh rsqrt sqrt cbrt power divide remainder '
  'sine cosine tan logistic atan2 erf'
)
_FREE = _words(
  'parameter constant get-tuple-element tuple bitcast after-all partition-id replica-id iota '
  'opt-barrier domain copy-done all-reduce-done all-gather-done collective-permute-done async-done '
  'async-update slice-done send-done recv-done add-dependency'
)
_COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
  'ragged-all-to-all',
)
_VIEWS_INTO = ('slice', 'dynamic-slice', 'gather')


@dataclasses.dataclass
class Instruction:
  name: str
  shape: str  # as printed
  op: str
  operands: list[str]
  rest: str  # attributes
  root: bool
  constant_argument: str = ''

  def attribute(self, name: str) -> str:
    return capture(rf'\b{name}=%?([\w.\-]+)', self.rest)

  @property
  def op_name(self) -> str:
    return capture(r'op_name="((?:[^"\\]|\\.)*)"', self.rest)

  @property
  def custom_call_target(self) -> str:
    return capture(r'custom_call_target="([^"]*)"', self.rest)


def capture(pattern: str, text: str) -> str:
  """What the group of a pattern matches first; '' where nothing does."""
  found = re.search(pattern, text)
  return found.group(1) if found else ''


def arrays(shape: str) -> Iterator[tuple[str, tuple[int, ...], str]]:
  for dtype, dims, layout in _SHAPE.findall(shape):
    yield dtype, tuple(int(d) for d in dims.split(',') if d), layout


def width(dtype: str) -> float:
  if dtype in _BYTES:
    return _BYTES[dtype]
  return int(capture(r'(\d+)', dtype)) / 8


def size(shape: str, off_chip_only: bool = True) -> float:
  """Bytes; of a TPU's arrays only those outside its vector memory, which layouts mark as S(1)."""
  found = 0.0
  for dtype, dims, layout in arrays(shape):
    if not (off_chip_only and re.search(r'S\([1-9]\)', layout)):
      found += math.prod(dims) * width(dtype)
  return found


def elements(shape: str) -> float:
  return sum(math.prod(dims) for _, dims, _ in arrays(shape))


def parse(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
  """Computations by name, each its instructions by name in order; and the name of the entry."""
  computations: dict[str, dict[str, Instruction]] = {}
  entry, current = '', None
  for line in text.splitlines():
    if line.endswith('{') and ' -> ' in line and not line.startswith(' '):
      is_entry = line.startswith('ENTRY')
      name = capture(r'^(?:ENTRY )?%?([\w.\-]+)', line)
      current = computations.setdefault(name, {})
      entry = name if is_entry else entry
    elif line.startswith('}'):
      current = None
    elif current is not None:
      found = _INSTRUCTION.match(line)
      if found:
        instruction = _instruction(
          found.group(1), re.sub(r'/\*.*?\*/', '', found.group(2)), 'ROOT ' in line[:12]
        )
        current[instruction.name] = instruction
  return computations, entry


def _instruction(name: str, text: str, root: bool) -> Instruction:
  end = _closing(text, 0) + 1 if text.startswith('(') else text.index(' ')
  shape, rest = text[:end], text[end:].lstrip()
  op, _, rest = rest.partition('(')
  close = _closing('(' + rest, 0) - 1
  inside = rest[:close]
  return Instruction(
    name, shape, op.strip(), re.findall(r'%([\w.\-]+)', inside), rest[close + 1 :], root, inside
  )


def _closing(text: str, start: int) -> int:
  depth = 0
  for index in range(start, len(text)):
    depth += {'(': 1, ')': -1}.get(text[index], 0)
    if not depth:
      return index
  return len(text)


# -- Costs. ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Work:
  """Arithmetic of one execution, by the unit that does it."""

  bf16: float = 0.0
  tf32: float = 0.0
  f32: float = 0.0
  vector: float = 0.0
  special: float = 0.0

  def __iadd__(self, other: Work) -> Work:
    for field in dataclasses.fields(Work):
      setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
    return self

  @property
  def matrix(self) -> float:
    return self.bf16 + self.tf32 + self.f32

  def seconds(self, device: Device) -> float:
    others = self.vector / device.vector, self.special / device.special
    return max(self.matrix_seconds(device), *others)

  def matrix_seconds(self, device: Device) -> float:
    return self.bf16 / device.bf16 + self.tf32 / device.tf32 + self.f32 / device.f32


@dataclasses.dataclass
class Cost:
  """One instruction of the program, all its executions together."""

  instruction: Instruction
  times: float
  work: Work
  bytes: float
  seconds: float
  part: str
  label: str
  kind: str  # conv, dot, fusion, copy, transpose, convert, collective, other
  dtype: str
  collective: tuple[str, float, int] | None = None  # kind, bytes, devices of a group


def conv_flops(instruction: Instruction, shape_of: dict[str, str]) -> float:
  """2 * |activations on the output side| * |kernel| / output channels, whatever gradient it is."""
  kernel_labels = capture(r'dim_labels=\w+_(\w+)->', instruction.rest)
  result = next(arrays(instruction.shape))
  first, second = (next(arrays(shape_of[name])) for name in instruction.operands[:2])
  target, dilation = instruction.custom_call_target, 1
  if 'BackwardFilter' in target:
    kernel, out = result, second
  elif 'BackwardInput' in target:
    kernel, out = second, first
  else:
    kernel, out = second, result
    if 'cudnn' not in target:
      # The gradient of a strided convolution: products with the zeros in between are not counted.
      dilated = capture(r'window=\{[^}]*lhs_dilate=([\dx]+)', instruction.rest)
      dilation = math.prod(int(number) for number in dilated.split('x')) if dilated else 1
  groups = int(capture(r'batch_group_count=(\d+)', instruction.rest) or 1)
  out_features = kernel[1][kernel_labels.index('o')]
  return 2 * math.prod(out[1]) * math.prod(kernel[1]) / out_features / dilation / groups


def dot_flops(instruction: Instruction, shape_of: dict[str, str]) -> float:
  dims = capture(r'lhs_contracting_dims=\{([\d,]*)\}', instruction.rest)
  left = next(arrays(shape_of[instruction.operands[0]]))[1]
  depth = math.prod([left[int(dim)] for dim in dims.split(',') if dim])
  return 2 * elements(instruction.shape) * depth


def matrix_unit(instruction: Instruction, operand_shapes: list[str]) -> tuple[str, int]:
  """The unit that multiplies, and how many passes over it one product takes."""
  dtypes = [dtype for shape in operand_shapes[:2] for dtype, _, _ in arrays(shape)]
  algorithm = re.search(r'algorithm=dot_(bf16|tf32)\w*?(?:_x(\d))?\b', instruction.rest)
  if algorithm:
    return algorithm.group(1), int(algorithm.group(2) or 1)
  if all(d in ('bf16', 'f16') or d.startswith('f8') for d in dtypes):
    return 'bf16', 1
  return ('f32' if 'highest' in instruction.rest or '"HIGHEST"' in instruction.rest else 'tf32'), 1


class Program:
  """Costs of a compiled program's instructions."""

  def __init__(self, text: str, device: Device, num_devices: int, per_host: int):
    self.computations, self.entry = parse(text)
    self.device, self.num_devices, self.per_host = device, num_devices, per_host
    self.costs: list[Cost] = []
    self.unknown_loops = 0
    self._walk(self.entry, 1.0, '')

  # -- structure

  def _walk(self, name: str, times: float, parent: str) -> None:
    computation = self.computations[name]
    shape_of = {i.name: i.shape for i in computation.values()}
    for instruction in computation.values():
      op_name = instruction.op_name or parent
      if instruction.op in _FREE:
        continue
      if instruction.op == 'while':
        trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.rest)
        self.unknown_loops += not trips
        self._walk(
          instruction.attribute('body'), times * (int(trips.group(1)) if trips else 1), op_name
        )
      elif instruction.op == 'conditional':
        branches = re.search(r'branch_computations=\{([^}]*)\}', instruction.rest)
        names = (
          re.findall(r'[\w.\-]+', branches.group(1).replace('%', ''))
          if branches
          else [
            instruction.attribute('true_computation'),
            instruction.attribute('false_computation'),
          ]
        )
        for branch in names:  # any of them: the mean
          self._walk(branch, times / len(names), op_name)
      elif instruction.op == 'call' or instruction.op == 'async-start':
        self._walk(
          instruction.attribute('to_apply') or instruction.attribute('calls'), times, op_name
        )
      else:
        self._add(instruction, times, shape_of, op_name)

  def _add(
    self, instruction: Instruction, times: float, shape_of: dict[str, str], op_name: str
  ) -> None:
    operands = [shape_of[o] for o in instruction.operands if o in shape_of]
    work, kind, dtype, collective = Work(), 'other', '', None
    base = instruction.op.removesuffix('-start')
    moved = size(instruction.shape) + sum(size(s) for s in operands)
    if base in _COLLECTIVES:
      payload = max(size(s, False) for s in (*operands, instruction.shape))
      if base == 'all-reduce':
        payload = sum(size(s, False) for s in operands)
      group = self._group(instruction)
      collective, kind = (base, payload, group), 'collective'
      share = (group - 1) / group if group else 0
      link = self.device.link if group <= self.per_host else self.device.far_link
      seconds = self.device.latency + payload * share * (2 if base == 'all-reduce' else 1) / link
      moved = 0.0
    else:
      if instruction.op == 'fusion':
        called = self.computations[instruction.attribute('calls')]
        moved = self._fusion_bytes(instruction, called, shape_of)
        kind, dtype = self._inside(called, work)
        if kind == 'fusion':
          kind = self._pure(called)
      elif instruction.op == 'custom-call':
        kind, dtype = self._custom(instruction, work, shape_of)
      elif instruction.op in ('copy-start', 'slice-start'):
        # The result is (destination, source, ...) of a copy, (source, destination, ...) of a slice.
        dtype_, dims, layout = list(arrays(instruction.shape))[instruction.op == 'slice-start']
        there = math.prod(dims) * width(dtype_)
        moved = min(there, sum(size(s) for s in operands)) + (
          0 if re.search(r'S\([1-9]\)', layout) else there
        )
        kind = 'copy'
      else:
        kind, dtype = self._one(instruction, work, shape_of)
        if instruction.op in ('copy', 'transpose'):
          kind = instruction.op
        if instruction.op in _VIEWS_INTO:
          moved = 2 * size(instruction.shape)
        if instruction.op == 'dynamic-update-slice':
          moved = 2 * size(shape_of[instruction.operands[1]])
      seconds = max(work.seconds(self.device), moved / self.device.bandwidth)
    label = self._label(instruction, operands)
    for field in dataclasses.fields(Work):
      setattr(work, field.name, getattr(work, field.name) * times)
    self.costs.append(
      Cost(
        instruction,
        times,
        work,
        moved * times,
        seconds * times,
        'collectives' if collective else part_of(op_name),
        label,
        kind,
        dtype,
        collective,
      )
    )

  def _group(self, instruction: Instruction) -> int:
    found = re.search(r'replica_groups=\[(\d+),(\d+)\]', instruction.rest)
    if found:
      return int(found.group(2))
    found = re.search(r'replica_groups=\{\{([\d,]*)\}', instruction.rest)
    return len(found.group(1).split(',')) if found else self.num_devices

  # -- one instruction

  def _fusion_bytes(
    self, fusion: Instruction, called: dict[str, Instruction], shape_of: dict[str, str]
  ) -> float:
    users: dict[str, list[Instruction]] = collections.defaultdict(list)
    for inner in called.values():
      for operand in set(inner.operands):
        users[operand].append(inner)

    def taken(name: str, whole: float) -> float:
      """What of a parameter is read, through views that cost nothing."""
      total = 0.0
      for user in users[name]:
        if user.op == 'bitcast':
          total += taken(user.name, whole)
        elif user.op in _VIEWS_INTO and user.operands[0] == name:
          total += size(user.shape)
        elif user.op == 'dynamic-update-slice' and user.operands[0] == name:
          pass
        else:
          return whole
      return min(total, whole)

    moved = 0.0
    for inner in called.values():
      if inner.op == 'parameter':
        operand = fusion.operands[int(inner.constant_argument)]
        moved += taken(inner.name, size(shape_of[operand]))
    root = next(i for i in called.values() if i.root)
    roots = [called[o] for o in root.operands] if root.op == 'tuple' else [root]
    outs = [root.shape] if len(roots) == 1 else [r.shape for r in roots]
    outer = [
      f'{dtype}[{",".join(map(str, dims))}]{{{layout}}}'
      for dtype, dims, layout in arrays(fusion.shape)
    ]
    for result, shape in zip(roots, outer if len(outer) == len(outs) else outs, strict=True):
      while result.op in ('bitcast', 'copy') and result.operands and result.operands[0] in called:
        result = called[result.operands[0]]
      if result.op == 'dynamic-update-slice':
        shape = called[result.operands[1]].shape
      moved += size(shape)
    return moved

  def _inside(self, called: dict[str, Instruction], work: Work) -> tuple[str, str]:
    kind, dtype = 'fusion', ''
    shape_of = {i.name: i.shape for i in called.values()}
    for inner in called.values():
      if inner.op == 'fusion':
        found = self._inside(self.computations[inner.attribute('calls')], work)
      else:
        found = self._one(inner, work, shape_of)
      if found[0] in ('conv', 'dot', 'sort'):
        kind, dtype = found
    return kind, dtype

  def _pure(self, called: dict[str, Instruction]) -> str:
    """A fusion that only moves or only converts."""
    ops = {i.op for i in called.values()} - {
      'parameter',
      'constant',
      'bitcast',
      'tuple',
      'reshape',
      'broadcast',
    }
    if ops and ops <= {'transpose', 'copy', 'convert'}:
      return 'transpose' if 'transpose' in ops else 'copy' if 'copy' in ops else 'convert'
    return 'fusion'

  def _one(self, instruction: Instruction, work: Work, shape_of: dict[str, str]) -> tuple[str, str]:
    op = instruction.op
    if op in ('dot', 'convolution', 'scaled-dot'):
      operands = [shape_of[o] for o in instruction.operands]
      unit, passes = matrix_unit(instruction, operands)
      flops = (conv_flops if op == 'convolution' else dot_flops)(instruction, shape_of)
      setattr(work, unit, getattr(work, unit) + flops * passes)
      return 'conv' if op == 'convolution' else 'dot', unit
    if op in _VECTOR:
      work.vector += elements(instruction.shape)
    elif op in _SPECIAL:
      work.special += elements(instruction.shape)
    elif op in ('reduce', 'reduce-window', 'scatter'):
      work.vector += sum(
        elements(shape_of[o]) for o in instruction.operands[: len(instruction.operands) // 2 or 1]
      )
    elif op == 'sort':
      count = elements(shape_of[instruction.operands[0]])
      work.vector += count * max(1.0, math.log2(max(count, 2))) ** 2 / 2
      return 'sort', ''
    return 'other', ''

  def _custom(
    self, instruction: Instruction, work: Work, shape_of: dict[str, str]
  ) -> tuple[str, str]:
    target = instruction.custom_call_target
    if '$conv' in target:
      unit, passes = matrix_unit(instruction, [shape_of[o] for o in instruction.operands])
      setattr(work, unit, getattr(work, unit) + conv_flops(instruction, shape_of) * passes)
      return 'conv', unit
    if 'cublas' in target:
      unit, passes = matrix_unit(instruction, [shape_of[o] for o in instruction.operands])
      left = next(arrays(shape_of[instruction.operands[0]]))[1]
      dims = capture(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.rest)
      depth = math.prod([left[int(dim)] for dim in re.findall(r'\d+', dims)])
      result = next(arrays(instruction.shape))
      setattr(work, unit, getattr(work, unit) + 2 * math.prod(result[1]) * depth * passes)
      return 'dot', unit
    return 'other', target

  def _label(self, instruction: Instruction, operands: list[str]) -> str:
    short = lambda s: ' '.join(
      f'{d}[{",".join(map(str, dims))}]' for d, dims, _ in list(arrays(s))[:2]
    )
    what = instruction.custom_call_target or instruction.op
    return f'{what} {short(instruction.shape)} <- {", ".join(short(s) for s in operands[:3])}'


PARTS = (
  'data',
  'views',
  'encoder forward',
  'encoder backward',
  'heads',
  'loss',
  'optimizer and metrics',
  'collectives',
  'other',
)


def part_of(op_name: str) -> str:
  """Whose work an instruction is, by the names that tracing left on it."""
  name = op_name.split(';')[0]
  if not name:
    return 'other'
  if re.search(r'\bviews\b', name):
    return 'views'
  if 'ResNet' in name:
    if 'transpose(' in name or 'rematted' in name:
      return 'encoder backward'
    return 'encoder forward'  # a target network's too
  if 'MLP' in name:
    return 'heads'
  if re.search(r'jvp\(', name):
    return 'loss'
  if re.search(
    r'jit\(step\)/(jit\(take\)/|jit\(_take\)/)?(gather|dynamic_slice|lt|select_n|broadcast_in_dim)',
    name,
  ):
    return 'data'
  return 'optimizer and metrics'


# -- The report. -----------------------------------------------------------------------------------


def summarize(program: Program, images: int, top: int) -> dict[str, Any]:
  costs, device = program.costs, program.device
  kernels = [c for c in costs if c.kind != 'collective']
  total = Work()
  for cost in costs:
    total += cost.work
  seconds = sum(c.seconds for c in costs)
  launches = sum(c.times for c in costs)
  floor = sum(max(c.seconds, c.times * device.launch) for c in costs)
  moved = sum(c.bytes for c in costs)
  parts = {}
  for part in PARTS:
    mine = [c for c in costs if c.part == part]
    if mine:
      parts[part] = {
        'kernels': sum(c.times for c in mine),
        'matrix_gflop': sum(c.work.matrix for c in mine) / 1e9,
        'gb': sum(c.bytes for c in mine) / 1e9,
        'ms': sum(c.seconds for c in mine) * 1e3,
        'floor_ms': sum(max(c.seconds, c.times * device.launch) for c in mine) * 1e3,
      }
  kinds: dict[str, dict[str, float]] = {}
  for cost in kernels:
    kind = kinds.setdefault(
      f'{cost.kind} {cost.dtype}'.strip(), dict.fromkeys(('count', 'matrix_gflop', 'gb', 'ms'), 0.0)
    )
    kind['count'] += cost.times
    kind['matrix_gflop'] += cost.work.matrix / 1e9
    kind['gb'] += cost.bytes / 1e9
    kind['ms'] += cost.seconds * 1e3
  collectives: dict[str, list[tuple[float, int, Cost]]] = {}
  for cost in costs:
    if cost.collective:
      name, payload, group = cost.collective
      collectives.setdefault(name, []).append((payload, group, cost))
  return {
    'kernels': launches,
    'tiny_kernels': sum(c.times for c in kernels if c.seconds / max(c.times, 1e-9) < 1e-6),
    'matrix_gflop': total.matrix / 1e9,
    'matrix_gflop_by_unit': {u: getattr(total, u) / 1e9 for u in ('bf16', 'tf32', 'f32')},
    'vector_gop': total.vector / 1e9,
    'special_gop': total.special / 1e9,
    'hbm_gb': moved / 1e9,
    'roofline_ms': seconds * 1e3,
    'floor_ms': floor * 1e3,
    'compute_only_ms': total.matrix_seconds(device) * 1e3,
    'memory_only_ms': 1e3 * moved / device.bandwidth,
    'images_per_s': images / seconds if seconds else 0.0,
    'images_per_s_floor': images / floor if floor else 0.0,
    'parts': parts,
    'kinds': kinds,
    'collectives': {
      name: {
        'count': sum(cost.times for _, _, cost in found),
        'mb': sum(payload * cost.times for payload, _, cost in found) / 1e6,
        'under_64kb': sum(cost.times for payload, _, cost in found if payload < 65536),
        'ms': sum(cost.seconds for _, _, cost in found) * 1e3,
        'groups': sorted({group for _, group, _ in found}),
        'in_loops': sum(cost.times for _, _, cost in found if cost.times > 1),
        'largest': max(found, key=lambda each: each[0])[2].label[:100],
      }
      for name, found in collectives.items()
    },
    'unknown_loops': program.unknown_loops,
    'top': [
      {
        'ms': c.seconds * 1e3,
        'times': c.times,
        'gflop': c.work.matrix / 1e9,
        'mb': c.bytes / 1e6,
        'part': c.part,
        'what': c.label[:150],
        'op_name': c.instruction.op_name.split(';')[0][-80:],
      }
      for c in sorted(costs, key=lambda c: -c.seconds)[:top]
    ],
  }


def show(found: dict[str, Any], target: str) -> None:
  print(f'\n== {target}  {found.get("what", "")}')
  if 'memory' in found:
    print(
      'memory per device (MiB): '
      + ', '.join(f'{k} {v / 2**20:,.0f}' for k, v in found['memory'].items())
    )
  units = ', '.join(f'{k} {v:,.1f}' for k, v in found['matrix_gflop_by_unit'].items() if v)
  print(
    f'matrix work {found["matrix_gflop"]:,.1f} GFLOP ({units}); HBM traffic {found["hbm_gb"]:,.2f} '
    f'GB; vector {found["vector_gop"]:,.1f} Gop, special {found["special_gop"]:,.1f} Gop\n'
    f'kernels {found["kernels"]:,.0f} a step, {found["tiny_kernels"]:,.0f} of them below 1 us\n'
    f'model (real time is longer): {found["roofline_ms"]:.3f} ms, {found["images_per_s"]:,.0f} '
    f'images/s; with a floor per kernel {found["floor_ms"]:.3f} ms, '
    f'{found["images_per_s_floor"]:,.0f} images/s\n'
    f'  matrix units alone {found["compute_only_ms"]:.3f} ms, '
    f'memory traffic alone {found["memory_only_ms"]:.3f} ms'
  )
  if found['unknown_loops']:
    print(f'  {found["unknown_loops"]} loops of unknown length were counted once')
  header = ''.join(f'{name:>10}' for name in ('kernels', 'GFLOP', 'GB', 'ms', 'floor ms'))
  print(f'\n{"part":34}{header}')
  for name, part in found['parts'].items():
    print(
      f'{name:34}{part["kernels"]:10,.0f}{part["matrix_gflop"]:10,.1f}{part["gb"]:10.3f}'
      f'{part["ms"]:10.3f}{part["floor_ms"]:10.3f}'
    )
  print(f'\n{"kind":34}{header[:40]}')
  for name, kind in sorted(found['kinds'].items(), key=lambda item: -item[1]['ms']):
    print(
      f'{name:34}{kind["count"]:10,.0f}{kind["matrix_gflop"]:10,.1f}{kind["gb"]:10.3f}'
      f'{kind["ms"]:10.3f}'
    )
  print()
  for name, each in found['collectives'].items():
    print(
      f'collective {name}: {each["count"]:,.0f} a step ({each["in_loops"]:,.0f} in loops), '
      f'{each["mb"]:,.2f} MB, {each["under_64kb"]:,.0f} below 64 KiB, {each["ms"]:.3f} ms (model), '
      f'among {each["groups"]} devices; largest {each["largest"]}'
    )
  if not found['collectives']:
    print('collectives: none')
  print('\ncostliest instructions')
  for each in found['top']:
    print(
      f'{each["ms"]:8.4f} ms x{each["times"]:<4.0f}{each["gflop"]:9.1f} GFLOP {each["mb"]:9.1f} MB'
      f'  {each["part"]:17} {each["what"]}  [{each["op_name"]}]'
    )


def main() -> None:
  argv = sys.argv[1:]
  flags = argv[argv.index('--') + 1 :] if '--' in argv else []
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    'target', help='h200:1, h200:8, h200:8x2 (two hosts), a100:1, v5e:4x4, v6e:2x2, ...'
  )
  parser.add_argument('what', nargs='?', default='', help='a recipe, or loss:NAME')
  parser.add_argument('--images', type=int, default=50000, help='in the data set')
  parser.add_argument('--batch', type=int, default=4096, help='loss: images; two embeddings each')
  parser.add_argument('--dim', type=int, default=128, help='loss: width of the embeddings')
  parser.add_argument('--dtype', default='float32', help='loss: of the embeddings')
  parser.add_argument('--block_size', type=int, default=0, help='loss: 0 compares all at once')
  parser.add_argument(
    '--xla',
    action='append',
    default=[],
    help='NAME=VALUE of a compiler option, e.g. xla_gpu_enable_X=true',
  )
  parser.add_argument('--top', type=int, default=10)
  parser.add_argument(
    '--hlo',
    default='',
    help='read this program again in place of compiling (a .json beside it has the rest)',
  )
  parser.add_argument('--save', default='', help='write the optimized program here')
  parser.add_argument('--json', default='', help='write the figures here')
  args = parser.parse_args(argv[: argv.index('--')] if '--' in argv else argv)
  kind = args.target.partition(':')[0]
  if args.hlo:
    text = pathlib.Path(args.hlo).read_text()
    meta = json.loads(pathlib.Path(f'{args.hlo}.json').read_text())
  else:
    kind, devices, per_host = topology(args.target)
    options = dict(item.split('=', 1) for item in args.xla)
    options = {
      k: {'true': True, 'false': False}.get(v, int(v) if v.lstrip('-').isdigit() else v)
      for k, v in options.items()
    }
    if kind in _GPUS:  # only the machine code is poorer, and nobody runs it
      options = {
        'xla_gpu_disable_gpuasm_optimizations': True,
        'xla_llvm_disable_expensive_passes': True,
        **options,
      }
    started = time.time()
    if args.what.startswith('loss:'):
      compiled, images = compile_loss(devices, args.what.removeprefix('loss:'), args, options)
    else:
      compiled, images = compile_step(devices, args.what, args.images, flags, options)
    plan = compiled.memory_analysis()
    memory = {
      'arguments': plan.argument_size_in_bytes,
      'outputs': plan.output_size_in_bytes,
      'in place': plan.alias_size_in_bytes,
      'temporaries': plan.temp_size_in_bytes,
    }
    memory['peak'] = (
      getattr(plan, 'peak_memory_in_bytes', 0) or sum(memory.values()) - 2 * memory['in place']
    )
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    text = compiled.as_text()
    what = ' '.join(
      [
        args.what,
        *(
          f'--{k}={getattr(args, k)}'
          for k in ('batch', 'dim', 'block_size')
          if args.what.startswith('loss:')
        ),
        *flags,
        *args.xla,
      ]
    )
    meta = {
      'what': what,
      'memory': memory,
      'images': images,
      'devices': len(devices),
      'per_host': per_host,
      'compile_s': round(time.time() - started, 1),
      'xla': {
        k: v
        for k, v in (analysis or {}).items()
        if k in ('flops', 'bytes accessed', 'optimal_seconds')
      },
    }
    if args.save:
      pathlib.Path(args.save).write_text(text)
      pathlib.Path(f'{args.save}.json').write_text(json.dumps(meta))
  program = Program(text, DEVICES[kind], meta['devices'], meta['per_host'])
  found = {**meta, **summarize(program, meta['images'], args.top)}
  show(found, args.target)
  if meta['xla']:
    print(f"\nXLA's own estimate: { ({k: f'{v:.3g}' for k, v in meta['xla'].items()}) }")
  if args.json:
    pathlib.Path(args.json).write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
  main()
