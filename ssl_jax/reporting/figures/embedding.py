"""A map of the embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.reporting.figures import canvas

_MOST_CLASSES = 24  # that a legend can name and a reader can tell apart


def tsne(
  features: np.ndarray,
  labels: np.ndarray | None = None,
  class_names: Sequence[str] = (),
  *,
  max_points: int = 1000,
) -> bytes:
  """Embeddings as points in the plane, by t-SNE (van der Maaten and Hinton, JMLR 2008).

  Features are L2-normalised, as for kNN. The start is PCA and the seed constant, so that the same
  features give the same map. Features that all coincide are drawn as the one point they are.

  Args:
    features: `[n, dim]`, finite, at least 3 rows.
    labels: `int [n]`, which colours and shapes tell apart; None draws all alike.
    class_names: by label, for the legend; a label without a name is written as its number.
    max_points: of more rows, so many evenly spaced ones are drawn.

  Returns:
    A PNG.

  Raises:
    ValueError: the features are not a finite matrix of at least 3 rows, or labels do not fit.
  """
  features = np.asarray(features, np.float32)
  if features.ndim != 2 or len(features) < 3:
    raise ValueError(f'features: found shape {features.shape}, must be [n, dim] with n at least 3')
  if not np.isfinite(features).all():
    raise ValueError('features: found NaN or infinite values, must be finite')
  if labels is not None and np.shape(labels) != (len(features),):
    raise ValueError(f'labels: found shape {np.shape(labels)}, must be ({len(features)},)')

  chosen = np.unique(np.linspace(0, len(features) - 1, min(len(features), max_points)).astype(int))
  points = _place(features[chosen])

  drawing = canvas.figure(6.2)
  axes = drawing.subplots()
  if labels is None:
    axes.scatter(*points.T, s=14, color=canvas.PALETTE[0], linewidths=0)
  else:
    _scatter_classes(axes, points, np.asarray(labels)[chosen], class_names)
    drawing.legend(loc='outside right upper', frameon=False, markerscale=1.6, fontsize=9)
  axes.set_xticks([])
  axes.set_yticks([])
  axes.set_aspect('equal', adjustable='datalim')
  axes.set_xlabel('t-SNE 1')
  axes.set_ylabel('t-SNE 2')
  for spine in axes.spines.values():
    spine.set_color('#d1d5db')
  return canvas.png(drawing)


def _place(features: np.ndarray) -> np.ndarray:
  from sklearn.manifold import TSNE
  from threadpoolctl import threadpool_limits

  norms = np.linalg.norm(features, axis=1, keepdims=True)
  features = features / np.where(norms > 0, norms, 1)
  if np.ptp(features, axis=0).max() < 1e-6:  # collapsed: PCA would divide by its zero spread
    return np.zeros((len(features), 2), np.float32)
  perplexity = min(30.0, (len(features) - 1) / 3)
  start = 'pca' if features.shape[1] > 1 else 'random'
  # One thread: those of OpenMP spin at every barrier, ten times slower on a machine that is busy.
  with threadpool_limits(1):
    return TSNE(init=start, random_state=0, perplexity=perplexity).fit_transform(features)


def _scatter_classes(
  axes: Any, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
  classes, counts = np.unique(labels, return_counts=True)
  shown = np.sort(classes[np.argsort(-counts, kind='stable')[:_MOST_CLASSES]])
  rest = ~np.isin(labels, shown)
  if rest.any():
    name = f'{len(classes) - len(shown)} more classes'
    axes.scatter(*points[rest].T, s=10, color='#d1d5db', linewidths=0, label=name)
  for index, label in enumerate(shown):
    name = class_names[label] if 0 <= label < len(class_names) else str(label)
    axes.scatter(
      *points[labels == label].T,
      s=16,
      color=canvas.PALETTE[index % len(canvas.PALETTE)],
      marker=canvas.MARKERS[index // len(canvas.PALETTE) % len(canvas.MARKERS)],
      linewidths=0,
      label=name,
    )
