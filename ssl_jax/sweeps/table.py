"""The table of a sweep: one row a variant, mean and spread over seeds, below the baselines
of training."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from ssl_jax.config import Config
from ssl_jax.reporting.tables import as_markdown
from ssl_jax.sweeps.columns import COLUMNS, PIXELS, RANDOM_INIT, TRAINED, Column
from ssl_jax.sweeps.planning import Run

_BASELINES = {PIXELS: 'raw pixels', RANDOM_INIT: 'random initialization'}
# Two measurements of one untrained encoder may differ by rounding.
_SAME_DIGITS = 6

Finished = Sequence[tuple[Run, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Cell:
  """The numbers of one column in one row, with the seeds they come from."""

  seeds: tuple[int, ...] = ()
  values: tuple[float, ...] = ()

  @property
  def mean(self) -> float | None:
    """None without numbers."""
    return statistics.fmean(self.values) if self.values else None

  @property
  def deviation(self) -> float | None:
    """Sample standard deviation (divided by n - 1); None for fewer than two numbers."""
    return statistics.stdev(self.values) if len(self.values) > 1 else None

  def show(self, column: Column, seeds: int) -> str:
    """`mean ± deviation`, or `-`; fewer seeds than the row's are noted."""
    if self.mean is None:
      return '-'
    text = column.show(self.mean)
    if self.deviation is not None:
      text += f' ± {column.show(self.deviation)}'
    known = len(set(self.seeds))
    return text if known == seeds else f'{text} ({known} of {seeds})'


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table.

  Attributes:
    name: of the variant or the baseline.
    seeds: those that finished.
    cells: by the name of the column.
  """

  name: str
  seeds: tuple[int, ...]
  cells: Mapping[str, Cell]


@dataclasses.dataclass(frozen=True)
class Table:
  """A finished comparison.

  Attributes:
    rows: baselines first.
    seeds: those asked for.
    columns: names, in order.
    steps: the last steps of the runs, ascending; more than one where they differ.
    sweep: the sweep file.
    command: makes the table.
  """

  rows: tuple[Row, ...]
  seeds: tuple[int, ...]
  columns: tuple[str, ...]
  steps: tuple[int, ...]
  sweep: str
  command: str

  def markdown(self) -> str:
    """The table as text, columns aligned, with what it shows and the command below."""
    head = ['', 'seeds', *(COLUMNS[name].title for name in self.columns)]
    lines = [head, *map(self._texts, self.rows)]
    return '\n'.join([as_markdown(lines), '', self.caption(), '', f'    {self.command}', ''])

  def caption(self) -> str:
    """One line: which step, which seeds, what stands before and after the sign."""
    ends = ' to '.join(f'{step:,}' for step in dict.fromkeys((*self.steps[:1], *self.steps[-1:])))
    which = f' ({ends})' if ends else ''
    seeds = ', '.join(map(str, self.seeds))
    spread = ': mean ± sample standard deviation' if len(self.seeds) > 1 else ''
    return f'Last step{which} of every run, seed{"s" * (len(self.seeds) > 1)} {seeds}{spread}.'

  def as_json(self) -> dict[str, Any]:
    """Plain numbers and words; `values` are those of `seeds`, in the units of the table."""
    return {
      'sweep': self.sweep,
      'command': self.command,
      'step': 'last',
      'steps': list(self.steps),
      'seeds': list(self.seeds),
      'columns': {name: COLUMNS[name].title for name in self.columns},
      'rows': [
        {
          'name': row.name,
          'seeds': list(row.seeds),
          **{
            name: {
              'mean': cell.mean,
              'standard_deviation': cell.deviation,
              'seeds': list(cell.seeds),
              'values': list(cell.values),
            }
            for name, cell in row.cells.items()
          },
        }
        for row in self.rows
      ],
    }

  def _texts(self, row: Row) -> list[str]:
    known, asked = len(row.seeds), len(self.seeds)
    seeds = str(known) if known == asked else f'{known} of {asked}'
    cells = [row.cells[name].show(COLUMNS[name], known) for name in self.columns]
    return [row.name, seeds, *cells]


def make(
  variants: Sequence[str],
  seeds: Sequence[int],
  columns: Sequence[str],
  results: Finished,
  *,
  sweep: str = '',
  command: str = '',
) -> Table:
  """Compares finished runs.

  Args:
    variants: names of the rows, in order; one without a finished run has a row of `-`.
    seeds: those asked for.
    columns: names of `COLUMNS`.
    results: finished runs and their results.
    sweep: the sweep file, for the record.
    command: what makes the table, for the record.
  """
  rows = [row for subject in _BASELINES for row in _baselines(subject, variants, columns, results)]
  for variant in variants:
    of_variant = [(run, result) for run, result in results if run.variant == variant]
    cells = {name: _cell(of_variant, COLUMNS[name], TRAINED) for name in columns}
    rows.append(Row(variant, _seeds(of_variant), cells))
  steps = {result.get('steps') for _, result in results}
  counted = tuple(sorted(step for step in steps if isinstance(step, int)))
  return Table(tuple(rows), tuple(seeds), tuple(columns), counted, sweep, command)


def _baselines(
  subject: str, variants: Sequence[str], columns: Sequence[str], results: Finished
) -> list[Row]:
  """One row for all variants that share the baseline; more where images or encoders differ."""
  groups: dict[Hashable, list[tuple[Run, Mapping[str, Any]]]] = {}
  for run, result in results:
    groups.setdefault(_what_decides(subject, run.config), []).append((run, result))
  rows = []
  for group in groups.values():
    members = {run.variant for run, _ in group}
    shared = '' if len(groups) == 1 else ', '.join(v for v in variants if v in members)
    name = _BASELINES[subject] + (f' ({shared})' if shared else '')
    cells = {name: _cell(group, COLUMNS[name], subject) for name in columns}
    if any(cell.values for cell in cells.values()):
      rows.append(Row(name, _seeds(group), cells))
  return rows


def _what_decides(subject: str, config: Config) -> Hashable:
  """Whatever a baseline depends on besides the seed: equal for runs that share it."""
  recipe = config.views.build(config.view_size)
  images = dataclasses.replace(config.data, batch_size=2, on_error='skip')
  shown = (
    images,
    config.view_size,
    recipe.mean,
    recipe.std,
    config.knn.k[0],
    config.knn.temperature[0],
  )
  model = dataclasses.replace(config.model, init_from='', init_networks='all')
  return (*shown, model) if subject == RANDOM_INIT else shown


def _cell(results: Finished, column: Column, subject: str) -> Cell:
  found: dict[tuple[int, float], float] = {}
  for run, result in results:
    value = column.read(result, subject)
    if value is not None:
      # Variants with one seed share the untrained encoder: measured often, it still counts once.
      key = (run.seed, round(value, _SAME_DIGITS) if subject != TRAINED else value)
      found.setdefault(key, value)
  return Cell(tuple(seed for seed, _ in found), tuple(found.values()))


def _seeds(results: Iterable[tuple[Run, Any]]) -> tuple[int, ...]:
  return tuple(dict.fromkeys(run.seed for run, _ in results))
