"""What a person sees while a run goes on."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO


class Progress:
  """A progress bar on a terminal, plain lines elsewhere or where rich is not installed.

  A line reads `step 120/1200  loss 4.123  kNN 61.2 %  2,134 images/s  ETA 3:20`. The speed is
  `images_per_second` of the metrics where given, and that since the last update otherwise; the
  time left follows from the steps after the first interval, which contains the compilation.

  Args:
    total_steps: steps of the whole run.
    images_per_step: images a step, over all devices.
    start_step: the step that this process begins at, after a resume.
    stream: where to write; standard output by default.
    clock: returns seconds.
  """

  def __init__(
    self,
    total_steps: int,
    images_per_step: int,
    start_step: int = 0,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    self.total_steps = total_steps
    self.images_per_step = images_per_step
    self._stream = sys.stdout if stream is None else stream
    self._clock = clock
    self._last = (start_step, clock())
    self._warm: tuple[int, float] | None = None
    self._knn: float | None = None
    self._bar = _open_bar(self._stream, total_steps, start_step)

  def update(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Shows the state after `step` steps.

    Args:
      step: steps done, of `total_steps`.
      metrics: `loss`, `knn` (a fraction from 0 to 1; the last one given stays on show) and
        `images_per_second` are shown where present, the others are not.
    """
    now = self._clock()
    last_step, last_time = self._last
    speed = metrics.get('images_per_second')
    if speed is None and step > last_step and now > last_time:
      speed = (step - last_step) * self.images_per_step / (now - last_time)
    from_step, from_time = self._warm or self._last
    left = None
    if step > from_step:
      left = (self.total_steps - step) * (now - from_time) / (step - from_step)
    if step > last_step:
      self._last = (step, now)
      self._warm = self._warm or self._last
    self._knn = metrics.get('knn', self._knn)

    parts = [f'loss {_significant(float(metrics["loss"]))}'] if 'loss' in metrics else []
    if self._knn is not None:
      parts.append(f'kNN {100 * float(self._knn):.1f} %')
    if speed is not None:
      parts.append(f'{float(speed):,.0f} images/s')
    if left is not None:
      parts.append(f'ETA {format_duration(left)}')
    if self._bar is not None:
      self._bar.update(self._bar.task_ids[0], completed=step, text='  '.join(parts))
    else:
      self.log('  '.join([f'step {step}/{self.total_steps}', *parts]))

  def log(self, line: str) -> None:
    """Writes a line, above the bar where there is one."""
    if self._bar is not None:
      self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
      print(line, file=self._stream, flush=True)

  def close(self) -> None:
    """Leaves the bar as it stands and gives the terminal back; closing twice is no error."""
    if self._bar is not None:
      self._bar.stop()

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()


def format_duration(seconds: float) -> str:
  """`3:20` for 200 seconds, `1:00:00` for an hour."""
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f'{hours}:{minute:02d}:{second:02d}' if hours else f'{minute}:{second:02d}'


def _significant(value: float) -> str:
  """Four significant digits, without an exponent where it stays short."""
  if not math.isfinite(value) or value == 0:
    return f'{value:.3f}'
  digits = 3 - math.floor(math.log10(abs(value)))
  return f'{value:.{digits}f}' if 0 <= digits <= 6 else f'{value:.3e}'


def _open_bar(stream: TextIO, total_steps: int, start_step: int) -> Any:
  with contextlib.suppress(ImportError):
    from rich import console, progress

    terminal = console.Console(file=stream)
    if terminal.is_terminal and not terminal.is_dumb_terminal:
      bar = progress.Progress(
        progress.TextColumn('step {task.completed:.0f}/{task.total:.0f}'),
        progress.BarColumn(bar_width=None),
        progress.TextColumn('{task.fields[text]}', markup=False),
        console=terminal,
        expand=True,
        refresh_per_second=4,
      )
      bar.add_task('', total=total_steps, completed=start_step, text='compiling')
      bar.start()
      return bar
  return None
