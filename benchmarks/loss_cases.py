"""What `losses.py` compares: versions of NT-Xent, every loss with a matrix, and their inputs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax import losses

TEMPERATURE = 0.5
NUM_DRAWN = 32
GROUP = 256


class Inputs(NamedTuple):
  """What the losses take of a batch; the gradient is that of the two views."""

  view1: Any  # [batch, dim]
  view2: Any
  other: Any  # [batch, dim], of another network
  labels: Any  # [batch]
  weights: Any


@dataclasses.dataclass(frozen=True)
class Case:
  """A public loss with a matrix: `call(inputs, block_size=...)`.

  `elements(batch, dim)` is the number of elements of the largest array in its definition.
  """

  call: Callable[..., Any]
  elements: Callable[[int, int], int]


def views(loss: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
  return lambda x, **options: loss(x.view1, x.view2, **settings, **options)


def labeled(loss: Callable[..., Any]) -> Callable[..., Any]:
  return lambda x, **options: loss(x.view1, x.view2, x.labels, **options)


def drawn(replacement: bool) -> Callable[..., Any]:
  def call(x: Inputs, **options: Any) -> Any:
    return losses.instance_contrastive(
      x.view1,
      x.view2,
      num_negatives=NUM_DRAWN,
      key=jax.random.key(0),
      replacement=replacement,
      **options,
    )

  return call


def queued(x: Inputs, **options: Any) -> Any:
  return losses.info_nce(x.view1, x.view2, negatives=x.other, **options)


def weighted(x: Inputs, **options: Any) -> Any:
  return losses.balanced_contrastive(x.view1, x.view2, negative_weights=x.weights, **options)


def adjuster(x: Inputs, **options: Any) -> Any:
  params = losses.init_arranging(jax.random.key(0), x.view1.shape[1])
  priors = x.other, x.other
  return losses.semantic_adjuster(
    params, (x.view1, x.view2), None, priors, x.other, group_size=GROUP, **options
  )


def two_views(batch: int, _dim: int) -> int:
  """All embeddings of two views against each other."""
  return 4 * batch**2


def one_view(batch: int, _dim: int) -> int:
  """One view against another."""
  return batch**2


def one_against_two_views(batch: int, _dim: int) -> int:
  return 2 * batch**2


def hidden_units(batch: int, dim: int) -> int:
  """A hidden layer as wide as the embedding, for all pairs of a group in four blocks."""
  return 4 * batch * GROUP * dim


CASES = {
  'nt_xent': Case(views(losses.nt_xent), two_views),
  'info_nce': Case(views(losses.info_nce), one_view),
  'info_nce, queue': Case(queued, one_view),
  'balanced_contrastive, weights': Case(weighted, two_views),
  'decoupled_contrastive': Case(views(losses.decoupled_contrastive), two_views),
  'decoupled_contrastive, weighted': Case(
    views(losses.decoupled_contrastive, weight_temperature=0.5), two_views
  ),
  'debiased_contrastive': Case(views(losses.debiased_contrastive), two_views),
  'hard_negative_contrastive': Case(views(losses.hard_negative_contrastive), two_views),
  'generalized_contrastive': Case(views(losses.generalized_contrastive), two_views),
  'supervised_contrastive': Case(labeled(losses.supervised_contrastive), two_views),
  'negatives_supervised_contrastive': Case(
    labeled(losses.negatives_supervised_contrastive), two_views
  ),
  'instance_contrastive': Case(views(losses.instance_contrastive), one_view),
  f'instance_contrastive, {NUM_DRAWN} drawn': Case(drawn(False), one_against_two_views),
  f'instance_contrastive, {NUM_DRAWN} drawn again': Case(drawn(True), one_against_two_views),
  'uniformity': Case(lambda x, **options: losses.uniformity(x.view1, **options), one_view),
  'truncated_triplet': Case(views(losses.truncated_triplet), one_view),
  'truncated_triplet, median': Case(
    views(losses.truncated_triplet, deputy=losses.MedianRank()), one_view
  ),
  'truncated_triplet, all': Case(
    views(losses.truncated_triplet, deputy=losses.AllRanks()), one_view
  ),
  f'semantic_adjuster, groups of {GROUP}': Case(adjuster, hidden_units),
}


def plain_nt_xent(view1: jax.Array, view2: jax.Array) -> tuple[jax.Array, None]:
  """NT-Xent as it is usually written: one matrix product, autodiff for the rest."""
  z = jnp.concatenate([view1, view2])
  z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
  logits = z @ z.T / TEMPERATURE
  logits = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, logits)
  positives = jnp.sum(z * jnp.roll(z, view1.shape[0], axis=0), axis=-1) / TEMPERATURE
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - positives), None


def optax_nt_xent(view1: jax.Array, view2: jax.Array) -> tuple[jax.Array, None]:
  labels = jnp.tile(jnp.arange(view1.shape[0]), 2)
  return optax.losses.ntxent(jnp.concatenate([view1, view2]), labels, TEMPERATURE), None


def versions(block_size: int) -> dict[str, Callable[..., Any]]:
  """The ways to compute NT-Xent of two views."""
  ours = functools.partial(losses.nt_xent, temperature=TEMPERATURE)
  return {
    'whole': ours,
    'blocked': functools.partial(ours, block_size=block_size),
    'plain': plain_nt_xent,
    'optax': optax_nt_xent,
  }


def inputs_like(batch: int, dim: int, dtype: str) -> Inputs:
  rows = jax.ShapeDtypeStruct((batch, dim), dtype)
  labels, weights = (jax.ShapeDtypeStruct((batch,), kind) for kind in ('int32', 'float32'))
  return Inputs(rows, rows, rows, labels, weights)


def random_inputs(batch: int, dim: int, dtype: str) -> Inputs:
  """Two views that are alike, as those of a trained encoder, and ten classes."""
  generator = np.random.default_rng(0)
  image, noise1, noise2, other = generator.normal(size=(4, batch, dim))
  return Inputs(
    view1=jnp.asarray(image + noise1, dtype),
    view2=jnp.asarray(image + noise2, dtype),
    other=jnp.asarray(other, dtype),
    labels=jnp.asarray(generator.integers(0, 10, batch), jnp.int32),
    weights=jnp.asarray(generator.uniform(0.5, 2, batch), jnp.float32),
  )
