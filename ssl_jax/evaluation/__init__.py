"""What a frozen encoder knows: its features, judges of them with and without training, and the
terms of the negative-sample bounds."""

from ssl_jax.evaluation.class_means import MeanClassifier, mean_classifier
from ssl_jax.evaluation.class_report import ClassReport, class_report
from ssl_jax.evaluation.clustering import Clustering, clustering
from ssl_jax.evaluation.collision_bound import collision_upper_bound
from ssl_jax.evaluation.episodes import EpisodeAccuracy, few_shot_episodes
from ssl_jax.evaluation.euclidean_knn import euclidean_knn_predict
from ssl_jax.evaluation.features import extract
from ssl_jax.evaluation.fine_tuning import FineTuneRecipe, FineTuneResult, fine_tune
from ssl_jax.evaluation.flip import flip_ensemble
from ssl_jax.evaluation.knn import knn_accuracy, knn_predict, knn_scores, nearest_neighbours
from ssl_jax.evaluation.knn_grid import KnnGrid, knn_grid
from ssl_jax.evaluation.label_subset import read_subset, stratified_subset
from ssl_jax.evaluation.linear_probe import LinearProbeResult, linear_probe
from ssl_jax.evaluation.logistic_regression import (
  LogisticProbeResult,
  LogisticRegression,
  logistic_probe,
  logistic_regression,
)
from ssl_jax.evaluation.negative_samples import NegativeSampleBounds, negative_sample_bounds
from ssl_jax.evaluation.online_knn import online_knn5
from ssl_jax.evaluation.probe_presets import PRESETS, ProbeRecipe
from ssl_jax.evaluation.retrieval import RetrievalScores, retrieval_scores
from ssl_jax.evaluation.ridge import RidgeProbeResult, ridge_probe
from ssl_jax.evaluation.unit import unit

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
  'knn_accuracy',
  'knn_grid',
  'knn_predict',
  'knn_scores',
  'linear_probe',
  'logistic_probe',
  'logistic_regression',
  'mean_classifier',
  'nearest_neighbours',
  'negative_sample_bounds',
  'online_knn5',
  'read_subset',
  'retrieval_scores',
  'ridge_probe',
  'stratified_subset',
  'unit',
]
