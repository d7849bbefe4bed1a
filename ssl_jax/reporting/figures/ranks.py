"""The share of false negatives by similarity rank."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

_BOUND = canvas.PALETTE[-1]
_TICKS = (1, 2, 5, *(digit * 10**power for power in (1, 2, 3, 4) for digit in (1, 2, 5)))


class RankCurve(NamedTuple):
  """Statistics of each rank in the batches of one encoder.

  Attributes:
    ranks: `int [rank]`, from 1 and rising.
    measured: `[rank]`, P(same class | rank).
    standard_error: `[rank]`, NaN where it is unknown.
    chance: of any rank.
    bound: `[rank]`, the greatest possible value.
  """

  ranks: Any
  measured: Any
  standard_error: Any
  chance: float
  bound: Any


def rank_curves(curves: Mapping[str, RankCurve]) -> bytes:
  """P(same class | rank of the negative) of several encoders, beside chance and the greatest value.

  A band of two standard errors goes with each curve.
  Where all have the same bound and the same chance these are drawn once, in black and gray;
  else each encoder's are drawn in its color.

  Args:
    curves: by encoder.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no encoder, a curve without a rank, or one whose lengths differ.
  """
  if not curves:
    raise ArgumentError('curves', 'none', 'of at least one encoder')
  checked = {name: _checked(curve) for name, curve in curves.items()}
  first = next(iter(checked.values()))
  shared = all(
    np.array_equal(curve.ranks, first.ranks)
    and np.allclose(curve.bound, first.bound)
    and np.isclose(curve.chance, first.chance)
    for curve in checked.values()
  )
  drawing = canvas.figure(4.2)
  axes = drawing.subplots()
  axes.set_xscale('log')
  for at, (name, curve) in enumerate(checked.items()):
    color = canvas.PALETTE[at % len(canvas.PALETTE)]
    error = 2 * curve.standard_error
    low, high = curve.measured - error, curve.measured + error
    axes.fill_between(curve.ranks, low, high, color=color, alpha=0.2, linewidth=0)
    marker = 'o' if len(curve.ranks) < 2 else ''
    label = canvas.name(name)
    axes.plot(curve.ranks, curve.measured, color=color, linewidth=2, marker=marker, label=label)
  limits = {'': first} if shared else checked
  for at, (name, curve) in enumerate(limits.items()):
    dashed, dotted = [canvas.PALETTE[at % len(canvas.PALETTE)]] * 2
    if shared:
      dashed, dotted = _BOUND, canvas.GRAY
    of = f', {canvas.name(name)}' if name else ''
    options = {'color': dashed, 'linewidth': 1.6, 'linestyle': '--'}
    axes.plot(curve.ranks, curve.bound, label=f'bound{of}', **options)
    options = {'color': dotted, 'linewidth': 1.4, 'linestyle': ':'}
    axes.axhline(curve.chance, label=f'chance{of}', **options)
  axes.set_ylim(0, 1.02)
  last = max(curve.ranks[-1] for curve in checked.values())
  ticks = [tick for tick in _TICKS if tick <= last]
  axes.set_xticks(ticks, [f'{tick:,}' for tick in ticks])
  axes.minorticks_off()
  canvas.tidy(
    axes, x_label='rank of the negative, 1 is the most similar', y_label='P(same class | rank)'
  )
  drawing.legend(loc='outside right upper', frameon=False)
  return canvas.png(drawing)


def _checked(curve: RankCurve) -> RankCurve:
  ranks = np.asarray(curve.ranks)
  if ranks.ndim != 1 or not len(ranks) or ranks[0] < 1 or (np.diff(ranks) <= 0).any():
    raise ArgumentError('ranks', f'shape {ranks.shape}', '[rank], from 1 and rising')
  arrays = [
    np.asarray(found, np.float64) for found in (curve.measured, curve.standard_error, curve.bound)
  ]
  for name, found in zip(('measured', 'standard_error', 'bound'), arrays, strict=True):
    if found.shape != ranks.shape:
      raise ArgumentError(name, f'shape {found.shape}', ranks.shape)
  return RankCurve(ranks, arrays[0], arrays[1], float(curve.chance), arrays[2])
