"""Agreement of clusters with labels: accuracy, mutual information, adjusted Rand index."""

import dataclasses
import math
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.arguments import ArgumentError


@dataclasses.dataclass(frozen=True)
class MutualInformationScores:
  """What `mutual_information_scores` measures; natural logarithms.

  Attributes:
    nmi: the mutual information over the arithmetic mean of the two entropies, from 0 to 1.
    ari: the adjusted Rand index: pairs on which the partitions agree, 0 expected by chance, 1 at
      best.
    mutual_information: of label and cluster.
    label_entropy: of the labels.
    cluster_entropy: of the clusters.
  """

  nmi: float
  ari: float
  mutual_information: float
  label_entropy: float
  cluster_entropy: float


def mutual_information_scores(labels: Any, clusters: Any) -> MutualInformationScores:
  """Mutual information of clusters and labels, for any numbering of the clusters.

  Two partitions that each have one part agree perfectly: both scores are 1.

  Source: Vinh, Epps and Bailey, JMLR 2010; Hubert and Arabie, 1985.

  >>> scores = mutual_information_scores([0, 0, 1, 1], [1, 1, 0, 0])
  >>> print(f'{scores.nmi:.3f} {scores.ari:.3f}')
  1.000 1.000

  Args:
    labels: `int [n]`, 0 or greater.
    clusters: `int [n]`, 0 or greater.

  Returns:
    The scores, see `MutualInformationScores`.

  Raises:
    ValueError: there are no labels, they are not integers, or their numbers differ.
  """
  count = len(np.atleast_1d(labels)) if labels is not None else 0
  label_codes = arguments.as_labels('labels', labels, count, of='clusters')
  cluster_codes = arguments.as_labels('clusters', clusters, count, of='labels')
  if not count:
    raise ArgumentError('labels', '0 labels', 'at least 1')
  _, label_codes, label_counts = np.unique(label_codes, return_inverse=True, return_counts=True)
  _, cluster_codes, cluster_counts = np.unique(
    cluster_codes, return_inverse=True, return_counts=True
  )
  cells, cell_counts = np.unique(
    label_codes * len(cluster_counts) + cluster_codes, return_counts=True
  )
  row_counts = label_counts[cells // len(cluster_counts)]
  column_counts = cluster_counts[cells % len(cluster_counts)]

  logs = np.log(cell_counts) + math.log(count) - np.log(row_counts) - np.log(column_counts)
  information = max(0.0, float(np.sum(cell_counts * logs)) / count)
  label_entropy, cluster_entropy = _entropy(label_counts), _entropy(cluster_counts)
  mean_entropy = (label_entropy + cluster_entropy) / 2
  return MutualInformationScores(
    nmi=min(1.0, information / mean_entropy) if mean_entropy > 0 else 1.0,
    ari=_adjusted_rand(_pairs(cell_counts), _pairs(label_counts), _pairs(cluster_counts), count),
    mutual_information=information,
    label_entropy=label_entropy,
    cluster_entropy=cluster_entropy,
  )


def _entropy(counts: np.ndarray) -> float:
  shares = counts / np.sum(counts)
  return max(0.0, -float(np.sum(shares * np.log(shares))))


def _pairs(counts: np.ndarray) -> int:
  return int(np.sum(counts * (counts - 1)) // 2)


def _adjusted_rand(both: int, of_labels: int, of_clusters: int, count: int) -> float:
  # In whole numbers, whose products leave 64 bits at a million images; multiplied by all pairs.
  pairs = count * (count - 1) // 2
  chance = of_labels * of_clusters
  best = pairs * (of_labels + of_clusters) - 2 * chance
  return 2 * (pairs * both - chance) / best if best else 1.0


@dataclasses.dataclass(frozen=True)
class ClusteringScores:
  """What `clustering_scores` measures; all are 1 at best, and all but `ari` at least 0.

  Attributes:
    accuracy: the share of rows whose cluster stands for their class, where every cluster stands for
      at most one class and every class has at most one cluster, chosen to the best total. Clusters
      beyond the number of classes count as wrong.
    purity: the share of rows in the most frequent class of their cluster. It cannot fall when
      clusters are split.
    homogeneity: the share of the entropy of labels that clusters explain: 1 where each cluster
      holds one class.
    completeness: the share of the entropy of clusters that labels explain: 1 where each class lies
      in one cluster.
    nmi: mutual information over the arithmetic mean of the two entropies, which is the harmonic
      mean of homogeneity and completeness.
    ari: the adjusted Rand index; 0 is expected by chance.
  """

  accuracy: float
  purity: float
  homogeneity: float
  completeness: float
  nmi: float
  ari: float


def clustering_scores(labels: Any, clusters: Any) -> ClusteringScores:
  """Agreement of clusters with classes, for any numbering of the clusters.

  There may be more or fewer clusters than classes. A partition of a single part has no entropy, and
  all of it is explained.

  Source: Kuhn, 1955 (the assignment behind the accuracy); Rosenberg and Hirschberg, EMNLP 2007
  (homogeneity, completeness); `mutual_information_scores` for the other two.

  >>> scores = clustering_scores([0, 0, 1, 1], [2, 2, 0, 1])
  >>> print(scores.accuracy, scores.purity, f'{scores.completeness:.3f}')
  0.75 1.0 0.667

  Args:
    labels: `int [n]`, 0 or greater.
    clusters: `int [n]`, 0 or greater.

  Returns:
    The scores, see `ClusteringScores`.

  Raises:
    ValueError: there are no labels, they are not integers, or their numbers differ.
  """
  from scipy.optimize import linear_sum_assignment

  shared = mutual_information_scores(labels, clusters)
  table = _table(np.asarray(labels), np.asarray(clusters))
  count = np.sum(table)
  return ClusteringScores(
    accuracy=float(np.sum(table[linear_sum_assignment(table, maximize=True)]) / count),
    purity=float(np.sum(np.max(table, axis=0)) / count),
    homogeneity=_explained(shared.mutual_information, shared.label_entropy),
    completeness=_explained(shared.mutual_information, shared.cluster_entropy),
    nmi=shared.nmi,
    ari=shared.ari,
  )


def _table(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
  """Rows of each class in each cluster: `int64 [class, cluster]`."""
  present, label_codes = np.unique(labels, return_inverse=True)
  parts, cluster_codes = np.unique(clusters, return_inverse=True)
  cells = label_codes * len(parts) + cluster_codes
  return np.bincount(cells, minlength=len(present) * len(parts)).reshape(len(present), len(parts))


def _explained(information: float, entropy: float) -> float:
  return min(1.0, information / entropy) if entropy > 0 else 1.0
