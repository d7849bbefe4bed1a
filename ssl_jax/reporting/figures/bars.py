"""Bars in groups, on one scale."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ssl_jax.reporting.figures import canvas

_BAR = 0.26  # inches of height a bar


def bars(
  groups: Sequence[str],
  series: Mapping[str, Sequence[float | None]],
  *,
  y_label: str,
  errors: Mapping[str, Sequence[float | None]] | None = None,
  better: str | None = None,
) -> bytes:
  """A group of bars for each thing measured, a bar for each encoder, its value written beside it.

  Bars lie on their side, so that names of any length are legible. All are on one scale: see
  `meter_bars` for meters that have scales of their own.

  Args:
    groups: names, at least one.
    series: values by encoder, one a group; one that is None or not finite has no bar.
    y_label: what the values are, with their unit.
    errors: standard errors by encoder, likewise, drawn as lines of one either way.
    better: 'lower' or 'higher', written beside the label.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no group or no series, one has another length or errors of none, or
      `better` is another word.
  """
  if not groups or not series:
    raise ValueError(
      f'groups: found {len(groups)} of {len(series)} series, must be at least 1 of 1'
    )
  if better not in (None, 'lower', 'higher'):
    raise ValueError(f"better: found {better!r}, must be None, 'lower' or 'higher'")
  unknown = set(errors or {}).difference(series)
  if unknown:
    raise ValueError(f'errors: found {sorted(unknown)}, must be among {sorted(series)}')
  for argument, named in (('series', series), ('errors', errors or {})):
    for name, found in named.items():
      if len(found) != len(groups):
        raise ValueError(f'{argument}: found {len(found)} of {name}, must be {len(groups)}')
  drawing = canvas.figure(
    1.0 + len(groups) * (0.16 + _BAR * len(series)) + 0.22 * (len(series) > 1)
  )
  axes = drawing.subplots()
  thickness = 0.84 / len(series)
  ends = [0.0]
  for at, (name, found) in enumerate(series.items()):
    values = np.array([_finite(value) for value in found])
    deviations = np.nan_to_num(
      np.array([_finite(value) for value in (errors or {}).get(name, [None] * len(groups))])
    )
    places = np.arange(len(groups)) + (at - (len(series) - 1) / 2) * thickness
    axes.barh(
      places,
      np.nan_to_num(values),
      height=0.9 * thickness,
      color=canvas.PALETTE[at % len(canvas.PALETTE)],
      xerr=deviations if deviations.any() else None,
      error_kw={'ecolor': '#16191f', 'capsize': 2, 'linewidth': 1},
      label=canvas.name(name),
    )
    for place, value, deviation in zip(places, values, deviations, strict=True):
      end = 0.0 if math.isnan(value) else max(value + deviation, 0.0)
      ends += [end, 0.0 if math.isnan(value) else value - deviation]
      words = 'not measured' if math.isnan(value) else f'{value:.3g}'
      axes.text(end, place, f' {words}', va='center', fontsize=9)
  low, high = min(ends), max(ends)
  axes.set_xlim(1.05 * low, (high + 0.1 * (high - low)) or 1.0)
  axes.set_yticks(np.arange(len(groups)), [canvas.name(group) for group in groups])
  axes.invert_yaxis()
  word = f' ({better} is better)' if better else ''
  canvas.tidy(axes, x_label=f'{y_label}{word}', y_label='')
  axes.grid(visible=False)
  if len(series) > 1:
    drawing.legend(loc='outside upper left', frameon=False, ncols=4)
  return canvas.png(drawing)


def _finite(value: float | None) -> float:
  return float(value) if value is not None and math.isfinite(value) else math.nan
