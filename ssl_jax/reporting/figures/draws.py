"""Quantities against the number of images that an anchor is compared with."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas


def draws_plot(
  numbers: Sequence[int],
  series: Mapping[str, Sequence[float]],
  *,
  x_label: str,
  y_label: str,
  errors: Mapping[str, Sequence[float]] | None = None,
  marked: Mapping[int, str] | None = None,
  log_scale: bool = False,
  ticks: Sequence[int] = (),
  most: float | None = None,
) -> bytes:
  """A line for each quantity over numbers of draws, on a logarithmic axis.

  Args:
    numbers: at least one, above 0 and rising.
    series: values by name, one a number; infinite ones are left out.
    x_label: what the numbers are.
    y_label: what the values are.
    errors: standard errors by name of a series, drawn as bars.
    marked: numbers with a vertical line and its name, such as the batch of a run.
    log_scale: also for the values; those of 0 or less are then left out.
    ticks: numbers named on the axis, by default all; a denser grid is drawn without markers.
    most: where the axis of values ends at the latest.

  Returns:
    A PNG.

  Raises:
    ValueError: no number, or a series of another length.
  """
  if not len(numbers):
    raise ArgumentError('numbers', 'none', 'at least one')
  for name, values in series.items():
    if len(values) != len(numbers):
      raise ArgumentError('series', f'{len(values)} of {name}', len(numbers))
  drawing = canvas.figure(4.4)
  axes = drawing.subplots()
  axes.set_xscale('log', base=2)
  if log_scale:
    axes.set_yscale('log')
  for index, (name, values) in enumerate(series.items()):
    shown = np.array([value if math.isfinite(value) else np.nan for value in values], np.float64)
    if log_scale:
      shown[~(shown > 0)] = np.nan
    bars = np.array((errors or {}).get(name, np.zeros(len(numbers))), np.float64)
    axes.errorbar(
      numbers,
      shown,
      yerr=np.where(np.isfinite(bars), bars, 0) if bars.any() else None,
      color=canvas.PALETTE[index % len(canvas.PALETTE)],
      marker='' if len(ticks) else canvas.MARKERS[index % len(canvas.MARKERS)],
      markersize=5,
      linewidth=1.8,
      capsize=3,
      label=name,
    )
  for number, name in (marked or {}).items():
    axes.axvline(number, color=canvas.GRAY, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.annotate(
      name,
      (number, 1.0),
      xycoords=('data', 'axes fraction'),
      xytext=(4, 3),
      textcoords='offset points',
      color=canvas.GRAY,
    )
  if most is not None and axes.get_ylim()[1] > most:
    axes.set_ylim(top=most)
  axes.set_xticks(list(ticks or numbers), [f'{number:,}' for number in ticks or numbers])
  axes.minorticks_off()
  canvas.tidy(axes, x_label=x_label, y_label=y_label)
  drawing.legend(loc='outside right upper', frameon=False)
  return canvas.png(drawing)
