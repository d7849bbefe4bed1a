"""Every setting of a run, declared once; the flags, `--help` and `config.flags` are generated from
here.

The hyper-parameters of a method are declared by the method's own dataclass and appear as
`--method.FIELD`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable

from ssl_jax import methods, models, views
from ssl_jax.config.evaluation import PROTOCOLS, Evaluate, Knn, Meters, Negatives
from ssl_jax.config.flags import Parser, UsageError, nearest, require, setting
from ssl_jax.config.optimization import Optimizer


@dataclasses.dataclass(frozen=True)
class Data:
  """Which images, and how many enter one forward pass."""

  source: str = setting('photographs', 'photographs, digits, npz:PATH or folder:PATH')
  batch_size: int = setting(256, 'images of one forward pass, over all devices')
  image_size: int = setting(32, 'side in pixels at which images are stored on the device')
  imbalance_factor: float = setting(
    1.0, 'smallest class over largest, long-tailed; 1 keeps all images'
  )
  train_limit: int = setting(0, 'keep only the first N training images; 0 keeps all')
  test_fraction: float = setting(0.1, 'part held out where the source has no test images')
  on_error: str = setting(
    'skip', 'a damaged image is reported and skipped, or ends the run', choices=('skip', 'fail')
  )

  def __post_init__(self) -> None:
    require('data.batch_size', self.batch_size, 'at least 2', self.batch_size >= 2)
    require('data.image_size', self.image_size, 'between 4 and 1024', 4 <= self.image_size <= 1024)
    require(
      'data.imbalance_factor', self.imbalance_factor, 'in (0, 1]', 0 < self.imbalance_factor <= 1
    )
    require('data.train_limit', self.train_limit, '0 or more', self.train_limit >= 0)
    require('data.test_fraction', self.test_fraction, 'in [0, 1)', 0 <= self.test_fraction < 1)


@dataclasses.dataclass(frozen=True)
class Views:
  """How one image becomes several."""

  recipe: str = setting('cifar_simclr', 'the distribution of augmentations', choices=views.NAMES)
  size: int = setting(0, 'side of a view in pixels; 0 takes data.image_size')
  crop_scale_min: float = setting(0.0, 'smallest area of a random crop; 0 keeps the recipe')
  jitter_strength: float = setting(1.0, "multiplies the recipe's color jitter")
  interpolation: str = setting(
    'recipe', 'of the random resized crop', choices=('recipe', 'bilinear', 'bicubic')
  )
  normalization: str = setting(
    'recipe',
    'mean and deviation that colors are normalized by; none leaves them between 0 and 1',
    choices=('recipe', *views.STATISTICS),
  )
  local_crops: int = setting(0, 'smaller crops besides the two views (multi-crop); 0 for none')
  local_size: int = setting(0, 'side of a local crop in pixels; 0 is half of a view')
  local_scale_min: float = setting(0.05, 'smallest area of a local crop')
  local_scale_max: float = setting(0.14, 'greatest area of a local crop')

  def __post_init__(self) -> None:
    require('views.local_crops', self.local_crops, 'in [0, 32]', 0 <= self.local_crops <= 32)
    fits = self.local_size == 0 or 4 <= self.local_size <= 1024
    require('views.local_size', self.local_size, '0 or between 4 and 1024', fits)
    low, high = self.local_scale_min, self.local_scale_max
    require('views.local_scale_min', low, 'in (0, 1]', 0 < low <= 1)
    require('views.local_scale_max', high, f'from local_scale_min {low} to 1', low <= high <= 1)
    require(
      'views.size', self.size, '0 or between 4 and 1024', self.size == 0 or 4 <= self.size <= 1024
    )
    require('views.crop_scale_min', self.crop_scale_min, 'in [0, 1]', 0 <= self.crop_scale_min <= 1)
    require('views.jitter_strength', self.jitter_strength, '0 or more', self.jitter_strength >= 0)

  @property
  def statistics(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation as `views.recipe` takes them; None keeps those of the recipe."""
    return views.STATISTICS.get(self.normalization, (None, None))


@dataclasses.dataclass(frozen=True)
class Model:
  """The encoder."""

  name: str = setting('resnet18', 'architecture', choices=models.names())
  stem: str = setting(
    'cifar',
    'cifar: 3x3 without pooling, padded by 3 in cifar_padded; imagenet: 7x7, stride 2, max-pool',
    choices=models.STEMS,
  )
  width: int = setting(64, 'channels of the first stage')
  zero_init_residual: bool = setting(False, 'start every residual branch at zero')
  conv_init: str = setting(
    'kaiming_normal_fan_in',
    'distribution of the convolutions at the start',
    choices=models.CONV_INITS,
  )
  stem_init: str = setting(
    'as_the_others',
    'distribution of the first convolution at the start',
    choices=models.STEM_INITS,
  )
  dtype: str = setting(
    'float32',
    'of the computation; parameters and statistics stay float32',
    choices=('float32', 'bfloat16'),
  )

  def __post_init__(self) -> None:
    require('model.width', self.width, 'between 1 and 1024', 1 <= self.width <= 1024)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What is kept on disk, and how often."""

  every_steps: int = setting(
    500, 'steps between checkpoints; 0 saves only at the end', affects_result=False
  )
  keep_last: int = setting(2, 'newest checkpoints kept', affects_result=False)
  keep_best: int = setting(1, 'checkpoints of the highest kNN kept besides', affects_result=False)

  def __post_init__(self) -> None:
    require('checkpoint.every_steps', self.every_steps, '0 or more', self.every_steps >= 0)
    require('checkpoint.keep_last', self.keep_last, 'at least 1', self.keep_last >= 1)
    require('checkpoint.keep_best', self.keep_best, '0 or more', self.keep_best >= 0)


@dataclasses.dataclass(frozen=True)
class Report:
  """What a person sees."""

  every_steps: int = setting(20, 'steps between lines of metrics', affects_result=False)
  tensorboard: bool = setting(True, 'also write TensorBoard event files', affects_result=False)
  html: bool = setting(True, 'write report.html at the end', affects_result=False)

  def __post_init__(self) -> None:
    require('report.every_steps', self.every_steps, 'at least 1', self.every_steps >= 1)


@dataclasses.dataclass(frozen=True)
class Devices:
  """Where it runs. None of this decides the outcome, up to rounding."""

  platform: str = setting(
    'auto', 'what to run on', choices=('auto', 'cpu', 'gpu', 'tpu'), affects_result=False
  )
  simulate: int = setting(
    0, 'split the CPU into N simulated devices; 0 does not', affects_result=False
  )
  steps_per_call: int = setting(
    1, 'steps in one compiled loop; slow on CPU, see the architecture page', affects_result=False
  )
  deterministic: bool = setting(
    False, 'only GPU kernels that repeat byte for byte', affects_result=False
  )
  coordinator: str = setting(
    '', 'HOST:PORT of process 0; empty is one process, auto asks the cluster', affects_result=False
  )
  processes: int = setting(1, 'processes of the run, with a coordinator', affects_result=False)
  process: int = setting(0, 'number of this process, with a coordinator', affects_result=False)
  compile_cache: str = setting(
    '~/.cache/ssl_jax', 'folder of compiled programs; empty switches it off', affects_result=False
  )

  def __post_init__(self) -> None:
    require('devices.simulate', self.simulate, 'between 0 and 64', 0 <= self.simulate <= 64)
    require('devices.steps_per_call', self.steps_per_call, 'at least 1', self.steps_per_call >= 1)
    require('devices.processes', self.processes, 'at least 1', self.processes >= 1)
    require(
      'devices.process', self.process, 'below devices.processes', 0 <= self.process < self.processes
    )


@dataclasses.dataclass(frozen=True)
class Config:
  """A whole run."""

  task: str = setting('pretrain', 'what to do', choices=('pretrain', 'evaluate', 'analyze'))
  analysis: str = setting(
    'negatives', 'which study --task=analyze makes', choices=('negatives',), affects_result=False
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
  seed: int = setting(0, 'decides initialization, order and augmentation')
  epochs: float = setting(100.0, 'passes over the training images')
  steps: int = setting(0, 'optimizer steps; when above 0 it counts instead of epochs')
  protocols: tuple[str, ...] = setting(
    ('knn',), 'what is measured: knn in training; by evaluate, any of its protocols, or all'
  )
  data: Data = Data()
  views: Views = Views()
  model: Model = Model()
  method: methods.Method = dataclasses.field(default_factory=lambda: methods.create('simclr'))
  optimizer: Optimizer = Optimizer()
  knn: Knn = Knn()
  meters: Meters = Meters()
  evaluate: Evaluate = Evaluate()
  negatives: Negatives = Negatives()
  checkpoint: Checkpoint = Checkpoint()
  report: Report = Report()
  devices: Devices = Devices()

  def __post_init__(self) -> None:
    require('seed', self.seed, 'between 0 and 2**31 - 1', 0 <= self.seed < 2**31)
    require('steps', self.steps, '0 or more', self.steps >= 0)
    require('epochs', self.epochs, 'above 0', self.epochs > 0)
    names = ('knn',) if self.task == 'pretrain' else ('all', *PROTOCOLS)
    rest = '; others belong to --task=evaluate' if self.task == 'pretrain' else ''
    for protocol in self.protocols:
      allowed = f'a list of: {", ".join(names)}{rest}'
      require('protocols', f'{protocol}{likely(protocol, names)}', allowed, protocol in names)

  @property
  def chosen_protocols(self) -> tuple[str, ...]:
    """The protocols, each once, with `all` written out."""
    chosen = tuple(PROTOCOLS) if 'all' in self.protocols else self.protocols
    return tuple(dict.fromkeys(chosen))

  @property
  def view_size(self) -> int:
    """Side of a view in pixels."""
    return self.views.size or self.data.image_size

  @property
  def source_name(self) -> str:
    """The source in a word: the name of its file or folder, where it has one."""
    name, _, path = self.data.source.partition(':')
    return pathlib.Path(path).stem or name

  @property
  def run_folder(self) -> str:
    """`run_dir`, or the folder a run without one gets."""
    return self.run_dir or f'runs/{self.source_name}-{self.method.name}'


def likely(word: str, names: Iterable[str]) -> str:
  """', did you mean NAME' for the name most like the word, or nothing."""
  found = () if word in names else nearest(word, names, 1)
  return f' (did you mean {found[0]}?)' if found else ''


DEFAULT_METHOD = {'method': 'simclr'}


def parser() -> Parser:
  """The parser of every flag."""
  return Parser(
    Config, {'method': {name: methods.get(name) for name in methods.names()}}, DEFAULT_METHOD
  )


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
  try:
    return parser().resolve(argv)
  except UsageError:
    raise
  except ValueError as error:  # a method refuses a hyper-parameter
    raise UsageError(f'--{error}') from error


def to_flags(config: Config) -> str:
  """The fully resolved configuration as a flag file that repeats the run."""
  lines = parser().render(config)
  return ''.join(f'--{name}={value}\n' for name, value in lines.items())


def differences(old: Config, new: Config) -> list[str]:
  """The flags that decide the outcome and differ, as `--name: OLD in the folder, NEW now`."""
  before, after = parser().render(old), parser().render(new)
  decide = parser().affecting_result(old) | parser().affecting_result(new)
  return [
    f'--{name}: {before.get(name, "(none)")} in the folder, {after.get(name, "(none)")} now'
    for name in dict.fromkeys([*before, *after])
    if name in decide and before.get(name) != after.get(name)
  ]
