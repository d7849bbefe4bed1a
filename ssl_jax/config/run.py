"""Every setting of a run, declared once; the flags, `--help` and `config.flags` are generated from
here.

The hyper-parameters of a method are declared by the method's own dataclass and appear as
`--method.FIELD`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from ssl_jax import methods, models
from ssl_jax.arguments import ArgumentError, setting, shown
from ssl_jax.config.evaluation import Evaluate, Knn, Negatives, OnlineMetrics
from ssl_jax.config.flag_files import Argument, UsageError, quote
from ssl_jax.config.flags import COMMAND_LINE, Parser, Settings, flags_of
from ssl_jax.config.images import Data, Views
from ssl_jax.config.optimization import Optimizer
from ssl_jax.config.readers import EVALUATE, NEGATIVES, OF_RUNS, PLAN, PRETRAIN, WEIGHTS
from ssl_jax.config.renames import RENAMES


@dataclasses.dataclass(frozen=True)
class Model(Settings):
  """The encoder."""

  read_by: ClassVar = (PRETRAIN, WEIGHTS)

  name: str = setting('resnet18', 'architecture', choices=models.names())
  stem: str = setting(
    'cifar',
    'first layers; cifar: 3x3 without pooling, padded by 3 in cifar_padded, with a max-pool in '
    'cifar_pooled; imagenet: 7x7, stride 2, max-pool',
    choices=models.STEMS,
  )
  width: int = setting(64, 'channels of the first stage', at_least=1, at_most=1024)
  zero_init_residual: bool = setting(False, 'start every residual branch at zero')
  conv_init: str = setting(
    'kaiming_normal_fan_in',
    'distribution of the convolutions at the start',
    choices=models.CONV_INITS,
  )
  stem_init: str = setting(
    'same',
    'distribution of the first convolution at the start; same: that of the others',
    choices=models.STEM_INITS,
  )
  dtype: str = setting(
    'float32',
    'number format of the computation; parameters and statistics stay float32',
    choices=('float32', 'bfloat16'),
  )
  init_from: str = setting(
    '',
    'run, or FILE.npz or FILE.safetensors of an encoder, whose weights training starts from',
    path=True,
    read_by=(PRETRAIN,),
  )
  init_networks: str = setting(
    'all',
    'networks that start from model.init_from: all whose arrays fit, or the encoder alone',
    choices=('all', 'encoder'),
    read_by=(PRETRAIN,),
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.init_networks != 'all' and not self.init_from:
      raise ArgumentError('init_networks', self.init_networks, 'all, without init_from')

  def build(self) -> models.Network:
    """The encoder.

    Raises:
      UsageError: naming the flag of a setting that the network refuses.
    """
    architecture = dataclasses.asdict(self)
    del architecture['init_from'], architecture['init_networks']
    with flags_of('model', self):
      return models.resnet(**architecture)


@dataclasses.dataclass(frozen=True)
class Checkpoint(Settings):
  """Which checkpoints are saved and kept."""

  affects_result: ClassVar[bool] = False
  read_by: ClassVar = (PRETRAIN,)

  every_steps: int = setting(500, 'steps between checkpoints; 0 saves only at the end', at_least=0)
  keep_last: int = setting(2, 'newest checkpoints kept', at_least=1)
  keep_best: int = setting(1, 'checkpoints of the highest kNN kept besides', at_least=0)
  start_over: bool = setting(
    False, 'begin at step 0 where no checkpoint of the run can be used; for this start alone'
  )


@dataclasses.dataclass(frozen=True)
class Report(Settings):
  """Log lines, TensorBoard events and the HTML report."""

  affects_result: ClassVar[bool] = False

  every_steps: int = setting(20, 'steps between lines of metrics', at_least=1, read_by=(PRETRAIN,))
  tensorboard: bool = setting(True, 'also write TensorBoard event files', read_by=(PRETRAIN,))
  html: bool = setting(True, 'write report.html at the end')


@dataclasses.dataclass(frozen=True)
class Devices(Settings):
  """Devices and processes. None of this affects the result, up to rounding."""

  affects_result: ClassVar[bool] = False

  platform: str = setting(
    'auto',
    'kind of device to run on; auto takes the fastest there is',
    choices=('auto', 'cpu', 'gpu', 'tpu'),
  )
  num_cpu_devices: int = setting(
    0,
    'number of devices that the CPU is split into; 0 does not split it',
    at_least=0,
    at_most=64,
  )
  steps_per_call: int = setting(
    1,
    'steps in one compiled loop; slow on CPU, see the architecture page',
    at_least=1,
    read_by=(PRETRAIN,),
  )
  deterministic: bool = setting(False, 'only GPU kernels that repeat byte for byte')
  coordinator_address: str = setting(
    '', 'HOST:PORT of process 0; empty is one process, auto asks the cluster'
  )
  num_processes: int = setting(
    1,
    'number of processes of the run, with a coordinator',
    at_least=1,
    read_with={'coordinator_address': ()},
  )
  connect_seconds: float = setting(
    10.0, 'longest time in which a process tries to reach the coordinator', above=0
  )
  process_id: int = setting(
    0,
    'index of this process, with a coordinator',
    at_least=0,
    read_with={'coordinator_address': ()},
  )
  compile_cache: str = setting(
    '~/.cache/ssl_jax', 'folder of compiled programs; empty switches it off', path=True
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.process_id >= self.num_processes:
      allowed = f'below {self.num_processes} (--devices.num_processes)'
      raise ArgumentError('process_id', self.process_id, allowed)


# The function of each task, as MODULE:NAME below `ssl_jax.tasks`, imported when it is run.
TASKS = {
  'pretrain': 'pretrain:pretrain',
  'evaluate': 'evaluate:evaluate',
  'negatives': 'negatives.run:negatives',
}


@dataclasses.dataclass(frozen=True)
class Config(Settings):
  """A whole run."""

  task: str = setting(
    'pretrain',
    'pretrain an encoder, evaluate a frozen one, or study its negatives',
    choices=tuple(TASKS),
  )
  class_counts: str = setting(
    '',
    'images of each class, to plan without a run: 1000x1300, 5,3,2 or a file',
    affects_result=False,
    path=True,
    read_by=(PLAN,),
  )
  weights: str = setting(
    '',
    'evaluate this encoder, FILE.npz or FILE.safetensors, not a run',
    affects_result=False,
    path=True,
    read_by=(WEIGHTS,),
  )
  compare: tuple[str, ...] = setting(
    (),
    'evaluate these runs side by side: runs/A,runs/B',
    affects_result=False,
    path=True,
    read_by=(EVALUATE,),
  )
  run_dir: str = setting(
    '', 'folder of the run; empty takes runs/SOURCE-METHOD', affects_result=False, path=True
  )
  seed: int = setting(
    0,
    'seed of initialization, order and augmentation',
    at_least=0,
    at_most=2**31 - 1,
    read_by=(PRETRAIN, WEIGHTS),
  )
  epochs: float = setting(100.0, 'passes over the training images', above=0, read_by=(PRETRAIN,))
  steps: int = setting(
    0,
    'optimizer steps; when above 0 it counts instead of epochs',
    at_least=0,
    at_most=2**31 - 1,
    read_by=(PRETRAIN,),
  )
  extend: tuple[float, ...] = setting(
    (),
    'epochs that the run goes on for after its end; a second number for a second time',
    above=0,
    read_by=(PRETRAIN,),
  )
  extend_schedule: tuple[str, ...] = setting(
    ('rewarm',),
    "rewarm: learning rate and target momentum as in a run of the extension's length, warm-up "
    'included; constant: as at the end; a word for each number of extend, the last for the rest',
    choices=('rewarm', 'constant'),
    read_by=(PRETRAIN,),
    read_with={'extend': ()},
  )
  protocols: tuple[str, ...] = setting(
    ('knn',),
    'what is measured: knn in training; by evaluate, a list from --help=evaluate, or all',
    read_by=(PRETRAIN, EVALUATE, WEIGHTS),
  )
  data: Data = Data()
  views: Views = Views()
  model: Model = Model()
  method: methods.Method = dataclasses.field(
    default_factory=lambda: methods.create('simclr'), metadata={'read_by': (PRETRAIN,)}
  )
  optimizer: Optimizer = Optimizer()
  knn: Knn = Knn()
  online_metrics: OnlineMetrics = OnlineMetrics()
  evaluate: Evaluate = Evaluate()
  negatives: Negatives = Negatives()
  checkpoint: Checkpoint = Checkpoint()
  report: Report = Report()
  devices: Devices = Devices()
  # Where each flag was set, 'command line' or 'FILE:LINE'; those of a stored configuration are left
  # out.
  given: Mapping[str, str] = dataclasses.field(
    default_factory=dict, compare=False, repr=False, metadata={'flag': False}
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if not self.extend_schedule or len(self.extend_schedule) > max(len(self.extend), 1):
      found = ','.join(self.extend_schedule) or '(none)'
      raise ArgumentError('extend_schedule', found, 'a word for each number of extend, or one')
    # Ignored, they would start a training that nobody asked for.
    for field in dataclasses.fields(self):
      name, readers = field.name, field.metadata.get('read_by') or ()
      found = getattr(self, name)
      if name in ('class_counts', 'weights', 'compare') and found and self.reader not in readers:
        found = found if isinstance(found, str) else ','.join(found)
        raise ArgumentError(name, found, _left_out(self.reader, readers))

  @property
  def reader(self) -> str:
    """What reads the settings: the task, with the flag that it has instead of a run."""
    for reader, task, flag in ((WEIGHTS, EVALUATE, 'weights'), (PLAN, NEGATIVES, 'class_counts')):
      if self.task == task and getattr(self, flag):
        return reader
    return self.task

  @property
  def stored(self) -> Config:
    """The configuration as a run stores it: without consents that are given for one start."""
    return dataclasses.replace(
      self,
      data=dataclasses.replace(self.data, accept_changes=False),
      checkpoint=dataclasses.replace(self.checkpoint, start_over=False),
    )

  @property
  def extensions(self) -> tuple[tuple[float, str], ...]:
    """Epochs and schedule of each extension."""
    given, last = self.extend_schedule, self.extend_schedule[-1]
    words = (*given, *(last for _ in self.extend[len(given) :]))
    return tuple(zip(self.extend, words, strict=False))

  @property
  def view_size(self) -> int:
    """Side of a view in pixels."""
    return self.views.size or self.data.image_size

  @property
  def source_name(self) -> str:
    """A short name of the source: that of its file or folder, where it has one."""
    name, _, path = self.data.source.partition(':')
    return pathlib.Path(path).stem or name

  @property
  def run_folder(self) -> str:
    """`run_dir`, or the folder a run without one gets."""
    return self.run_dir or f'runs/{self.source_name}-{self.method.name}'


DEFAULT_METHOD = {'method': 'simclr'}


def parser() -> Parser:
  """The parser of every flag."""
  variants = {'method': {name: methods.get(name) for name in methods.names()}}
  return Parser(Config, variants, DEFAULT_METHOD, translate=RENAMES.apply)


def parse(argv: Iterable[str | Argument]) -> Config:
  """The configuration that the arguments (without the program's name) describe.

  Raises:
    UsageError: one line naming the flag, what was found and what is allowed.
  """
  return resolve(argv)[0]


def resolve(
  argv: Iterable[str | Argument], check: Callable[[Config], None] = lambda config: None
) -> tuple[Config, dict[str, str]]:
  """As `parse`, and where each flag that was given was set: 'command line' or 'FILE:LINE'.

  Args:
    argv: the arguments, without the program's name.
    check: refuses a configuration besides, by a UsageError.

  Raises:
    UsageError: as `parse`.
  """

  def check_all(config: Config) -> None:
    refuse_unread(config)
    check(config)

  return parser().resolve(argv, check_all)


def read(file: pathlib.Path) -> Config:
  """The configuration in a flag file, such as the `config.flags` of a run.

  Raises:
    UsageError: as `parse`.
  """
  # Absolute: a relative path may begin with ~, which is no home folder here.
  return parse([f'--flagfile={file.absolute()}'])


def refuse_unread(config: Config) -> None:
  """Refuses flags that were given and that nothing reads.

  A flag of training may be given where there is a run, which it is compared with, and in a flag
  file, which may be a recipe; one that has its default asks for nothing.

  Raises:
    UsageError: naming the first one, and who reads it.
  """
  declared, values = parser().metadata(config), parser().render(config)
  defaults = default_flags(config)
  for name, origin in config.given.items():
    readers = declared[name].get('read_by')
    described = config.reader in OF_RUNS or origin != COMMAND_LINE
    if readers is None or config.reader in readers or (PRETRAIN in readers and described):
      if origin == COMMAND_LINE and values[name] != defaults[name]:
        _refuse_unread_beside(name, declared[name].get('read_with') or {}, values)
      continue
    if values[name] != defaults[name]:
      error = ArgumentError(name, values[name], _left_out(config.reader, readers))
      raise UsageError(error.sentence(f'--{name}'))


def _refuse_unread_beside(
  name: str, read_with: Mapping[str, tuple[str, ...]], values: Mapping[str, str]
) -> None:
  """Refuses a setting that is not read with the value that another one of its section has."""
  for field, allowed in read_with.items():
    other = f'{name.rpartition(".")[0]}.{field}'.lstrip('.')
    if values[other] not in allowed if allowed else values[other] in ('', '0'):
      wanted = f'={" or ".join(allowed)}' if allowed else ''
      reason = f'left out with --{other}={values[other]}; it is read with --{other}{wanted}'
      raise UsageError(ArgumentError(name, values[name], reason).sentence(f'--{name}'))


def default_flags(config: Config) -> dict[str, str]:
  """The defaults of the flags that `config` has, which depend on its method."""
  defaults = parser().render(dataclasses.replace(Config(), method=type(config.method)()))
  return defaults | {f'{section}.name': name for section, name in DEFAULT_METHOD.items()}


def _left_out(reader: str, readers: Iterable[str]) -> str:
  return f'left out of --task={reader}; it is read by --task={" and --task=".join(readers)}'


def to_flags(config: Config) -> str:
  """The fully resolved configuration as a flag file that repeats the run."""
  lines = parser().render(config)
  return ''.join(f'--{name}={quote(value)}\n' for name, value in lines.items())


def differences(old: Config, new: Config) -> list[str]:
  """The flags that affect the result and differ, as `--name: OLD in the folder, NEW now`.

  Two paths to one place are the same, and so is a new one where the old one is gone. A run may be
  extended.
  """
  if old.extensions == new.extensions[: len(old.extensions)]:
    old = dataclasses.replace(old, extend=new.extend, extend_schedule=new.extend_schedule)
  before, after = parser().affecting_result(old), parser().affecting_result(new)
  declared = parser().metadata(new)
  return [
    f'--{name}: {shown(before.get(name, "(none)"))} in the folder, '
    f'{shown(after.get(name, "(none)"))} now'
    for name in dict.fromkeys([*before, *after])
    if before.get(name) != after.get(name)
    and not (
      declared.get(name, {}).get('path') and same_place(before.get(name, ''), after.get(name, ''))
    )
  ]


def same_place(old: str, new: str) -> bool:
  """Whether two paths, or KIND:PATH, lead to one place, or the new one does and the old is gone."""
  (kind, colon, was), (other, _, path) = old.partition(':'), new.partition(':')
  if not colon:
    kind, was, other, path = '', old, '', new
  if not (was and path and kind == other and pathlib.Path(path).exists()):
    return False
  before = pathlib.Path(was)
  return not before.exists() or before.samefile(path)
