"""Confusion matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

_MOST_WRITTEN = 20  # classes whose cells have room for a number, and half of them in half the width
_MOST_NAMED = 40
_DARK = 45.0  # percent, from where white numbers are legible
_TICKS = (0, 1, 5, 10, 25, 50, 75, 100)


def confusion_matrix(counts: Any, class_names: Sequence[str] = (), *, half: bool = False) -> bytes:
  """A heat map of predictions by true class, in percent of the true class.

  Colors go with the square root, so that rare confusions show beside the diagonal. Up to 20
  classes have a number in each cell that rounds to 1 or more; of more than 40, some are named.

  Args:
    counts: `int [class, class]`, images by label (row) and prediction (column), finite; rows
      without images stay white.
    class_names: by label; a label without a name is written as its number.
    half: makes a picture of half the width, to stand beside that of another encoder.

  Returns:
    A PNG.

  Raises:
    ValueError: the counts are not a square matrix of numbers from 0, of two classes or more.
  """
  from matplotlib.colors import PowerNorm

  counts = np.asarray(counts)
  square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and len(counts) > 1
  number = np.issubdtype(counts.dtype, np.integer) or np.issubdtype(counts.dtype, np.floating)
  if not square or not number or not np.isfinite(counts).all() or counts.min() < 0:
    raise ArgumentError(
      'counts',
      f'{counts.dtype} of shape {counts.shape}',
      '[class, class] with two classes or more, finite and none of them below 0',
    )
  counts = counts.astype(np.float64)  # a hundredfold of small integers would wrap around
  total = counts.sum(axis=1, keepdims=True)
  shares = np.where(total > 0, 100 * counts / np.where(total > 0, total, 1), np.nan)
  classes = len(counts)
  names = [canvas.class_name(class_names, at, 18 if half else 24) for at in range(classes)]
  width = canvas.HALF if half else canvas.WIDTH
  drawing = canvas.figure(min(0.85 * width, 2.6 + 0.34 * min(classes, _MOST_WRITTEN)), width=width)
  axes = drawing.subplots()
  norm = PowerNorm(0.5, vmin=0, vmax=100)
  picture = axes.imshow(shares, cmap='Blues', norm=norm, aspect='auto', interpolation='nearest')
  step = -(-classes // (_MOST_NAMED // (2 if half else 1)))
  shown = list(range(0, classes, step))
  upright = classes > (3 if half else 6)
  axes.set_xticks(shown, [names[at] for at in shown], rotation=90 if upright else 0)
  axes.set_yticks(shown, [names[at] for at in shown])
  axes.set_xlabel('predicted')
  axes.set_ylabel('true class')
  if classes <= _MOST_WRITTEN // (2 if half else 1):
    for row, column in np.argwhere(shares >= 0.5):
      value = shares[row, column]
      color = '#ffffff' if value > _DARK else '#16191f'
      axes.text(column, row, f'{value:.0f}', ha='center', va='center', fontsize=9, color=color)
  bar = drawing.colorbar(picture, ax=axes, label='% of the true class', pad=0.01, aspect=30)
  bar.set_ticks(_TICKS, labels=[str(tick) for tick in _TICKS])
  bar.minorticks_off()
  return canvas.png(drawing)
