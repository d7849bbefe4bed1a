"""Metrics of the geometry of features, and theory of the number of negatives.

Functions of NumPy arrays and numbers, in float64 on the host; none of them needs JAX. Labels are
used to measure, never to train; the -1 of a row without a label is refused.
"""

from ssl_jax.analysis.features.bound_chain import BoundChain, bound_chain
from ssl_jax.analysis.features.classification_risk import (
  ClassificationRiskBounds,
  classification_risk_bounds,
)
from ssl_jax.analysis.features.clusters import (
  ClusteringScores,
  MutualInformationScores,
  clustering_scores,
  mutual_information_scores,
)
from ssl_jax.analysis.features.crowding import Crowding, crowding
from ssl_jax.analysis.features.false_negatives import FalseNegativeAudit, false_negative_audit
from ssl_jax.analysis.features.granularity import ClusterLevel, Granularity, cluster_granularity
from ssl_jax.analysis.features.hypersphere import alignment, uniformity
from ssl_jax.analysis.features.kmeans import kmeans
from ssl_jax.analysis.features.prototypes import BiasAverages, PrototypeBias, prototype_bias
from ssl_jax.analysis.features.similarity_histograms import (
  SimilarityHistograms,
  similarity_histograms,
)
from ssl_jax.analysis.features.spectrum import Spectrum, spectrum
from ssl_jax.analysis.negatives.collisions import (
  collision_probability,
  expected_collisions,
  expected_log_collisions,
  no_collision_coverage_probability,
  no_collision_probability,
)
from ssl_jax.analysis.negatives.contrastive_bounds import (
  SupervisedLossBounds,
  contrastive_loss_minimum,
  supervised_loss_bounds,
  supervised_loss_minimum,
)
from ssl_jax.analysis.negatives.coverage import (
  coverage_probability,
  log_coverage_probability,
  missing_class_probability,
  smallest_num_draws,
)
from ssl_jax.analysis.negatives.deputy_risk import (
  deputy_false_negative_probability,
  smallest_safe_rank,
)
from ssl_jax.analysis.negatives.expected_draws import draws_standard_deviation, expected_draws

__all__ = [
  'BiasAverages',
  'BoundChain',
  'ClassificationRiskBounds',
  'ClusterLevel',
  'ClusteringScores',
  'Crowding',
  'FalseNegativeAudit',
  'Granularity',
  'MutualInformationScores',
  'PrototypeBias',
  'SimilarityHistograms',
  'Spectrum',
  'SupervisedLossBounds',
  'alignment',
  'bound_chain',
  'classification_risk_bounds',
  'cluster_granularity',
  'clustering_scores',
  'collision_probability',
  'contrastive_loss_minimum',
  'coverage_probability',
  'crowding',
  'deputy_false_negative_probability',
  'draws_standard_deviation',
  'expected_collisions',
  'expected_draws',
  'expected_log_collisions',
  'false_negative_audit',
  'kmeans',
  'log_coverage_probability',
  'missing_class_probability',
  'mutual_information_scores',
  'no_collision_coverage_probability',
  'no_collision_probability',
  'prototype_bias',
  'similarity_histograms',
  'smallest_num_draws',
  'smallest_safe_rank',
  'spectrum',
  'supervised_loss_bounds',
  'supervised_loss_minimum',
  'uniformity',
]
