"""t-SNE maps of embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting.figures import canvas

PERPLEXITY = 30.0
_MOST_CLASSES = 24  # that a legend can name and a reader can tell apart
_LETTERS, _MARKER = 140, 9  # of a line of the legend below the panels, and those a marker takes
_LINE = 0.19  # inches


def tsne(
  features: np.ndarray,
  labels: np.ndarray | None = None,
  class_names: Sequence[str] = (),
  *,
  max_points: int = 1000,
) -> bytes:
  """Embeddings as points in the plane, by t-SNE (van der Maaten and Hinton, JMLR 2008).

  Features are L2-normalized, as for kNN. The start is PCA and the seed constant, so that the same
  features give the same map. Features that all coincide are drawn as the one point they are.

  Args:
    features: `[n, dim]`, finite, at least 3 rows.
    labels: `int [n]`, which colors and shapes tell apart, -1 of a point without a label, which is
      gray; None draws all alike.
    class_names: by label, for the legend; a label without a name is written as its number.
    max_points: of more rows, so many evenly spaced ones are drawn.

  Returns:
    A PNG.

  Raises:
    ValueError: the features are not a finite matrix of at least 3 rows, or labels do not fit.
  """
  features, labels = _checked(features, labels)
  chosen = _chosen(len(features), max_points)
  drawing = canvas.figure(6.2)
  axes = drawing.subplots()
  _draw(axes, _place(features[chosen]), None if labels is None else labels[chosen], class_names)
  if labels is not None:
    drawing.legend(loc='outside right upper', frameon=False, markerscale=1.6, fontsize=9)
  return canvas.png(drawing)


def tsne_panels(
  features: Mapping[str, np.ndarray],
  labels: np.ndarray | None = None,
  class_names: Sequence[str] = (),
  *,
  max_points: int = 1000,
) -> bytes:
  """The maps of several encoders of the same images, side by side; see `tsne`.

  Args:
    features: by encoder, `[n, dim]`, with the same n where there are labels.
    labels: `int [n]`, of all.
    class_names: by label, for the one legend.
    max_points: of more rows, so many evenly spaced ones are drawn.

  Returns:
    A PNG.

  Raises:
    ValueError: there is no encoder, or as in `tsne`.
  """
  if not features:
    raise ArgumentError('features', 'none', 'of at least one encoder')
  checked = {name: _checked(rows, labels) for name, rows in features.items()}
  columns = min(2, len(checked))
  lines = -(-len(checked) // columns)
  height = (6.2 if columns == 1 else 4.9) * lines
  drawing = canvas.figure(height)
  grid = drawing.subplots(lines, columns, squeeze=False).ravel()
  for axes in grid[len(checked) :]:
    axes.remove()
  for axes, (name, (rows, of)) in zip(grid, checked.items(), strict=False):
    chosen = _chosen(len(rows), max_points)
    names = class_names if axes is grid[0] else None
    _draw(axes, _place(rows[chosen]), None if of is None else of[chosen], names)
    axes.set_title(canvas.name(name, 44), loc='left', fontsize=11)
  if labels is not None:
    names = grid[0].get_legend_handles_labels()[1]
    columns = max(1, min(8, _LETTERS // (max(len(words) for words in names) + _MARKER)))
    drawing.set_figheight(height + _LINE * -(-len(names) // columns))
    drawing.legend(
      loc='outside lower center', frameon=False, markerscale=1.6, fontsize=9, ncols=columns
    )
  return canvas.png(drawing)


def _checked(
  features: np.ndarray, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
  features = np.asarray(features, np.float32)
  if features.ndim != 2 or len(features) < 3:
    raise ArgumentError('features', f'shape {features.shape}', '[n, dim] with n at least 3')
  if not np.isfinite(features).all():
    raise ArgumentError('features', 'NaN or infinite values', 'finite')
  if labels is not None and np.shape(labels) != (len(features),):
    raise ArgumentError('labels', f'shape {np.shape(labels)}', f'({len(features)},)')
  return features, None if labels is None else np.asarray(labels)


def _chosen(count: int, most: int) -> np.ndarray:
  return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _draw(
  axes: Any, points: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str] | None
) -> None:
  """A map; without `class_names` its classes are left out of the legend."""
  if labels is None:
    axes.scatter(*points.T, s=14, color=canvas.PALETTE[0], linewidths=0)
  else:
    _scatter_classes(axes, points, labels, class_names)
  axes.set_xticks([])
  axes.set_yticks([])
  axes.set_aspect('equal', adjustable='datalim')
  axes.set_xlabel('t-SNE 1')
  axes.set_ylabel('t-SNE 2')
  for spine in axes.spines.values():
    spine.set_color('#d1d5db')


def perplexity(count: int) -> float:
  """That of t-SNE of `count` points: 30, or a third of the other points where they are few."""
  return min(PERPLEXITY, (count - 1) / 3)


def _place(features: np.ndarray) -> np.ndarray:
  from sklearn.manifold import TSNE
  from threadpoolctl import threadpool_limits

  # The squares of large entries leave float32.
  largest = np.max(np.abs(features), axis=1, keepdims=True)
  features = features / np.where(largest > 0, largest, 1)
  norms = np.linalg.norm(features, axis=1, keepdims=True)
  features = features / np.where(norms > 0, norms, 1)
  if np.ptp(features, axis=0).max() < 1e-6:  # collapsed: PCA would divide by its zero spread
    return np.zeros((len(features), 2), np.float32)
  start = 'pca' if features.shape[1] > 1 else 'random'
  # One thread: those of OpenMP spin at every barrier, ten times slower on a machine that is busy.
  with threadpool_limits(1):
    return TSNE(init=start, random_state=0, perplexity=perplexity(len(features))).fit_transform(
      features
    )


def _scatter_classes(
  axes: Any, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str] | None
) -> None:
  unlabeled = labels < 0
  if unlabeled.any():
    of_legend = None if class_names is None else 'no label'
    axes.scatter(*points[unlabeled].T, s=10, color=canvas.GRAY, linewidths=0, label=of_legend)
    points, labels = points[~unlabeled], labels[~unlabeled]
  classes, counts = np.unique(labels, return_counts=True)
  shown = np.sort(classes[np.argsort(-counts, kind='stable')[:_MOST_CLASSES]])
  rest = ~np.isin(labels, shown)
  if rest.any():
    name = f'{len(classes) - len(shown)} more classes'
    of_legend = None if class_names is None else name
    axes.scatter(*points[rest].T, s=10, color='#d1d5db', linewidths=0, label=of_legend)
  for index, label in enumerate(shown):
    name = canvas.class_name(class_names or (), label)
    axes.scatter(
      *points[labels == label].T,
      s=16,
      color=canvas.PALETTE[index % len(canvas.PALETTE)],
      marker=canvas.MARKERS[index // len(canvas.PALETTE) % len(canvas.MARKERS)],
      linewidths=0,
      label=None if class_names is None else name,
    )
