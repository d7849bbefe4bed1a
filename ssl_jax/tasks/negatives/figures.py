"""The figures of the study of negative samples and of the planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax import analysis
from ssl_jax.reporting import Figure, Table, figures
from ssl_jax.tasks.negatives import planner
from ssl_jax.tasks.negatives.study import Study, upper_table


def planned(
  sizes: planner.ClassSizes, batches: list[int], shown: Sequence[Table], marked: int
) -> Callable[[], list[Figure]]:
  """The figures of the planner, from its three tables."""
  bounds = {name: values for name, *values in shown[2].rows}
  number = lambda values: [float('nan') if value is None else float(value) for value in values]
  # Between the columns too: coverage rises within one doubling.
  dense = sorted({round(x) for x in np.geomspace(batches[0], batches[-1], 33)} | set(batches))
  coverage, collision = analysis.coverage_probability, analysis.collision_probability

  def draw() -> list[Figure]:
    return [
      _figure(
        'Coverage and collision',
        planner.in_words(sizes, marked),
        dense,
        {
          'coverage, without replacement': [
            coverage(batch, class_counts=sizes.counts) for batch in dense
          ],
          'coverage, independent draws': [coverage(batch, sizes.probs) for batch in dense],
          'collision, independent draws': [collision(batch - 1, sizes.probs) for batch in dense],
        },
        'probability',
        {marked: f'batch planned, {marked:,}'},
        ticks=batches,
      ),
      _figure(
        'Bounds against K',
        'Each bound of the supervised loss at the least contrastive loss; the axis '
        'ends at a million.',
        batches,
        {name: number(values) for name, values in bounds.items()},
        'nats',
        {marked: f'batch planned, {marked:,}'},
        log_scale=True,
        most=1e6,
      ),
    ]

  return draw


def measured(study: Study) -> Callable[[], list[Figure]]:
  """The figures of a study."""
  batches = list(study.batches)
  mark = {study.marked: f'batch of the run, {study.marked:,}'} if study.marked else {}
  words = planner.in_words(study.sizes, study.marked) if study.marked else 'One run for each K.'
  values = lambda name: [getattr(bounds, name) for bounds in study.bounds]
  errors = lambda name: [bounds.standard_errors[name] for bounds in study.bounds]
  terms = {
    'L_Info': 'info_nce',
    'proposed bound': 'proposed_bound',
    'CURL bound': 'curl_bound',
    'measured L_sup': 'supervised',
    'E ln(1+Col)': 'collision',
  }

  def draw() -> list[Figure]:
    found = [
      _figure(
        'Coverage and collision',
        words,
        batches,
        {
          'coverage, measured': values('coverage'),
          'coverage, exact': study.exact('coverage_probability', without=True),
          'coverage, independent': study.exact('coverage_probability', without=False),
          'collision, measured': values('collision_probability'),
          'collision, exact': study.exact('collision_probability', without=True),
        },
        'probability',
        mark,
        errors={
          'coverage, measured': errors('coverage'),
          'collision, measured': errors('collision_probability'),
        },
      ),
      _figure(
        'Bounds against K',
        'L_Info and the two bounds below it, on held-out images; bars are standard errors.',
        batches,
        {label: values(name) for label, name in terms.items()},
        'nats',
        mark,
        errors={label: errors(name) for label, name in terms.items()},
      ),
      _figure(
        'Upper bounds of the supervised loss',
        'The same terms solved for the supervised loss. A bound above the line of chance is '
        'vacuous; the axis ends at a million.',
        batches,
        {name: [10.0**cell for cell in cells] for name, *cells in _finite_rows(study)},
        'nats',
        mark,
        log_scale=True,
        most=1e6,
      ),
    ]
    if study.names:
      accuracies = {
        'accuracy of class means': study.mean_accuracy,
        'kNN of the run': [float('nan') if value is None else value for value in study.knn],
      }
      if all(study.linear):
        for index, head in enumerate(('linear with head', 'linear, no head')):
          accuracies[head] = [probes[index].accuracy for probes in study.linear]
      found.insert(
        0,
        _figure(
          'Accuracy against K',
          'Batch, learning rate and updates change with K unless the flags fix them.',
          batches,
          accuracies,
          'accuracy',
          {},
        ),
      )
    if study.control:
      found.append(
        _figure(
          'The control',
          f'Batches of {study.control[0].batch_size:,}, K negatives drawn from each.',
          [bounds.num_negatives + 1 for bounds in study.control],
          {
            label: [getattr(bounds, name) for bounds in study.control]
            for label, name in terms.items()
          },
          'nats',
          {},
        )
      )
    return found

  return draw


def _finite_rows(study: Study) -> list[tuple]:
  """The rows of T3 without the cells that are out of range for a plot."""
  room = lambda cell: cell if abs(cell) < 300 else float('inf')
  return [(name, *map(room, cells)) for name, *cells in upper_table(study).rows]


def _figure(
  heading: str,
  caption: str,
  numbers: Sequence[int],
  series: Mapping[str, Sequence[float]],
  y_label: str,
  marked: Mapping[int, str],
  **options: Any,
) -> Figure:
  image = figures.draws_plot(
    numbers,
    series,
    x_label='K+1, images an anchor is compared with, itself among them',
    y_label=y_label,
    marked=marked,
    **options,
  )
  return Figure(heading, caption, image)
