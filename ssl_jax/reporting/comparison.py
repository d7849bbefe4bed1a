"""Several runs side by side on one page."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ssl_jax.reporting.page import Figure
from ssl_jax.reporting.report import write_report
from ssl_jax.reporting.tables import Table


def write_comparison(
  path: str | os.PathLike[str],
  *,
  title: str,
  runs: Mapping[str, Mapping[str, Any]],
  tables: Iterable[Table] = (),
  figures: Iterable[Figure | tuple] = (),
  versions: Mapping[str, str] | None = None,
  devices: str = '',
) -> pathlib.Path:
  """Writes the page: what the runs are, their scores, their pictures.

  Args:
    path: the file to write.
    title: the page's heading.
    runs: by name, facts by name; those in which runs differ come first, in bold.
    tables: of scores, a column a run.
    figures: `Figure`s, or tuples of their fields; those that are `half` stand side by side.
    versions: of the software, by name.
    devices: the hardware in words.

  Returns:
    The path.

  Raises:
    ValueError: there is no run.
    OSError: the file cannot be written.
  """
  if not runs:
    raise ValueError('runs: found none, must be at least one')
  names = list(dict.fromkeys(name for facts in runs.values() for name in facts))
  words_of = lambda name: (_word(facts.get(name)) for facts in runs.values())
  lines: list[tuple] = [(name, *words_of(name)) for name in names]
  differing = [line for line in lines if len(set(line[1:])) > 1]
  equal = [line for line in lines if len(set(line[1:])) <= 1]
  words = f'They differ in: {", ".join(line[0] for line in differing)}.' if differing else ''
  strong = (*(True for _ in differing), *(False for _ in equal))
  lines = [*differing, *equal]
  facts_table = Table('What they are', words, ('', *runs), lines, (), strong)
  count = '1 encoder' if len(runs) == 1 else f'{len(runs)} encoders'
  return write_report(
    path,
    title=title,
    summary={},
    lead=f'{count}, measured by the same protocols. {words}',
    tables=[facts_table, *tables],
    figures=figures,
    tables_first=True,
    versions=versions,
    devices=devices,
  )


def _word(value: Any) -> str | None:
  # As text: a table would write the number of a seed or a batch as a measurement.
  return None if value is None else str(value)
