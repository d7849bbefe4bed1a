"""Settings of the measurements during training and after it; none of them affects what is trained,
but for the kNN that the best checkpoint is chosen by."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ssl_jax.arguments import ArgumentError, setting
from ssl_jax.config.flags import Settings
from ssl_jax.config.readers import EVALUATE, NEGATIVES, PLAN, PRETRAIN, WEIGHTS
from ssl_jax.evaluation.probes import recipes


@dataclasses.dataclass(frozen=True)
class Knn(Settings):
  """Weighted k-nearest-neighbor accuracy of the frozen encoder, in training and by evaluate."""

  read_by: ClassVar = (PRETRAIN, EVALUATE, WEIGHTS)

  k: tuple[int, ...] = setting(
    (200, 5, 10, 20),
    'numbers of neighbors that vote: training takes the first, at most the number of training '
    'images; evaluate all',
    affects_result='first',
    at_least=1,
  )
  temperature: tuple[float, ...] = setting(
    (0.07, 0.1),
    'temperatures T, a neighbor votes with exp(cosine / T): training takes the first, evaluate all',
    affects_result='first',
    above=0,
  )
  every_epochs: float = setting(
    10.0,
    'epochs between measurements; 0 measures only at the end',
    at_least=0,
    read_by=(PRETRAIN,),
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    for name in ('k', 'temperature'):
      if not getattr(self, name):
        raise ArgumentError(name, '(none)', 'a list of at least one number')


@dataclasses.dataclass(frozen=True)
class Negatives(Settings):
  """The study of negative samples, `--task=negatives`."""

  affects_result: ClassVar[bool] = False
  read_by: ClassVar = (NEGATIVES,)

  batch_sizes: tuple[int, ...] = setting(
    (),
    'K+1, images an anchor is compared with; empty takes powers of 2',
    at_least=2,
    read_by=(NEGATIVES, PLAN),
  )
  control_batch_size: int = setting(
    0,
    'fixed batch of the control, with sub-sampled negatives; 0 takes the largest',
    at_least=2,
    also=0,
  )
  num_negatives: tuple[int, ...] = setting(
    (),
    'K of the control, below its batch; empty takes those of the batches',
    at_least=1,
  )
  epochs: int = setting(10, 'passes over the test images, each with fresh views', at_least=1)
  mean_feature_passes: int = setting(
    5,
    'passes of two views each behind the mean feature of an image',
    at_least=1,
  )
  temperature: float = setting(
    0.0, "temperature of the losses; 0 takes the method's, or 0.5", at_least=0
  )
  linear: bool = setting(True, 'also train linear probes, with and without head')


@dataclasses.dataclass(frozen=True)
class OnlineMetrics(Settings):
  """Scores logged during training, of a fixed set of labeled test images."""

  affects_result: ClassVar[bool] = False
  read_by: ClassVar = (PRETRAIN,)

  names: tuple[str, ...] = setting(
    (),
    'protocols whose numbers are logged during training; --help=evaluate lists them',
  )
  every_epochs: float = setting(
    10.0, 'epochs between measurements', above=0, read_with={'names': ()}
  )
  images: int = setting(
    1000, 'number of test images measured, the first ones', at_least=2, read_with={'names': ()}
  )
  views: int = setting(4, 'augmented views of each test image', at_least=2, read_with={'names': ()})


@dataclasses.dataclass(frozen=True)
class Evaluate(Settings):
  """`--task=evaluate`: the protocols' own settings."""

  affects_result: ClassVar[bool] = False
  # In training by the protocols of --online_metrics.names.
  read_by: ClassVar = (PRETRAIN, EVALUATE, WEIGHTS)

  checkpoint: str = setting(
    'last',
    'which checkpoint: the newest, or that of the highest kNN in training',
    choices=('last', 'best'),
    read_by=(EVALUATE, NEGATIVES),
  )
  baseline: bool = setting(True, 'also measure the untrained encoder', read_by=(EVALUATE, WEIGHTS))
  layer: str = setting(
    'encoder',
    'network whose output is measured: encoder or projection head',
    choices=('encoder', 'projector'),
    read_by=(EVALUATE, WEIGHTS),
  )
  views: int = setting(
    8,
    'augmented views an image, where a protocol needs them',
    at_least=2,
    read_by=(EVALUATE, WEIGHTS),
  )
  augmented_images: int = setting(
    1000,
    'number of test images whose augmented views are measured, the first ones',
    at_least=2,
    read_by=(EVALUATE, WEIGHTS),
  )
  bank_chunk_rows: int = setting(
    65_536,
    'rows of the bank compared at once; bounds the memory of a search',
    at_least=1,
  )
  probe: str = setting(
    'grid',
    'settings of the linear probes, by the name of a preset',
    choices=tuple(recipes.PRESETS),
  )
  probe_epochs: int = setting(0, "epochs of the linear probes; 0 takes the preset's", at_least=0)
  probe_views: int = setting(
    0,
    'augmented passes over the training images to probe on; 0 takes them as they are',
    at_least=0,
  )
  fractions: tuple[float, ...] = setting(
    (0.01, 0.1), 'fractions of the labels, for few labels', above=0, at_most=1
  )
  label_lists: tuple[str, ...] = setting(
    (), 'files of image names, one a line, instead of fractions; for folders', path=True
  )
  fine_tuning_epochs: int = setting(20, 'epochs of fine-tuning', at_least=1)
  ways: int = setting(5, 'classes of an episode', at_least=2)
  shots: int = setting(1, 'labeled images of each class of an episode', at_least=1)
  queries: int = setting(15, 'images of each class to tell apart in an episode', at_least=1)
  episodes: int = setting(2000, 'number of few-shot episodes', at_least=2)
  long_tail_rule: str = setting(
    'auto',
    'many, medium, few classes: thirds by size, or over 100, 20 to 100, under 20 images',
    choices=('auto', 'thirds', 'imagenet_lt'),
  )
  transfer: str = setting('', 'second data source, as data.source, for transfer', path=True)
  reid: str = setting(
    '',
    'queries and gallery of persons, npz:PATH or folder:PATH; empty takes test images',
    path=True,
  )
  reid_flip: bool = setting(
    False,
    'flip ensemble of the released code for re-identification (legacy)',
    read_with={'reid': ()},
  )
  kmeans_restarts: int = setting(10, 'runs of k-means, of which the best counts', at_least=1)
  false_negative_batch_size: int = setting(
    0,
    "batch of the false-negative audit; 0 takes the run's",
    at_least=3,
    also=0,
  )
