"""Seconds that a run spends in each phase."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from ssl_jax.arguments import ArgumentError

PHASES = ('compile', 'data', 'step', 'evaluation', 'checkpoint')


class Stopwatch:
  """Seconds by phase: 'compile', 'data', 'step', 'evaluation', 'checkpoint', and 'other'.

  A phase inside another pauses the outer one; time outside all phases is 'other': the totals
  always add up to the time since the stopwatch was made. JAX returns before the device is done, so
  the seconds of a step are those that the host waited for it.

  Args:
    totals: those of an earlier process of the same run, to carry on from.
    clock: returns seconds.

  Raises:
    ValueError: `totals` names a phase that does not exist.

  Example:
    >>> stopwatch = Stopwatch()
    >>> with stopwatch.phase('evaluation'):
    ...   pass
    >>> sorted(stopwatch.totals())
    ['checkpoint', 'compile', 'data', 'evaluation', 'other', 'step']
  """

  def __init__(
    self,
    totals: Mapping[str, float] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._clock = clock
    self._seconds = dict.fromkeys((*PHASES, 'other'), 0.0)
    for name, seconds in (totals or {}).items():
      self._seconds[_check(name)] += float(seconds)
    self._running = ['other']
    self._since = clock()

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """Counts the time of the `with` block as that of `name`, also when the block raises."""
    self._lap()
    self._running.append(_check(name))
    try:
      yield
    finally:
      self._lap()
      self._running.pop()

  def totals(self) -> dict[str, float]:
    """Seconds by phase up to now: plain floats, fit for JSON and for `Stopwatch(totals)`."""
    self._lap()
    return dict(self._seconds)

  def _lap(self) -> None:
    now = self._clock()
    self._seconds[self._running[-1]] += now - self._since
    self._since = now


def _check(name: str) -> str:
  phases = (*PHASES, 'other')
  if name not in phases:
    raise ArgumentError('phase', f"'{name}'", f'one of {", ".join(phases)}')
  return name
