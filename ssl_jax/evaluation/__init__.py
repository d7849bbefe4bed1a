"""What a frozen encoder knows: its features, the weighted nearest-neighbour vote on them, and the
terms of the negative-sample bounds."""

from ssl_jax.evaluation.collision_bound import collision_upper_bound
from ssl_jax.evaluation.features import extract
from ssl_jax.evaluation.flip import flip_ensemble
from ssl_jax.evaluation.knn import knn_accuracy, knn_predict, knn_scores, nearest_neighbours
from ssl_jax.evaluation.negative_samples import NegativeSampleBounds, negative_sample_bounds
from ssl_jax.evaluation.online_knn import online_knn5
from ssl_jax.evaluation.unit import unit

__all__ = [
  'NegativeSampleBounds',
  'collision_upper_bound',
  'extract',
  'flip_ensemble',
  'knn_accuracy',
  'knn_predict',
  'knn_scores',
  'nearest_neighbours',
  'negative_sample_bounds',
  'online_knn5',
  'unit',
]
