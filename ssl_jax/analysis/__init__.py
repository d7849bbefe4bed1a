"""Meters and theory: what the geometry of features and the number of negatives say.

Functions of NumPy arrays and numbers, in float64 on the host; none of them needs JAX. Labels are
used to measure, never to train.
"""

from ssl_jax.analysis.bound_chain import BoundChain, bound_chain
from ssl_jax.analysis.classification_risk import (
  ClassificationRiskBounds,
  classification_risk_bounds,
)
from ssl_jax.analysis.clusters import MutualInformationScores, mutual_information_scores
from ssl_jax.analysis.crowding import Crowding, crowding
from ssl_jax.analysis.deputy_risk import deputy_false_negative_probability, smallest_safe_rank
from ssl_jax.analysis.prototypes import BiasAverages, PrototypeBias, prototype_bias

__all__ = [
  'BiasAverages',
  'BoundChain',
  'ClassificationRiskBounds',
  'Crowding',
  'MutualInformationScores',
  'PrototypeBias',
  'bound_chain',
  'classification_risk_bounds',
  'crowding',
  'deputy_false_negative_probability',
  'mutual_information_scores',
  'prototype_bias',
  'smallest_safe_rank',
]
