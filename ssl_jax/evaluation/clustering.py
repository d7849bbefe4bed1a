"""k-means on features, and how well its clusters match the classes."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax import analysis
from ssl_jax.analysis.features import geometry
from ssl_jax.arguments import check_whole
from ssl_jax.evaluation.arguments import check_labels, check_rows


@dataclasses.dataclass(frozen=True)
class Clustering:
  """What `clustering` measures.

  Attributes:
    accuracy: the share of rows whose cluster stands for their class, clusters and classes matched
      one to one to the best total.
    nmi: mutual information of clusters and labels over the mean of their entropies.
    ari: the adjusted Rand index; 0 is expected by chance.
    silhouette: of the clusters, without labels, from -1 to 1; NaN where there is a single cluster,
      or one for every row.
    inertia: the sum of squared distances of rows to the mean of their cluster.
    clusters: K, as asked for.
    assignments: `int64 [n]`, the cluster of each row, from 0.
  """

  accuracy: float
  nmi: float
  ari: float
  silhouette: float
  inertia: float
  clusters: int
  assignments: np.ndarray


def clustering(
  features: Any,
  labels: Any,
  *,
  clusters: int | None = None,
  restarts: int = 10,
  max_iterations: int = 300,
  seed: int = 0,
  normalize: bool = True,
  silhouette_rows: int | None = 10_000,
) -> Clustering:
  """Clusters features by k-means and compares the clusters with the classes.

  Labels are used to measure only, and to know the number of classes.

  Source: `analysis.kmeans` and `analysis.clustering_scores`; Rousseeuw, 1987 (silhouette).

  >>> rows = [[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]
  >>> found = clustering(rows, np.array([5, 5, 2, 2]))
  >>> print(found.accuracy, round(found.nmi, 6), found.clusters)
  1.0 1.0 2

  Args:
    features: `[n, dim]` of any real dtype.
    labels: `int [n]`, 0 or greater.
    clusters: K, from 1 to n; by default the number of different labels.
    restarts: of k-means++, of which the least inertia counts.
    max_iterations: of each.
    seed: of the first centers, and of the rows behind the silhouette.
    normalize: whether rows are brought to unit length first; zero rows stay zero.
    silhouette_rows: rows that the silhouette is taken on, drawn where there are more, because it
      compares all pairs; None for all.

  Returns:
    The scores, see `Clustering`.

  Raises:
    ValueError: shapes do not fit, labels are absent, a feature is not finite, or a number is out of
      its range.
  """
  rows = check_rows('features', features).astype(np.float64)
  labels = check_labels('labels', labels, 'features', len(rows))
  if silhouette_rows is not None:
    check_whole('silhouette_rows', silhouette_rows)
  number = len(np.unique(labels)) if clusters is None else check_whole('clusters', clusters)
  if normalize:
    rows = geometry.l2_normalize(rows)
  found = analysis.kmeans(rows, number, restarts=restarts, max_iterations=max_iterations, seed=seed)
  scores = analysis.clustering_scores(labels, found)
  return Clustering(
    accuracy=scores.accuracy,
    nmi=scores.nmi,
    ari=scores.ari,
    silhouette=_silhouette(rows, found, silhouette_rows, seed),
    inertia=_inertia(rows, found),
    clusters=number,
    assignments=found,
  )


def _inertia(rows: np.ndarray, clusters: np.ndarray) -> float:
  total = 0.0
  for cluster in np.unique(clusters):
    members = rows[clusters == cluster]
    total += float(np.sum((members - np.mean(members, axis=0)) ** 2))
  return total


def _silhouette(rows: np.ndarray, clusters: np.ndarray, limit: int | None, seed: int) -> float:
  if limit is not None and len(rows) > limit:
    kept = np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False))
    rows, clusters = rows[kept], clusters[kept]
  if not 1 < len(np.unique(clusters)) < len(rows):
    return float('nan')
  return analysis.crowding(rows, clusters).silhouette
