"""Metrics of several encoders side by side: bars, similarity histograms, accuracy by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

_COLUMNS = 2
# Kinds of pairs keep their colors from page to page.
_KIND_COLORS = ('#009E73', '#0072B2', '#D55E00', '#CC79A7')


def metric_bars(
  metrics: Mapping[str, Mapping[str, float | None]], *, better: Mapping[str, str] | None = None
) -> bytes:
  """A panel for each metric with a bar and its value for each encoder; scales differ by panel.

  Args:
    metrics: by name, values by encoder; one that is None or not finite is a word in place of a bar.
    better: 'lower' or 'higher' by name of a metric, written below its panel.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no metric, or one without an encoder, or `better` has another word.
  """
  if not metrics or not all(metrics.values()):
    raise ArgumentError('metrics', 'none, or one without values', 'at least one of one')
  for metric, word in (better or {}).items():
    if word not in ('lower', 'higher'):
      raise ArgumentError('better', f'{word!r} of {metric}', "'lower' or 'higher'")
  encoders = list(dict.fromkeys(name for values in metrics.values() for name in values))
  columns = min(_COLUMNS, len(metrics))
  lines = -(-len(metrics) // columns)
  drawing = canvas.figure(lines * (0.8 + 0.42 * len(encoders)))
  grid = drawing.subplots(lines, columns, squeeze=False, sharey=True).ravel()
  for axes in grid[len(metrics) :]:
    axes.remove()
  for axes, (metric, values) in zip(grid, metrics.items(), strict=False):
    numbers = [_finite(values.get(name)) for name in encoders]
    places = np.arange(len(encoders))
    colors = [canvas.PALETTE[at % len(canvas.PALETTE)] for at in places]
    axes.barh(places, [0 if math.isnan(x) else x for x in numbers], color=colors, height=0.66)
    ends = [0.0, *(x for x in numbers if not math.isnan(x))]
    span = max(ends) - min(ends) or 1.0
    for place, number in zip(places, numbers, strict=True):
      words = _word(values.get(encoders[place])) if math.isnan(number) else f'{number:.3g}'
      axes.text(max(number, 0) if number == number else 0, place, f' {words}', va='center')
    axes.set_xlim(right=max(ends) + 0.18 * span)
    axes.set_yticks(places, [canvas.name(name) for name in encoders])
    wish = f' ({better[metric]} is better)' if better and metric in better else ''
    canvas.tidy(axes, x_label=f'{metric}{wish}', y_label='')
    axes.grid(visible=False)
  grid[0].invert_yaxis()
  return canvas.png(drawing)


def similarity_histograms_plot(
  edges: Any, runs: Mapping[str, Mapping[str, Any]], *, x_label: str = 'cosine similarity'
) -> bytes:
  """Densities of similarity by kind of pair, one panel an encoder above the other.

  Args:
    edges: `[bins + 1]`, rising.
    runs: by encoder, densities `[bins]` by kind of pair, finite and from 0; a kind that is 0
      throughout, which no pair was of, is left out. A dashed line marks the mean of a kind.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no encoder, the edges do not rise, or densities are no such numbers.
  """
  edges = np.asarray(edges, np.float64)
  if not runs:
    raise ArgumentError('runs', 'none', 'at least one')
  if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
    raise ArgumentError('edges', f'shape {edges.shape}', '[bins + 1] rising numbers')
  for run, kinds in runs.items():
    for kind, density in kinds.items():
      density = np.asarray(density, np.float64)
      if density.shape != (len(edges) - 1,):
        raise ArgumentError(
          'runs', f'shape {density.shape} of {kind} in {run}', f'({len(edges) - 1},)'
        )
      if not np.isfinite(density).all() or density.min() < 0:
        raise ArgumentError('runs', f'{density.min()} of {kind} in {run}', 'finite, from 0')
  # A run may lack a kind: colors and the legend go by all of them.
  order = list(dict.fromkeys(kind for kinds in runs.values() for kind in kinds))
  colors = {kind: _KIND_COLORS[at % len(_KIND_COLORS)] for at, kind in enumerate(order)}
  handles: dict[str, Any] = {}
  drawing = canvas.figure(0.8 + 2.5 * len(runs))
  panels = drawing.subplots(len(runs), 1, sharex=True, squeeze=False).ravel()
  centers = (edges[:-1] + edges[1:]) / 2
  low, high = edges[-1], edges[0]
  for axes, (run, kinds) in zip(panels, runs.items(), strict=True):
    for kind, density in kinds.items():
      density = np.asarray(density, np.float64)
      if not density.any():
        continue
      color = colors[kind]
      axes.stairs(density, edges, fill=True, color=color, alpha=0.3)
      handles[kind] = axes.stairs(density, edges, color=color, linewidth=1.8)
      axes.axvline(
        np.average(centers, weights=density), color=color, linewidth=1.4, linestyle=(0, (4, 3))
      )
      seen = np.flatnonzero(density > 1e-3 * density.max())
      low, high = min(low, edges[seen[0]]), max(high, edges[seen[-1] + 1])
    canvas.tidy(axes, x_label=x_label if axes is panels[-1] else '', y_label='density')
    axes.set_title(canvas.name(run, 60), loc='left', fontsize=11)
  if low < high:
    panels[0].set_xlim(low - 0.02, high + 0.02)
  shown = [kind for kind in order if kind in handles]
  if shown:
    drawing.legend(
      [handles[kind] for kind in shown],
      [canvas.name(kind) for kind in shown],
      loc='outside upper left',
      frameon=False,
      ncols=4,
    )
  return canvas.png(drawing)


def probe_curve(accuracies: Mapping[str, Sequence[float | None]]) -> bytes:
  """Test accuracy of a probe after each epoch; a dot marks the last epoch, a ring the best.

  Args:
    accuracies: by encoder, from 0 to 1, at least one epoch; None and what is not finite are gaps.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no encoder, or one without an epoch.
  """
  if not accuracies or not all(len(values) for values in accuracies.values()):
    raise ArgumentError('accuracies', 'none', 'at least one epoch of one encoder')
  drawing = canvas.figure(3.3 + 0.22 * len(accuracies))
  axes = drawing.subplots()
  for at, (name, values) in enumerate(accuracies.items()):
    shown = 100 * np.array([_finite(value) for value in values])
    epochs = np.arange(1, len(shown) + 1)
    color = canvas.PALETTE[at % len(canvas.PALETTE)]
    measured = np.flatnonzero(~np.isnan(shown))
    words = 'undefined'
    if len(measured):
      last, best = measured[-1], measured[np.argmax(shown[measured])]
      words = f'last {shown[last]:.1f} %, best {shown[best]:.1f} %'
      axes.plot(epochs[last], shown[last], 'o', color=color)
      axes.plot(epochs[best], shown[best], 'o', color=color, markersize=10, fillstyle='none')
    axes.plot(epochs, shown, color=color, linewidth=1.8, label=f'{canvas.name(name)}: {words}')
  longest = max(len(values) for values in accuracies.values())
  margin = max(0.5, 0.02 * longest)
  axes.set_xlim(1 - margin, longest + margin)
  axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
  canvas.tidy(axes, x_label='epoch of the probe', y_label='test accuracy (%)')
  drawing.legend(loc='outside upper left', frameon=False)
  return canvas.png(drawing)


def _word(value: float | None) -> str:
  if value is None:
    return 'not measured'
  return 'undefined' if math.isnan(value) else '∞' if value > 0 else '-∞'


def _finite(value: float | None) -> float:
  return float(value) if value is not None and math.isfinite(value) else math.nan
