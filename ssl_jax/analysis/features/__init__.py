"""Metrics of embeddings: crowding, bias, spectrum, clusters, hypersphere, false negatives."""
