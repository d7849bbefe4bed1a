"""What a frozen encoder knows: its features, and the weighted nearest-neighbour vote on them."""

from ssl_jax.evaluation.features import extract
from ssl_jax.evaluation.flip import flip_ensemble
from ssl_jax.evaluation.knn import knn_accuracy, knn_predict, knn_scores, nearest_neighbours
from ssl_jax.evaluation.online_knn import online_knn5

__all__ = [
  'extract',
  'flip_ensemble',
  'knn_accuracy',
  'knn_predict',
  'knn_scores',
  'nearest_neighbours',
  'online_knn5',
]
