"""Every setting of a run, declared once; the flags, `--help` and `config.flags` are generated from
here.

The hyper-parameters of a method are declared by the method's own dataclass and appear as
`--method.FIELD`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable
from typing import ClassVar

from ssl_jax import data, methods, models, views
from ssl_jax.arguments import ArgumentError, setting
from ssl_jax.config.evaluation import Evaluate, Knn, Negatives, OnlineMetrics
from ssl_jax.config.flags import Parser, Settings, flags_of
from ssl_jax.config.optimization import Optimizer
from ssl_jax.config.renames import RENAMES


@dataclasses.dataclass(frozen=True)
class Data(Settings):
  """The images, and how many enter one forward pass."""

  source: str = setting('photographs', 'photographs, digits, npz:PATH or folder:PATH')
  batch_size: int = setting(256, 'images of one forward pass, over all devices', at_least=2)
  image_size: int = setting(
    32, 'side in pixels at which images are stored on the device', at_least=4, at_most=1024
  )
  imbalance_factor: float = setting(
    1.0, 'smallest class over largest, long-tailed; 1 keeps all images', above=0, at_most=1
  )
  train_limit: int = setting(
    0, 'number of training images kept, the first ones; 0 keeps all', at_least=0
  )
  test_fraction: float = setting(
    0.1, 'part held out where the source has no test images', at_least=0, below=1
  )
  validation: bool = setting(
    False,
    'measure on images held out of the training ones, not on the test images, to choose settings',
  )
  on_error: str = setting(
    'skip', 'a damaged image is reported and skipped, or ends the run', choices=('skip', 'fail')
  )
  accept_changes: bool = setting(
    False,
    'resume although the images have changed since the run began; for this start alone',
    affects_result=False,
  )

  def load(self, log: Callable[[str], None] = print) -> data.Dataset:
    """The images and labels on the host, `log` taking one line about each image that is skipped.

    The held-out images do not depend on --seed: runs of several seeds share one test set.

    Raises:
      UsageError: naming the flag of a setting that does not fit the images.
      OSError: the data cannot be read.
    """
    settings = dataclasses.asdict(self)
    del settings['batch_size'], settings['accept_changes']
    with flags_of('data', self):
      return data.load(**settings, log=log)


@dataclasses.dataclass(frozen=True)
class Views(Settings):
  """The augmentations that make views of an image."""

  recipe: str = setting('cifar_simclr', 'distribution of augmentations', choices=views.NAMES)
  size: int = setting(
    0, 'side of a view in pixels; 0 takes data.image_size', at_least=4, at_most=1024, also=0
  )
  crop_scale_min: float = setting(
    0.0, 'smallest area of a random crop; 0 keeps that of views.recipe', at_least=0, at_most=1
  )
  jitter_strength: float = setting(1.0, 'factor on the color jitter of views.recipe', at_least=0)
  permutation_prob: float = setting(
    -1.0,
    'probability of a random order of the color channels; -1 keeps that of views.recipe',
    at_least=0,
    at_most=1,
    also=-1,
  )
  interpolation: str = setting(
    'recipe',
    'interpolation of the random resized crop',
    choices=('recipe', 'bilinear', 'bicubic'),
  )
  normalization: str = setting(
    'recipe',
    'mean and deviation that colors are normalized by; none leaves them between 0 and 1',
    choices=('recipe', *views.STATISTICS),
  )
  same_class_prob: float = setting(
    0.0,
    'probability that the second view is of another training image of the class; uses labels, so '
    'an upper reference',
    at_least=0,
    at_most=1,
  )
  local_crops: int = setting(
    0, 'smaller crops besides the two views (multi-crop); 0 for none', at_least=0, at_most=32
  )
  local_size: int = setting(
    0, 'side of a local crop in pixels; 0 is half of a view', at_least=4, at_most=1024, also=0
  )
  local_scale_min: float = setting(0.05, 'smallest area of a local crop', above=0, at_most=1)
  local_scale_max: float = setting(0.14, 'greatest area of a local crop', above=0, at_most=1)

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.local_scale_max < self.local_scale_min:
      allowed = f'from {self.local_scale_min} (--views.local_scale_min) to 1'
      raise ArgumentError('local_scale_max', self.local_scale_max, allowed)

  def build(self, size: int) -> views.Recipe:
    """The distribution of views of `size` pixels a side.

    Raises:
      UsageError: naming the flag of a setting that does not fit the views.
    """
    mean, std = views.STATISTICS.get(self.normalization, (None, None))
    with flags_of('views', self):
      return views.recipe(
        self.recipe,
        size=size,
        crop_scale_min=self.crop_scale_min or None,
        jitter_strength=self.jitter_strength,
        permutation_prob=None if self.permutation_prob < 0 else self.permutation_prob,
        interpolation=None if self.interpolation == 'recipe' else self.interpolation,
        local_crops=self.local_crops,
        local_size=self.local_size,
        local_scale=(self.local_scale_min, self.local_scale_max),
        mean=mean,
        std=std,
      )


@dataclasses.dataclass(frozen=True)
class Model(Settings):
  """The encoder."""

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

  def build(self) -> models.Network:
    """The encoder.

    Raises:
      UsageError: naming the flag of a setting that the network refuses.
    """
    with flags_of('model', self):
      return models.resnet(**dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Checkpoint(Settings):
  """Which checkpoints are saved and kept."""

  affects_result: ClassVar[bool] = False

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

  every_steps: int = setting(20, 'steps between lines of metrics', at_least=1)
  tensorboard: bool = setting(True, 'also write TensorBoard event files')
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
  )
  deterministic: bool = setting(False, 'only GPU kernels that repeat byte for byte')
  coordinator_address: str = setting(
    '', 'HOST:PORT of process 0; empty is one process, auto asks the cluster'
  )
  num_processes: int = setting(1, 'number of processes of the run, with a coordinator', at_least=1)
  process_id: int = setting(0, 'index of this process, with a coordinator', at_least=0)
  compile_cache: str = setting(
    '~/.cache/ssl_jax', 'folder of compiled programs; empty switches it off'
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
  )
  weights: str = setting(
    '', 'evaluate this encoder, FILE.npz or FILE.safetensors, not a run', affects_result=False
  )
  compare: tuple[str, ...] = setting(
    (), 'evaluate these runs side by side: runs/A,runs/B', affects_result=False
  )
  run_dir: str = setting(
    '', 'folder of the run; empty takes runs/SOURCE-METHOD', affects_result=False
  )
  seed: int = setting(
    0, 'seed of initialization, order and augmentation', at_least=0, at_most=2**31 - 1
  )
  epochs: float = setting(100.0, 'passes over the training images', above=0)
  steps: int = setting(
    0,
    'optimizer steps; when above 0 it counts instead of epochs',
    at_least=0,
    at_most=2**31 - 1,
  )
  protocols: tuple[str, ...] = setting(
    ('knn',),
    'what is measured: knn in training; by evaluate, a list from --help=evaluate, or all',
  )
  data: Data = Data()
  views: Views = Views()
  model: Model = Model()
  method: methods.Method = dataclasses.field(default_factory=lambda: methods.create('simclr'))
  optimizer: Optimizer = Optimizer()
  knn: Knn = Knn()
  online_metrics: OnlineMetrics = OnlineMetrics()
  evaluate: Evaluate = Evaluate()
  negatives: Negatives = Negatives()
  checkpoint: Checkpoint = Checkpoint()
  report: Report = Report()
  devices: Devices = Devices()
  given: frozenset[str] = dataclasses.field(
    default=frozenset(), compare=False, repr=False, metadata={'flag': False}
  )  # the flags that were given, also at their default

  def __post_init__(self) -> None:
    super().__post_init__()
    # Ignored, they would start a training that nobody asked for.
    owners = {'class_counts': 'negatives', 'weights': 'evaluate', 'compare': 'evaluate'}
    for name, task in owners.items():
      found = getattr(self, name)
      if found and self.task != task:
        found = found if isinstance(found, str) else ','.join(found)
        raise ArgumentError(name, found, f'left out of --task={self.task}; it needs --task={task}')

  @property
  def stored(self) -> Config:
    """The configuration as a run stores it: without consents that are given for one start."""
    return dataclasses.replace(
      self,
      data=dataclasses.replace(self.data, accept_changes=False),
      checkpoint=dataclasses.replace(self.checkpoint, start_over=False),
    )

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


def parse(argv: Iterable[str]) -> Config:
  """The configuration that the arguments (without the program's name) describe.

  Raises:
    UsageError: one line naming the flag, what was found and what is allowed.
  """
  return resolve(argv)[0]


def resolve(argv: Iterable[str]) -> tuple[Config, dict[str, str]]:
  """As `parse`, and where each flag that was given was set: 'command line' or 'FILE:LINE'.

  Raises:
    UsageError: as `parse`.
  """
  config, origins = parser().resolve(argv)
  return dataclasses.replace(config, given=frozenset(origins)), origins


def to_flags(config: Config) -> str:
  """The fully resolved configuration as a flag file that repeats the run."""
  lines = parser().render(config)
  return ''.join(f'--{name}={value}\n' for name, value in lines.items())


def differences(old: Config, new: Config) -> list[str]:
  """The flags that affect the result and differ, as `--name: OLD in the folder, NEW now`."""
  before, after = parser().affecting_result(old), parser().affecting_result(new)
  return [
    f'--{name}: {before.get(name, "(none)")} in the folder, {after.get(name, "(none)")} now'
    for name in dict.fromkeys([*before, *after])
    if before.get(name) != after.get(name)
  ]
