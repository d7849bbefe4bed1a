"""The balanced contrastive loss: separate weights for attraction and repulsion."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import losses
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.contrastive import ContrastiveMethod
from ssl_jax.methods.base.method import Variables, hyperparameter

SCHEDULES = ('constant', 'cosine')


@dataclasses.dataclass(frozen=True)
class Balanced(ContrastiveMethod):
  """SimCLR's networks and `losses.balanced_contrastive`.

  Only the ratio of the two weights matters, up to the learning rate: keep `attract_weight` at 1.
  Source: Lee, TMLR 2025, reconstructed; the temperature schedule of Kukleva et al., ICLR 2023.
  """

  name: ClassVar[str] = 'balanced'

  attract_weight: float = hyperparameter(
    1.0, 'weight of the cosine of the positive pair', at_least=0
  )
  repel_weight: float = hyperparameter(1.0, 'weight of the log-sum over the negatives', at_least=0)
  positive_in_denominator: float = hyperparameter(
    1.0, 'weight of the positive in the log-sum: 1 as in SimCLR, 0 as in DCL', at_least=0
  )
  class_prior_weights: bool = hyperparameter(
    False,
    'weigh negatives by 1 / (classes * share of their class); uses labels, so an upper reference',
  )
  temperature_schedule: str = hyperparameter(
    'constant',
    'temperature over the run; cosine: from temperature_high to temperature_low and back',
    choices=SCHEDULES,
  )
  temperature_low: float = hyperparameter(0.1, 'lowest temperature of the cosine', above=0)
  temperature_high: float = hyperparameter(
    1.0, 'highest temperature of the cosine, at step 0', above=0
  )
  temperature_half_period: float = hyperparameter(
    0.1, 'share of the run from temperature_high to temperature_low', above=0, at_most=1
  )

  @property
  def needs_labels(self) -> bool:  # type: ignore[override]
    return self.class_prior_weights

  def validate(self) -> None:
    super().validate()
    low = self.temperature_low
    self.require('temperature_high', low <= self.temperature_high, f'>= temperature_low, {low}')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables
    temperature = self._temperature(step)
    settings: dict[str, Any] = self.in_groups
    if self.class_prior_weights:
      settings['negative_weights'] = self._weights(embeddings)
    loss = lambda a, b: losses.balanced_contrastive(
      a,
      b,
      temperature=temperature,
      attract_weight=self.attract_weight,
      repel_weight=self.repel_weight,
      positive_in_denominator=self.positive_in_denominator,
      **settings,
    )
    value, metrics = pairs.all_pairs_mean(loss, embeddings)
    return value, {**metrics, 'temperature': jnp.asarray(temperature, value.dtype)}

  def _temperature(self, step: chex.Numeric) -> float | jax.Array:
    if self.temperature_schedule == 'constant':
      return self.temperature
    return losses.cosine_temperature(
      self.run_progress(step),
      low=self.temperature_low,
      high=self.temperature_high,
      half_period=self.temperature_half_period,
    )

  def _weights(self, embeddings: Embeddings) -> jax.Array:
    # A class without images is no image's, so its weight is never looked up.
    counts = jnp.maximum(jnp.array(self.class_counts, jnp.float32), 1e-3)
    return losses.class_balancing_weights(embeddings.context['labels'], counts)
