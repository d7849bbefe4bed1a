"""Exact nearest-neighbor search, and what is measured with it: kNN accuracy, retrieval."""
