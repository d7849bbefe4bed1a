"""Sums and means of a pairwise loss over the views of an image, of which there may be many.

The first views, as many as there are targets, are compared with each other; further ones (local
crops) with each of those. With two views these are the sums and means that papers write.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ssl_jax.losses import l2_normalize
from ssl_jax.methods.base.batch import Embeddings, Metrics

# These add up to a loss (less its constants), so where directions are summed they are summed too.
_LOSS_PARTS = ('attract', 'repel', 'offset_free')

PairLoss = Callable[[jax.Array, jax.Array], tuple[jax.Array, Metrics]]


def cross_view_sum(loss: PairLoss, embeddings: Embeddings) -> tuple[jax.Array, Metrics]:
  """`loss(prediction, target)` summed over both directions of a pair of views.

  With local crops, twice the mean over all (view, target of another view). Parts of the loss are
  summed likewise; other metrics are averaged.
  """
  found = [
    loss(prediction, target)
    for index, prediction in enumerate(embeddings.online)
    for other, target in enumerate(embeddings.target)
    if index != other
  ]
  value, metrics = _mean(found)
  return 2 * value, {
    name: 2 * part if name in _LOSS_PARTS else part for name, part in metrics.items()
  }


def all_pairs_mean(loss: PairLoss, embeddings: Embeddings) -> tuple[jax.Array, Metrics]:
  """`loss(view1, view2)`; with local crops the mean over all pairs with at least one of the two."""
  num_global = len(embeddings.target)
  return _mean(
    [
      loss(embeddings.online[index], embeddings.online[other])
      for index in range(num_global)
      for other in range(index + 1, len(embeddings.online))
    ]
  )


def _mean(found: list[tuple[jax.Array, Metrics]]) -> tuple[jax.Array, Metrics]:
  losses, metrics = zip(*found, strict=True)
  mean = lambda values: sum(values[1:], start=values[0]) / len(values)
  return mean(losses), {name: mean([each[name] for each in metrics]) for name in metrics[0]}


def mean_cosine(embeddings: Embeddings) -> jax.Array:
  """The mean cosine of the two views' online embeddings; carries no gradient."""
  view1, view2 = (l2_normalize(jax.lax.stop_gradient(x)) for x in embeddings.online[:2])
  return jnp.mean(jnp.sum(view1 * view2, axis=-1))
