"""How well clusters match classes: the scores that papers report, from one table of counts."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis.clusters import mutual_information_scores


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
  """How well clusters match classes, whatever the numbers the clusters carry.

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
