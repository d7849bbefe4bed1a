"""Grids of images: augmented views, and nearest neighbors."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

_GAP = 0.08  # between images, in widths of an image
_NAMES = 0.15  # room for the names of the views, as a share of the images' width


def contact_sheet(
  originals: np.ndarray,
  views: np.ndarray,
  view_names: Sequence[str] = (),
  *,
  max_images: int = 10,
) -> bytes:
  """Each image above the views made of it.

  Args:
    originals: `[n, height, width, 3]`, uint8, or float in [0, 1].
    views: `[n, view, height, width, 3]` likewise; the size may differ from the originals'.
    view_names: by view; 'view 1', 'view 2' and so on where they are missing.
    max_images: of more, the first are shown.

  Returns:
    A PNG.

  Raises:
    ValueError: shapes or values are not those of images, or the numbers of images differ.
  """
  originals = _check('originals', originals, 4)
  views = _check('views', views, 5)
  if len(originals) != len(views):
    raise ArgumentError('views', f'{len(views)} images', f'{len(originals)} as originals')
  names = ['original', *(f'view {index + 1}' for index in range(views.shape[1]))]
  names[1 : 1 + len(view_names)] = view_names[: views.shape[1]]
  count = min(len(originals), max_images)
  axes, drawing = _board(max(count, 6), len(names), left=_NAMES * max(count, 6))
  for line, name in enumerate(names):
    words = textwrap.fill(name, 16)
    axes.text(-0.1, _at(line) + 0.5, words, ha='right', va='center', fontsize=10)
    for column in range(count):
      image = originals[column] if line == 0 else views[column, line - 1]
      _place(axes, image, _at(column), _at(line))
  return canvas.png(drawing)


def neighbor_grid(
  queries: np.ndarray,
  neighbors: np.ndarray,
  hits: np.ndarray | None = None,
  *,
  max_queries: int = 8,
  max_neighbors: int = 9,
  half: bool = False,
) -> bytes:
  """Each query beside its nearest neighbors, most similar first.

  Args:
    queries: `[n, height, width, 3]`, uint8, or float in [0, 1].
    neighbors: `[n, k, height, width, 3]` likewise.
    hits: `bool [n, k]`: whether a neighbor is of the query's class. A hit has a solid blue frame,
      a miss a dashed orange one, a masked entry of a masked array none; None draws no frames.
    max_queries: of more, the first are shown.
    max_neighbors: likewise.
    half: makes a picture of half the width, to stand beside that of another encoder.

  Returns:
    A PNG.

  Raises:
    ValueError: shapes or values are not those of images, or do not fit each other.
  """
  queries = _check('queries', queries, 4)
  neighbors = _check('neighbors', neighbors, 5)
  if len(queries) != len(neighbors):
    raise ArgumentError('neighbors', f'{len(neighbors)} rows', f'{len(queries)} as queries')
  if hits is not None and np.shape(hits) != neighbors.shape[:2]:
    raise ArgumentError('hits', f'shape {np.shape(hits)}', neighbors.shape[:2])
  lines = min(len(queries), max_queries)
  columns = min(neighbors.shape[1], max_neighbors)
  offset = 0.35  # sets the query apart from its neighbors
  width = canvas.HALF if half else canvas.WIDTH
  # In units of an image, which is smaller then; letters are not.
  top = 0.3 * canvas.WIDTH / width
  axes, drawing = _board(max(columns + 1, 6) + offset, lines, top=top, width=width)
  axes.text(0.5, -0.12, 'query', ha='center', va='bottom', fontsize=10)
  title = 'nearest neighbors, most similar first'
  axes.text(_at(1) + offset, -0.12, title, ha='left', va='bottom', fontsize=10)
  for line in range(lines):
    _place(axes, queries[line], 0, _at(line))
    for column in range(columns):
      corner = (_at(column + 1) + offset, _at(line))
      _place(axes, neighbors[line, column], *corner)
      if hits is not None and not np.ma.getmaskarray(hits)[line, column]:
        _frame(axes, *corner, hit=bool(hits[line, column]), width=1.5 if half else 3.0)
  return canvas.png(drawing)


def same_class(neighbors: np.ndarray, queries: np.ndarray) -> np.ma.MaskedArray:
  """The `hits` of `neighbor_grid`: `bool [n, k]`, masked where one of the images has no label, -1.

  Args:
    neighbors: labels, `int [n, k]`.
    queries: labels, `int [n]`.
  """
  own = queries[:, None]
  return np.ma.masked_array(neighbors == own, mask=(neighbors < 0) | (own < 0))


def _board(
  columns: float,
  lines: int,
  *,
  left: float = 0.0,
  top: float = 0.0,
  width: float = canvas.WIDTH,
) -> tuple[Any, Any]:
  """Axes whose unit is the width of one image; `left` and `top` leave room for words."""
  x_span = left + columns * (1 + _GAP)
  y_span = top + lines * (1 + _GAP)
  drawing = canvas.figure(width * y_span / x_span, layout=None, width=width)
  axes = drawing.add_axes((0.0, 0.0, 1.0, 1.0))
  axes.set_xlim(-left - _GAP / 2, -left - _GAP / 2 + x_span)
  axes.set_ylim(-top - _GAP / 2 + y_span, -top - _GAP / 2)
  axes.set_axis_off()
  return axes, drawing


def _at(index: int) -> float:
  return index * (1 + _GAP)


def _place(axes: Any, image: np.ndarray, x: float, y: float) -> None:
  limits = axes.get_xlim(), axes.get_ylim()
  # Small images keep their pixels, so that a reader sees exactly what the model is given.
  interpolation = 'nearest' if max(image.shape[:2]) <= 96 else 'auto'
  height, width = (size / max(image.shape[:2]) for size in image.shape[:2])
  x, y = x + (1 - width) / 2, y + (1 - height) / 2
  axes.imshow(image, extent=(x, x + width, y + height, y), interpolation=interpolation)
  axes.set(xlim=limits[0], ylim=limits[1], aspect='auto')


def _frame(axes: Any, x: float, y: float, *, hit: bool, width: float) -> None:
  from matplotlib.patches import Rectangle

  color, style = (canvas.PALETTE[0], 'solid') if hit else (canvas.PALETTE[1], (0, (3, 1.5)))
  axes.add_patch(
    Rectangle((x, y), 1, 1, fill=False, edgecolor=color, linestyle=style, linewidth=width)
  )


def _check(name: str, images: np.ndarray, dimensions: int) -> np.ndarray:
  images = np.asarray(images)
  if images.ndim != dimensions or images.shape[-1] != 3 or 0 in images.shape:
    wanted = 'n, height, width, 3' if dimensions == 4 else 'n, m, height, width, 3'
    raise ArgumentError(name, f'shape {images.shape}', f'[{wanted}], none of them 0')
  if images.dtype == np.uint8:
    return images
  images = images.astype(np.float32)
  if not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
    raise ArgumentError(name, f'values from {images.min():g} to {images.max():g}', 'in [0, 1]')
  return images.clip(0, 1)
