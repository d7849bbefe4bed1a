"""What a frozen encoder knows: its features, and the weighted nearest-neighbour vote on them."""

from ssl_jax.evaluation.features import extract
from ssl_jax.evaluation.knn import knn_accuracy, knn_predict, knn_scores, nearest_neighbours

__all__ = ['extract', 'knn_accuracy', 'knn_predict', 'knn_scores', 'nearest_neighbours']
