"""What a method's networks make of a batch, and how far it is from collapse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.losses import l2_normalize

Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embeddings:
  """For each view, what carries the gradient and what other views are compared with.

  Attributes:
    online: one `[batch, dim]` array a view, with gradient; local crops come last.
    target: one `[batch, dim]` array for each of the two views: the view as a target. A method
      without a target network has the online arrays here.
    context: whatever else the loss needs of this batch, by name.
  """

  online: tuple[jax.Array, ...]
  target: tuple[jax.Array, ...]
  context: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def feature_std(embeddings: Iterable[jax.Array]) -> jax.Array:
  """How far embeddings are from collapse, averaged over views; carries no gradient.

  Args:
    embeddings: `[batch, dim]` arrays.

  Returns:
    The standard deviation over the batch of each coordinate of the normalised embeddings, averaged
    over coordinates and times sqrt(dim) (Chen and He, CVPR 2021, section 4.1).
  """
  spreads = []
  for view in embeddings:
    unit = l2_normalize(jax.lax.stop_gradient(view))
    spreads.append(jnp.mean(jnp.std(unit, axis=0)) * unit.shape[-1] ** 0.5)
  return jnp.mean(jnp.stack(spreads))
