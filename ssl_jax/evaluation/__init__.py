"""Measurements of a frozen encoder: its features, neighbors, probes, clusters, retrieval, and the
terms of the negative-sample bounds.

Labels are classes from 0. The -1 of a row without a label is refused: leave such rows out before.
Only the identities of `retrieval_scores` may be negative, those of distractors.
"""

from ssl_jax.deprecation import deprecated_names
from ssl_jax.evaluation.class_report import ClassReport, class_report
from ssl_jax.evaluation.clustering import Clustering, clustering
from ssl_jax.evaluation.collision_bound import collision_upper_bound
from ssl_jax.evaluation.features import extract, l2_normalize
from ssl_jax.evaluation.negative_samples import NegativeSampleBounds, negative_sample_bounds
from ssl_jax.evaluation.neighbors.euclidean_knn import euclidean_knn_predict
from ssl_jax.evaluation.neighbors.iccl_knn import iccl_knn5
from ssl_jax.evaluation.neighbors.knn import (
  KnnGrid,
  knn_accuracy,
  knn_grid,
  knn_predict,
  knn_scores,
)
from ssl_jax.evaluation.neighbors.retrieval import RetrievalScores, flip_ensemble, retrieval_scores
from ssl_jax.evaluation.neighbors.search import nearest_neighbors
from ssl_jax.evaluation.probes.few_shot import EpisodeAccuracy, few_shot_episodes
from ssl_jax.evaluation.probes.fine_tuning import FineTuneRecipe, FineTuneResult, fine_tune
from ssl_jax.evaluation.probes.label_subset import read_subset, stratified_subset
from ssl_jax.evaluation.probes.linear_probe import LinearProbeResult, linear_probe
from ssl_jax.evaluation.probes.logistic_regression import (
  LogisticProbeResult,
  LogisticRegression,
  logistic_probe,
  logistic_regression,
)
from ssl_jax.evaluation.probes.mean_classifier import MeanClassifier, mean_classifier
from ssl_jax.evaluation.probes.recipes import PRESETS, ProbeRecipe
from ssl_jax.evaluation.probes.ridge import RidgeProbeResult, ridge_probe

__all__ = [
  'PRESETS',
  'ClassReport',
  'Clustering',
  'EpisodeAccuracy',
  'FineTuneRecipe',
  'FineTuneResult',
  'KnnGrid',
  'LinearProbeResult',
  'LogisticProbeResult',
  'LogisticRegression',
  'MeanClassifier',
  'NegativeSampleBounds',
  'ProbeRecipe',
  'RetrievalScores',
  'RidgeProbeResult',
  'class_report',
  'clustering',
  'collision_upper_bound',
  'euclidean_knn_predict',
  'extract',
  'few_shot_episodes',
  'fine_tune',
  'flip_ensemble',
  'iccl_knn5',
  'knn_accuracy',
  'knn_grid',
  'knn_predict',
  'knn_scores',
  'l2_normalize',
  'linear_probe',
  'logistic_probe',
  'logistic_regression',
  'mean_classifier',
  'nearest_neighbors',
  'negative_sample_bounds',
  'read_subset',
  'retrieval_scores',
  'ridge_probe',
  'stratified_subset',
]

__getattr__ = deprecated_names(
  __name__,
  {
    'nearest_neighbours': 'nearest_neighbors',
    'unit': 'l2_normalize',
    'online_knn5': 'iccl_knn5',
  },
)
