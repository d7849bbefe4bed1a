"""Curves of losses, optimizer metrics and kNN accuracy over the steps of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

Rows = Sequence[Mapping[str, Any]]  # as `read_metrics` gives them

_OF_THE_RUN = ('learning_rate', 'gradient_norm', 'images_per_second')
_NOT_OF_THE_LOSS = ('step', 'time', 'epoch', *_OF_THE_RUN)
_SMOOTHED_FROM = 200  # points; beyond, a line of raw values is a band of noise
_MOST_PANELS = 12


def loss_curves(rows: Rows) -> bytes:
  """The loss and its parts over the steps: one panel each, the loss first.

  Args:
    rows: metric rows with a `step`; every other name is a panel, apart from the learning rate,
      gradient norm, kNN, throughput, and scores of protocols, `PROTOCOL/SCORE`. Missing and
      non-finite values are left out.

  Returns:
    A PNG.

  Raises:
    ValueError: no row holds a metric of the loss.
  """
  names = sorted(
    {name for row in rows for name in row}.difference(_NOT_OF_THE_LOSS), key=_loss_first
  )
  names = [n for n in names if not _is_knn(n) and '/' not in n and len(_series(rows, n)[0])]
  if not names:
    raise ArgumentError('rows', 'no metric of the loss', 'rows with at least one')
  return _panels(rows, names[:_MOST_PANELS])


def optimizer_curves(rows: Rows) -> bytes:
  """The learning rate, the gradient norm and the images a second over the steps.

  Args and errors as those of `loss_curves`, for the names `learning_rate`, `gradient_norm` and
  `images_per_second`; those that no row holds are left out.
  """
  names = [name for name in _OF_THE_RUN if len(_series(rows, name)[0])]
  if not names:
    raise ArgumentError('rows', f'none of {", ".join(_OF_THE_RUN)}', 'rows with at least one')
  return _panels(rows, names)


def protocol_curves(rows: Rows) -> bytes:
  """The scores of protocols, `PROTOCOL/SCORE`, over the steps.

  Args and errors as those of `loss_curves`.
  """
  names = sorted({name for row in rows for name in row if '/' in name})
  names = [name for name in names if len(_series(rows, name)[0])]
  if not names:
    raise ValueError('rows: found no PROTOCOL/SCORE, must hold at least one')
  return _panels(rows, names)


def knn_curve(rows: Rows, baselines: Mapping[str, float] | None = None) -> bytes:
  """kNN accuracy over the steps, with its baselines as dashed lines.

  Args:
    rows: metric rows; those with a `knn`, a fraction from 0 to 1, are drawn.
    baselines: accuracy by name, such as `{'random initialization': 0.58, 'raw pixels': 0.44}`.

  Returns:
    A PNG.

  Raises:
    ValueError: no row holds a finite `knn`.
  """
  steps, values = _series(rows, 'knn')
  if not len(steps):
    raise ArgumentError('rows', 'no knn', 'rows with at least one')
  drawing = canvas.figure(3.8)
  axes = drawing.subplots()
  axes.plot(steps, 100 * values, color=canvas.PALETTE[0], marker='o', markersize=4, linewidth=2)
  ends = [(100 * values[-1], 'trained', canvas.PALETTE[0])]
  dashes = ((6, 3), (2, 2), (8, 2, 2, 2))
  for index, (name, accuracy) in enumerate((baselines or {}).items()):
    color = canvas.PALETTE[1 + index % (len(canvas.PALETTE) - 1)]
    line = axes.axhline(100 * accuracy, color=color, linewidth=1.6)
    line.set_dashes(dashes[index % len(dashes)])
    ends.append((100 * accuracy, name, color))
  axes.margins(y=0.12)
  _label_ends(axes, ends)
  canvas.tidy(axes, x_label='step', y_label='kNN accuracy (%)')
  return canvas.png(drawing)


def _panels(rows: Rows, names: Sequence[str]) -> bytes:
  columns = min(len(names), 2 if len(names) in (2, 4) else 3)
  lines = math.ceil(len(names) / columns)
  drawing = canvas.figure(0.3 + 2.7 * lines)
  grid = drawing.subplots(lines, columns, squeeze=False).ravel()
  for axes in grid[len(names) :]:
    axes.remove()
  for axes, name in zip(grid, names, strict=False):
    steps, values = _series(rows, name)
    color = canvas.PALETTE[1] if name == 'loss' else canvas.PALETTE[0]
    marker = 'o' if len(steps) < 2 else ''
    if len(steps) > _SMOOTHED_FROM:
      axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
      values = _smooth(values, len(values) // 50)
    axes.plot(steps, values, color=color, linewidth=1.8, marker=marker)
    canvas.tidy(axes, x_label='step', y_label=name.replace('_', ' '))
    axes.locator_params(axis='x', nbins=5)
  return canvas.png(drawing)


def _series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
  """The steps and finite values of one metric, by step."""
  pairs = [(row['step'], float(row[name])) for row in rows if row.get(name) is not None]
  pairs = sorted((step, value) for step, value in pairs if math.isfinite(value))
  return np.array([step for step, _ in pairs]), np.array([value for _, value in pairs])


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
  """The mean of a centered window, narrower at the two ends."""
  sums = np.concatenate([[0.0], np.cumsum(values)])
  index = np.arange(len(values))
  reach = np.minimum(np.minimum(index, len(values) - 1 - index), width)
  return (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)


def _label_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
  """Names the lines at their right ends, pushed upwards where they would cover each other."""
  bottom, top = axes.get_ylim()
  least = -math.inf
  for value, name, color in sorted(ends):
    height = max((value - bottom) / (top - bottom), least + 0.06)
    least = height
    axes.text(
      1.01,
      height,
      f'{name} {value:.1f} %',
      color=color,
      va='center',
      transform=axes.transAxes,
    )


def _loss_first(name: str) -> tuple[bool, bool, str]:
  return name != 'loss', not name.startswith('loss'), name


def _is_knn(name: str) -> bool:
  return name.startswith('knn')
