"""Progress of a run: a bar in a terminal, or lines in a log."""

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
    self._shown: dict[str, float] = {}
    self._bar = _open_bar(self._stream, total_steps, start_step)

  def update(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Shows the state after `step` steps.

    Args:
      step: steps done, of `total_steps`.
      metrics: `loss`, `knn` (a fraction from 0 to 1) and `images_per_second` are shown, and stay on
        show until the next ones come; the others are not.
    """
    now = self._clock()
    last_step, last_time = self._last
    if step > last_step and now > last_time:
      speed = (step - last_step) * self.images_per_step / (now - last_time)
      self._shown['images_per_second'] = speed
    shown = ('loss', 'knn', 'images_per_second')
    self._shown |= {name: float(metrics[name]) for name in shown if name in metrics}
    from_step, from_time = self._warm or self._last
    left = None
    if step > from_step:
      left = (self.total_steps - step) * (now - from_time) / (step - from_step)
    # Time spent without a step, on an evaluation, is no part of the next interval's speed.
    self._last = (step, now)
    if step > last_step:
      self._warm = self._warm or self._last

    parts = []
    if 'loss' in self._shown:
      parts.append(f'loss {_significant(self._shown["loss"])}')
    if 'knn' in self._shown:
      parts.append(f'kNN {100 * self._shown["knn"]:.1f} %')
    if 'images_per_second' in self._shown:
      parts.append(f'{self._shown["images_per_second"]:,.0f} images/s')
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
    """Stops the display and leaves the bar on the terminal; closing twice is no error."""
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
