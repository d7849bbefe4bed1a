"""Supervised classification, an upper reference of the self-supervised methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import optax

from ssl_jax import models
from ssl_jax.losses import row_means
from ssl_jax.losses.contrastive.terms import has_label
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import (
  Batch,
  Embeddings,
  Metrics,
  as_batch,
  flatten_views,
  unflatten_views,
)
from ssl_jax.methods.base.method import Method, Variables, hyperparameter
from ssl_jax.models import Network


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
  """Cross-entropy of a linear classifier on the encoder, over all views and local crops.

  An image labeled -1 has no label: loss and accuracy are means over the others, 0 without any.
  """

  name: ClassVar[str] = 'supervised'
  needs_labels: ClassVar[bool] = True

  label_smoothing: float = hyperparameter(
    0.0, 'share of the target spread over all classes', at_least=0, below=1
  )

  def networks(self) -> Mapping[str, Network]:
    encoder = self.require_encoder()
    classifier = models.mlp(
      encoder.out_features,
      (max(len(self.class_counts), 1),),
      norms=(False,),
      biases=(True,),
      kernel_init='torch_default',
      dtype=encoder.dtype,
    )
    return {'encoder': encoder, 'classifier': classifier}

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    del step, key
    batch = as_batch(batch)
    params, batch_stats = variables['params'], variables['batch_stats']
    features: list[jax.Array] = []
    logits: list[jax.Array] = []
    for views in (batch.views, batch.local_crops):
      if views is not None:
        encoded, batch_stats = self.apply_networks(
          ('encoder',), params, batch_stats, flatten_views(views)
        )
        scores, batch_stats = self.apply_networks(('classifier',), params, batch_stats, encoded)
        features += unflatten_views(encoded, views.shape[1])
        logits += unflatten_views(scores, views.shape[1])
    context = {'logits': tuple(logits), 'labels': batch.labels}
    embeddings = Embeddings(tuple(features), tuple(features[:2]), context)
    return embeddings, {'batch_stats': batch_stats, 'method_state': variables['method_state']}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    logits = jnp.stack(embeddings.context['logits'])
    labels = embeddings.context['labels']
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self.label_smoothing)
    found = row_means.means(
      {
        'loss': optax.losses.softmax_cross_entropy(logits, targets),
        'train_accuracy': (jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype),
      },
      has_label(labels),
      None,
      of_none=0.0,
    )
    loss = found.pop('loss')
    metrics = {**found, 'positive_similarity': pairs.mean_cosine(embeddings)}
    return loss, jax.lax.stop_gradient(metrics)
