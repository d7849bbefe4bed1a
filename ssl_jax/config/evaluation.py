"""Settings of the measurements during training and after it; none of them affects what is trained,
but for the kNN that the best checkpoint is chosen by."""

from __future__ import annotations

import dataclasses

from ssl_jax.arguments import ArgumentError, check_settings, setting
from ssl_jax.evaluation.probes import recipes


@dataclasses.dataclass(frozen=True)
class Knn:
  """Weighted k-nearest-neighbor accuracy of the frozen encoder, in training and by evaluate."""

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
    10.0, 'epochs between measurements; 0 measures only at the end', at_least=0
  )

  def __post_init__(self) -> None:
    check_settings(self)
    for name in ('k', 'temperature'):
      if not getattr(self, name):
        raise ArgumentError(name, '(none)', 'a list of at least one number')


@dataclasses.dataclass(frozen=True)
class Negatives:
  """The study of negative samples, `--task=negatives`."""

  batch_sizes: tuple[int, ...] = setting(
    (),
    'K+1, images an anchor is compared with; empty takes powers of 2',
    affects_result=False,
    at_least=2,
  )
  control_batch_size: int = setting(
    0,
    'fixed batch of the control, with sub-sampled negatives; 0 takes the largest',
    affects_result=False,
    at_least=2,
    also=0,
  )
  num_negatives: tuple[int, ...] = setting(
    (),
    'K of the control, below its batch; empty takes those of the batches',
    affects_result=False,
    at_least=1,
  )
  epochs: int = setting(
    10, 'passes over the test images, each with fresh views', affects_result=False, at_least=1
  )
  mean_feature_passes: int = setting(
    5,
    'passes of two views each behind the mean feature of an image',
    affects_result=False,
    at_least=1,
  )
  temperature: float = setting(
    0.0, "temperature of the losses; 0 takes the method's, or 0.5", affects_result=False, at_least=0
  )
  linear: bool = setting(
    True, 'also train linear probes, with and without head', affects_result=False
  )

  def __post_init__(self) -> None:
    check_settings(self)


@dataclasses.dataclass(frozen=True)
class OnlineMetrics:
  """Scores logged during training, of a fixed set of labeled test images."""

  names: tuple[str, ...] = setting(
    (),
    'protocols whose numbers are logged during training; --help=evaluate lists them',
    affects_result=False,
  )
  every_epochs: float = setting(10.0, 'epochs between measurements', affects_result=False, above=0)
  images: int = setting(
    1000, 'number of test images measured, the first ones', affects_result=False, at_least=2
  )
  views: int = setting(4, 'augmented views of each test image', affects_result=False, at_least=2)

  def __post_init__(self) -> None:
    check_settings(self)


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """`--task=evaluate`: the protocols' own settings."""

  checkpoint: str = setting(
    'last',
    'which checkpoint: the newest, or that of the highest kNN in training',
    choices=('last', 'best'),
    affects_result=False,
  )
  baseline: bool = setting(True, 'also measure the untrained encoder', affects_result=False)
  layer: str = setting(
    'encoder',
    'network whose output is measured: encoder or projection head',
    choices=('encoder', 'projector'),
    affects_result=False,
  )
  views: int = setting(
    8, 'augmented views an image, where a protocol needs them', affects_result=False, at_least=2
  )
  augmented_images: int = setting(
    1000,
    'number of test images whose augmented views are measured, the first ones',
    affects_result=False,
    at_least=2,
  )
  bank_chunk_rows: int = setting(
    65_536,
    'rows of the bank compared at once; bounds the memory of a search',
    affects_result=False,
    at_least=1,
  )
  probe: str = setting(
    'grid',
    'settings of the linear probes, by the name of a preset',
    choices=tuple(recipes.PRESETS),
    affects_result=False,
  )
  probe_epochs: int = setting(
    0, "epochs of the linear probes; 0 takes the preset's", affects_result=False, at_least=0
  )
  probe_views: int = setting(
    0,
    'augmented passes over the training images to probe on; 0 takes them as they are',
    affects_result=False,
    at_least=0,
  )
  fractions: tuple[float, ...] = setting(
    (0.01, 0.1), 'fractions of the labels, for few labels', affects_result=False, above=0, at_most=1
  )
  label_lists: tuple[str, ...] = setting(
    (), 'files of image names, one a line, instead of fractions; for folders', affects_result=False
  )
  fine_tuning_epochs: int = setting(20, 'epochs of fine-tuning', affects_result=False, at_least=1)
  ways: int = setting(5, 'classes of an episode', affects_result=False, at_least=2)
  shots: int = setting(
    1, 'labeled images of each class of an episode', affects_result=False, at_least=1
  )
  queries: int = setting(
    15, 'images of each class to tell apart in an episode', affects_result=False, at_least=1
  )
  episodes: int = setting(2000, 'number of few-shot episodes', affects_result=False, at_least=2)
  long_tail_rule: str = setting(
    'auto',
    'many, medium, few classes: thirds by size, or over 100, 20 to 100, under 20 images',
    choices=('auto', 'thirds', 'imagenet_lt'),
    affects_result=False,
  )
  transfer: str = setting(
    '', 'second data source, as data.source, for transfer', affects_result=False
  )
  reid: str = setting(
    '',
    'queries and gallery of persons, npz:PATH or folder:PATH; empty takes test images',
    affects_result=False,
  )
  reid_flip: bool = setting(
    False, 'flip ensemble of the released code for re-identification (legacy)', affects_result=False
  )
  kmeans_restarts: int = setting(
    10, 'runs of k-means, of which the best counts', affects_result=False, at_least=1
  )
  false_negative_batch_size: int = setting(
    0,
    "batch of the false-negative audit; 0 takes the run's",
    affects_result=False,
    at_least=3,
    also=0,
  )

  def __post_init__(self) -> None:
    check_settings(self)
