"""The protocols of `--task=evaluate` by name: each a function of a context."""

from ssl_jax.tasks.protocols import (
  clusters,
  embedding,
  few_labels,
  geometry,
  mean_classifier,
  neighbors,
  probes,
  prototypes,
  retrieval,
)
from ssl_jax.tasks.protocols.measurement import (
  TRAINED,
  UNTRAINED,
  Measurement,
  Protocol,
  Score,
  Taken,
)

PROTOCOLS = {
  'knn': Protocol(neighbors.knn),
  'knn_euclidean': Protocol(neighbors.knn_euclidean),
  'knn_online': Protocol(neighbors.knn_online),
  'linear': Protocol(probes.linear, probes.draw_linear),
  'logistic': Protocol(probes.logistic),
  'ridge': Protocol(probes.ridge),
  'few_labels': Protocol(few_labels.few_labels),
  'fine_tuning': Protocol(few_labels.fine_tuning),
  'episodes': Protocol(few_labels.episodes),
  'class_means': Protocol(mean_classifier.class_means),
  'long_tail': Protocol(mean_classifier.long_tail),
  'transfer': Protocol(probes.transfer),
  'retrieval': Protocol(retrieval.retrieval, retrieval.draw_retrieval),
  'clustering': Protocol(clusters.clustering),
  'crowding': Protocol(geometry.crowding, geometry.draw_crowding),
  'spectrum': Protocol(geometry.spectrum),
  'hypersphere': Protocol(geometry.hypersphere),
  'bias': Protocol(prototypes.bias),
  'bound_chain': Protocol(prototypes.bound_chain),
  'granularity': Protocol(clusters.granularity),
  'false_negatives': Protocol(clusters.false_negatives, clusters.draw_false_negatives),
  'similarities': Protocol(prototypes.similarities, prototypes.draw_similarities),
  'embedding': Protocol(embedding.embedding, embedding.draw_embedding),
}

__all__ = ['PROTOCOLS', 'TRAINED', 'UNTRAINED', 'Measurement', 'Protocol', 'Score', 'Taken']
