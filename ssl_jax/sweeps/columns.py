"""The columns of a sweep's table: the path of a number in `result.json`, and its format."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

TRAINED, RANDOM_INIT, PIXELS = 'trained', 'random_init', 'pixels'

Result = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
  """One number of a run.

  Attributes:
    title: heads the column.
    digits: after the point.
    find: the number in a result, for the trained encoder, the untrained one or pixels; whatever
      else it returns counts as missing.
    scale: multiplies the number.
  """

  title: str
  digits: int
  find: Callable[[Result, str], Any]
  scale: float = 1.0

  def read(self, result: Result, subject: str) -> float | None:
    """The number, scaled; None where the result does not have it or it is not finite.

    Args:
      result: content of a `result.json`.
      subject: 'trained', 'random_init' or 'pixels'.
    """
    value = self.find(result, subject)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      return None
    # A whole number may be too large for a float.
    return self.scale * value if abs(value) < sys.float_info.max / 100 else None

  def show(self, number: float) -> str:
    """The number with the digits and the thousands marked."""
    return f'{number:,.{self.digits}f}'


def _at(result: Any, *path: str) -> Any:
  for name in path:
    result = result.get(name) if isinstance(result, Mapping) else None
  return result


def _of_the_run(*path: str) -> Callable[[Result, str], Any]:
  """A number that only a trained encoder has."""
  return lambda result, subject: _at(result, *path) if subject == TRAINED else None


def _of_the_representation(name: str) -> Callable[[Result, str], Any]:
  return lambda result, subject: _at(result, 'representation', subject, name)


def _seconds(result: Result, subject: str) -> float | None:
  phases = _at(result, 'seconds')
  if subject != TRAINED or not isinstance(phases, Mapping) or not phases:
    return None
  seconds = list(phases.values())
  return sum(seconds) if all(isinstance(one, int | float) for one in seconds) else None


COLUMNS = {
  'knn': Column('kNN, %', 2, lambda result, subject: _at(result, 'knn', subject), scale=100.0),
  'crowding_ratio': Column('crowding ratio', 3, _of_the_representation('crowding_ratio')),
  'uniformity': Column('uniformity', 3, _of_the_representation('uniformity')),
  'feature_std': Column('feature std', 4, _of_the_representation('feature_std')),
  'loss': Column('loss', 4, _of_the_run('last_metrics', 'loss')),
  'images_per_second': Column('images/s', 0, _of_the_run('images_per_second')),
  'minutes': Column('minutes', 1, _seconds, scale=1 / 60),
}
DEFAULT_COLUMNS = ('knn', 'crowding_ratio', 'uniformity', 'images_per_second')
