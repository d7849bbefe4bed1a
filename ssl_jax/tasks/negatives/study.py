"""The negative-sample study of a run: its tables T2, T3 and T4 from features of held-out images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from jax.sharding import NamedSharding

from ssl_jax import analysis, evaluation
from ssl_jax.arguments import ArgumentError
from ssl_jax.evaluation import LinearProbeResult, NegativeSampleBounds
from ssl_jax.reporting import Measured, Probability, Table
from ssl_jax.tasks.negatives.features import ViewFeatures
from ssl_jax.tasks.negatives.planner import ClassSizes, heading


@dataclasses.dataclass(frozen=True)
class Study:
  """The measurements of one run, or of several runs with a column each.

  Attributes:
    sizes: of the classes of the test images.
    batches: K+1 of each column.
    names: of the run behind each column where every column has one of its own, else empty.
    bounds: of each column.
    control: of each K, with a fixed batch.
    marked: the batch of the run; 0 where each column has a run.
    mean_accuracy: of the class means with head, of each column.
    knn: of the run without head, as it was measured at its end, of each column.
    linear: of each column, the linear probes with and without head; empty where none was trained.
    collision_bound: on training images, of each column.
    epochs: over the test images.
  """

  sizes: ClassSizes
  batches: tuple[int, ...]
  names: tuple[str, ...]
  bounds: tuple[NegativeSampleBounds, ...]
  control: tuple[NegativeSampleBounds, ...]
  marked: int
  mean_accuracy: tuple[float, ...]
  knn: tuple[float | None, ...]
  linear: tuple[tuple[LinearProbeResult, ...], ...]
  collision_bound: tuple[float, ...]
  epochs: int

  @property
  def columns(self) -> tuple[str, ...]:
    if self.names:
      pairs = zip(self.batches, self.names, strict=True)
      return ('K+1', *(f'{batch:,} ({name})' for batch, name in pairs))
    return ('K+1', *(heading(batch, self.marked, 'run') for batch in self.batches))

  def measured(self, name: str) -> list[Measured]:
    """A term of every batch."""
    return [_measured(bounds, name) for bounds in self.bounds]

  def exact(self, name: str, *, without: bool) -> list[float]:
    """A function of `analysis` for every batch; `K` functions are given the negatives."""
    function = getattr(analysis, name)
    fewer = 0 if name == 'coverage_probability' else 1
    keywords = {'class_counts': self.sizes.counts} if without else {'class_probs': self.sizes.probs}
    return [function(batch - fewer, **keywords) for batch in self.batches]


def measure(
  features: ViewFeatures,
  train_labels: np.ndarray,
  test_labels: np.ndarray,
  *,
  name: str,
  batches: Iterable[int],
  control_batch: int,
  num_negatives: Iterable[int],
  marked: int,
  temperature: float,
  seed: int,
  knn: float | None,
  linear: tuple[LinearProbeResult, ...],
  sharding: NamedSharding | None,
) -> Study:
  """Measures every batch and every K of the control on the same features.

  Raises:
    ValueError: a batch is larger than the test set, or a K not below its batch.
  """
  counts = np.bincount(test_labels)
  classes = len(counts)
  means = features.class_means(train_labels, classes)
  estimate = lambda batch, negatives=None: evaluation.negative_sample_bounds(
    features.test_views,
    test_labels,
    features.test_means,
    means,
    batch_size=batch,
    temperature=temperature,
    num_negatives=negatives,
    seed=seed,
    sharding=sharding,
  )
  batches = tuple(batches)
  each = lambda value: (value,) * len(batches)
  return Study(
    sizes=ClassSizes(name, counts.astype(np.int64)),
    batches=batches,
    names=(),
    bounds=tuple(estimate(batch) for batch in batches),
    control=tuple(estimate(control_batch, number) for number in num_negatives),
    marked=marked,
    mean_accuracy=each(features.mean_accuracy(train_labels, test_labels)),
    knn=each(knn),
    linear=(linear,) * len(batches),
    collision_bound=each(
      evaluation.collision_upper_bound(
        features.train_views[:, 0], features.train_views[:, 1], train_labels
      )
    ),
    epochs=len(features.test_views),
  )


def joined(studies: Mapping[str, Study]) -> Study:
  """One study of several runs by name, each a column with the K it was trained with.

  Raises:
    ValueError: the test images of the runs have other class sizes.
  """
  runs = sorted(studies.items(), key=lambda item: (item[1].batches[0], item[0]))
  first = runs[0][1]
  for name, study in runs:
    if not np.array_equal(study.sizes.counts, first.sizes.counts):
      raise ArgumentError('run_dir', f'other test images in {name}', f'those of {runs[0][0]}')
  column = lambda field: tuple(getattr(study, field)[0] for _, study in runs)
  return dataclasses.replace(
    first,
    batches=column('batches'),
    names=tuple(name for name, _ in runs),
    bounds=column('bounds'),
    control=runs[-1][1].control,
    marked=0,
    mean_accuracy=column('mean_accuracy'),
    knn=column('knn'),
    linear=column('linear'),
    collision_bound=column('collision_bound'),
  )


def terms_table(study: Study) -> Table:
  """T2: the terms of both bounds for each K+1."""
  share = lambda values: [Probability(value) for value in values]
  encoders = 'an encoder for each column' if study.names else 'one encoder for all columns'
  rows: list[tuple] = [
    ('tau, measured', *study.measured('collision_probability')),
    ('tau, independent draws', *share(study.exact('collision_probability', without=False))),
    ('tau, without replacement', *share(study.exact('collision_probability', without=True))),
    ('upsilon, measured', *map(_censored, study.bounds)),
    ('upsilon, independent draws', *share(study.exact('coverage_probability', without=False))),
    ('upsilon, without replacement', *share(study.exact('coverage_probability', without=True))),
    ('accuracy of class means', *study.mean_accuracy),
    *_linear_rows(study),
    *([('kNN of the run, no head', *study.knn)] if any(study.knn) else []),
    ('L_Info', *study.measured('info_nce')),
    ('symmetric SimCLR loss', *study.measured('symmetric_info_nce')),
    ('E l(mu), class means for features', *study.measured('class_mean_loss')),
    ('d(f)', *study.measured('gap')),
    ('CURL bound', *study.measured('curl_bound')),
    ('  CURL L_sup', *study.measured('curl_supervised')),
    ('  CURL L_sub', *study.measured('curl_sub_class')),
    ('proposed bound', *study.measured('proposed_bound')),
    ('  L_sup x 1/2', *(_scaled(value, 0.5) for value in study.measured('supervised_covered'))),
    ('  L_sub x 1/2', *(_scaled(value, 0.5) for value in study.measured('sub_class'))),
    ('collision E ln(1+Col)', *study.measured('collision')),
    ('  independent draws', *study.exact('expected_log_collisions', without=False)),
    ('  without replacement', *study.exact('expected_log_collisions', without=True)),
    ('collision upper bound', *study.collision_bound),
    (
      'L_Info - proposed bound',
      *(bounds.info_nce - bounds.proposed_bound for bounds in study.bounds),
    ),
    ('L_Info - CURL bound', *(bounds.info_nce - bounds.curl_bound for bounds in study.bounds)),
  ]
  return Table(
    'T2. Terms of the bounds',
    f'{study.sizes.name.capitalize()}, {study.epochs} epochs, {encoders}; '
    '± is the standard error over batches. The collision term counts whole in the CURL bound and '
    'half in the proposed one. The collision upper bound is of training images.',
    study.columns,
    rows,
  )


def _linear_rows(study: Study) -> list[tuple]:
  """Accuracy of the last epoch, and of the best epoch on the test images as in the paper."""
  if not all(study.linear):
    return []
  rows: list[tuple] = []
  for index, head in enumerate(('with head', 'no head')):
    probes = [column[index] for column in study.linear]
    rows.append((f'linear, {head}, last epoch', *(probe.accuracy for probe in probes)))
    rows.append((f'linear, {head}, best on test', *(probe.best_accuracy for probe in probes)))
  return rows


def upper_table(study: Study) -> Table:
  """T3: upper bounds of the supervised loss from the terms, as log10."""
  coverage = study.exact('coverage_probability', without=True)
  joint = study.exact('no_collision_coverage_probability', without=True)
  log10 = lambda values: [_log10(value) for value in values]
  rows = [
    (
      'proposed, corrected',
      *log10(b.supervised_upper_bound(c) for b, c in zip(study.bounds, coverage, strict=True)),
    ),
    (
      'proposed, as the notebook',
      *log10(
        b.supervised_upper_bound(c, notebook_compat=True)
        for b, c in zip(study.bounds, coverage, strict=True)
      ),
    ),
    (
      'CURL, corrected',
      *log10(b.curl_upper_bound(p) for b, p in zip(study.bounds, joint, strict=True)),
    ),
    (
      'CURL, as the notebook',
      *log10(
        b.curl_upper_bound(p, notebook_compat=True)
        for b, p in zip(
          study.bounds, study.exact('no_collision_probability', without=True), strict=True
        )
      ),
    ),
    ('measured L_sup', *log10(b.supervised for b in study.bounds)),
    ('ln C, chance', *log10([math.log(study.sizes.classes)] * len(study.bounds))),
  ]
  return Table(
    'T3. Upper bounds of the supervised loss, log10',
    'Divided by the exact probabilities without replacement, so that batches that never covered '
    'all classes do not divide by 0. The corrected proposed bound is of L_sup given coverage, the '
    'corrected CURL bound of L_sup given coverage and no collision; the notebook divides it by '
    '1-tau alone, which gives no bound while a class may be missing.',
    study.columns,
    rows,
  )


def control_table(study: Study) -> Table | None:
  """T4: K alone changes, by sub-sampled negatives of one batch."""
  if not study.control:
    return None
  names = {
    'L_Info': 'info_nce',
    'proposed bound': 'proposed_bound',
    'CURL bound': 'curl_bound',
    'upsilon, measured': 'coverage',
    'tau, measured': 'collision_probability',
    'collision E ln(1+Col)': 'collision',
  }
  return Table(
    'T4. The control: one batch, sub-sampled negatives',
    f'Batches of {study.control[0].batch_size:,}; each anchor draws K of the others without '
    'replacement. Columns are K+1.',
    ('K+1', *(f'{bounds.num_negatives + 1:,}' for bounds in study.control)),
    [
      (name, *(_measured(bounds, field) for bounds in study.control))
      for name, field in names.items()
    ],
  )


def _measured(bounds: NegativeSampleBounds, name: str) -> Measured:
  value = getattr(bounds, name)
  if name in ('coverage', 'collision_probability'):
    value = Probability(value)
  return Measured(value, bounds.standard_errors[name])


def _censored(bounds: NegativeSampleBounds) -> Measured | str:
  """Coverage, or its upper limit where no batch was covered."""
  if bounds.coverage:
    return _measured(bounds, 'coverage')
  return f'< {1 / bounds.num_batches:.1g}'


def _scaled(value: Measured, factor: float) -> Measured:
  return Measured(factor * value.value, factor * value.error)


def _log10(value: float) -> float:
  return math.log10(value) if value > 0 else -math.inf
