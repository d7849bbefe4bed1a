"""DSA, the dynamic semantic adjuster: a regularizer added to the loss of another method."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import losses
from ssl_jax.arguments import ArgumentError
from ssl_jax.methods.base.batch import (
  Batch,
  Embeddings,
  Metrics,
  as_batch,
  flatten_views,
  unflatten_views,
)
from ssl_jax.methods.base.method import Method, Variables, hyperparameter

PRIORS = ('ema', 'pixel', 'random', 'checkpoint')
_PIXEL_SIDE = 8
_MODULE = 'dsa'


@dataclasses.dataclass(frozen=True)
class WithDSA(Method):
  """Adds `losses.semantic_adjuster` to the loss of a base method, its arranging module to `params`.

  A mixin that comes before the base method among the bases of a class, see `with_dsa`. The base
  method's online embeddings of the two views carry the gradient; its targets are what they are
  compared with. Embeddings of a frozen network, the prior, define which images are alike: the
  moving average of the encoder with running statistics ('ema', the base method's own target where
  it has one), the average colors of an 8 x 8 grid ('pixel'), the encoder at a random start
  ('random') or that of another run ('checkpoint').

  Of a method with targets, pairs are formed of online embeddings within a view and of an online and
  a target embedding across views. The released code for BYOL, which does not run, has two
  logarithms instead of one, each with the pairs of targets within a view in place of one view's
  online pairs, summed over all pairs of the image and its two views, and a single M of the image's
  predictions.
  Source: Song et al., arXiv 2407.13541, partly reconstructed.
  """

  needs_unaugmented: ClassVar[bool] = True

  dsa_preset: str = hyperparameter(
    'calibrated', 'variant of the adjuster', choices=tuple(losses.ADJUSTER_PRESETS)
  )
  dsa_prior: str = hyperparameter(
    'ema', 'network whose embeddings give the prior similarities, or pixels', choices=PRIORS
  )
  dsa_prior_run: str = hyperparameter(
    '', "folder of the run whose encoder is prior 'checkpoint'", path=True
  )
  dsa_momentum: float = hyperparameter(
    0.99,
    "momentum of prior 'ema' where the method has no moving average of its own",
    at_least=0,
    at_most=1,
  )
  dsa_group_size: int = hyperparameter(
    128,
    'images whose pairs are formed; weights the terms, so it stays fixed; 0 is the batch',
    at_least=0,
  )
  dsa_neighbors: int = hyperparameter(
    0, 'neighbors k of the anchor scores; 0 is that of the preset', at_least=0
  )
  dsa_threshold: int = hyperparameter(
    -1, 'threshold of the anchor scores; -1 is that of the preset', at_least=-1
  )
  dsa_arranging_weight: float = hyperparameter(
    -1.0, 'weight of the arranging loss; -1 is that of the preset', at_least=0, also=-1
  )
  dsa_regularizer_weight: float = hyperparameter(
    -1.0, 'weight of the distance to the prior; -1 is that of the preset', at_least=0, also=-1
  )
  dsa_module_grad_scale: float = hyperparameter(
    1.0,
    "factor on the arranging module's gradient, a sum over pairs: steep for sgd, not for adam",
    at_least=0,
  )
  dsa_block_size: int = hyperparameter(
    0, 'rows of pairs at a time, to bound memory; 0 is all', at_least=0
  )

  @property
  def target_network(self) -> str:  # type: ignore[override]
    base = super().target_network
    return 'ema' if self.dsa_prior == 'ema' else base

  @property
  def averaged_networks(self) -> tuple[str, ...]:  # type: ignore[override]
    base = super().averaged_networks
    return base if base or self.dsa_prior != 'ema' else ('encoder',)

  def validate(self) -> None:
    super().validate()
    checkpoint = self.dsa_prior == 'checkpoint'
    self.require(
      'dsa_prior_run',
      bool(self.dsa_prior_run) == checkpoint,
      'the folder of a run' if checkpoint else "empty unless dsa_prior is 'checkpoint'",
    )

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    super().validate_batch(batch_size, view_size)
    size = self.dsa_group_size or batch_size
    fits = batch_size % size == 0
    self.require('dsa_group_size', fits, f'a divisor of the batch, {batch_size}')
    neighbors = self._settings().num_neighbors
    most = size - 1
    self.require(
      'dsa_neighbors', neighbors is None or neighbors <= most, f'at most {most} (0: {neighbors})'
    )

  def init(self, key: chex.PRNGKey, images: chex.Array) -> Variables:
    variables = super().init(key, images)
    params, method_state = dict(variables['params']), dict(variables['method_state'])
    settings = self._settings()
    if settings.matrix != 'prior':
      params[_MODULE] = losses.init_arranging(
        jax.random.fold_in(key, 2000),
        self.networks()['projector'].out_features,
        form=settings.matrix,
      )
    if self.dsa_prior in ('random', 'checkpoint'):
      method_state['dsa_prior'] = self.require_encoder().init(jax.random.fold_in(key, 2001), images)
    if settings.prior_temperature is None:
      method_state['dsa_temperature'] = jnp.zeros((), jnp.float32)
    return {**variables, 'params': params, 'method_state': method_state}

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    batch = as_batch(batch)
    embeddings, new_state = super().embed(variables, batch, step, key)  # type: ignore[safe-super]
    priors, unaugmented = self._priors(variables, batch)
    context = {**embeddings.context, 'dsa_priors': priors, 'dsa_unaugmented': unaugmented}
    settings, method_state = self._settings(), new_state['method_state']
    if settings.prior_temperature is None:
      current = losses.calibrated_temperature(
        unaugmented, quantile=settings.prior_quantile, group_size=self.dsa_group_size or None
      )
      average = losses.update_temperature(variables['method_state']['dsa_temperature'], current)
      average = average.astype(jnp.float32)
      method_state = {**method_state, 'dsa_temperature': average}
      context['dsa_temperature'] = average
    embeddings = dataclasses.replace(embeddings, context=context)
    return embeddings, {**new_state, 'method_state': method_state}

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    loss, metrics = super().loss_from_embeddings(embeddings, variables, step)  # type: ignore[safe-super]
    context = embeddings.context
    adjustment, found = losses.semantic_adjuster(
      scale_gradient(variables['params'].get(_MODULE), self.dsa_module_grad_scale),
      (embeddings.online[0], embeddings.online[1]),
      (embeddings.target[0], embeddings.target[1]),
      context['dsa_priors'],
      context['dsa_unaugmented'],
      preset=self._settings(),
      prior_temperature=context.get('dsa_temperature'),
      group_size=self.dsa_group_size or None,
      block_size=self.dsa_block_size or None,
    )
    metrics = {**metrics, **{f'dsa_{name}': value for name, value in found.items()}}
    return loss + adjustment, {**metrics, 'base_loss': jax.lax.stop_gradient(loss)}

  def target_momentum(self, step: chex.Numeric) -> jax.Array:
    if super().averaged_networks:
      return super().target_momentum(step)
    return jnp.asarray(self.dsa_momentum, float)

  def _settings(self) -> losses.AdjusterSettings:
    given: dict[str, Any] = {
      'num_neighbors': self.dsa_neighbors or None,
      'threshold': None if self.dsa_threshold < 0 else self.dsa_threshold,
      'arranging_weight': None if self.dsa_arranging_weight < 0 else self.dsa_arranging_weight,
      'regularizer_weight': (
        None if self.dsa_regularizer_weight < 0 else self.dsa_regularizer_weight
      ),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(losses.ADJUSTER_PRESETS[self.dsa_preset], **changes)

  def _priors(
    self, variables: Variables, batch: Batch
  ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    if batch.unaugmented is None:
      raise ArgumentError('unaugmented', 'None', 'the un-augmented images of the batch')
    images = jnp.concatenate([batch.views, batch.unaugmented[:, None]], axis=1)
    if self.dsa_prior == 'pixel':
      rows = coarse_pixels(flatten_views(images))
      rows = rows - jnp.mean(rows, axis=0)
    else:
      params, batch_stats = variables['target'].get('encoder'), variables['batch_stats']['encoder']
      if self.dsa_prior != 'ema':
        params, batch_stats = (
          variables['method_state']['dsa_prior'][part] for part in ('params', 'batch_stats')
        )
      frozen = jax.lax.stop_gradient({'params': params, 'batch_stats': batch_stats})
      rows, _ = self.require_encoder().apply(frozen, flatten_views(images), train=False)
    view1, view2, unaugmented = unflatten_views(jax.lax.stop_gradient(rows), 3)
    return (view1, view2), unaugmented


def frozen_encoder_run(method: Method) -> str:
  """The folder of the run whose encoder is the prior of this method; empty for none."""
  return method.dsa_prior_run if isinstance(method, WithDSA) else ''


def init_from(method_state: dict[str, Any], params: Any, batch_stats: Any) -> dict[str, Any]:
  """`method_state` with an encoder as the prior.

  Args:
    method_state: of `WithDSA.init`.
    params: of the encoder, of the architecture of the method's own.
    batch_stats: its batch statistics.
  """
  return {**method_state, 'dsa_prior': {'params': params, 'batch_stats': batch_stats}}


def scale_gradient(tree: Any, factor: float) -> Any:
  """The tree as it is, its gradient times `factor`."""
  if factor == 1:
    return tree
  return jax.tree.map(lambda x: factor * x + (1 - factor) * jax.lax.stop_gradient(x), tree)


@functools.cache
def with_dsa(base: type[Method]) -> type[Method]:
  """The class of a base method with DSA, named `METHOD+dsa`."""
  kind = type(
    f'WithDSA{base.__name__}',
    (WithDSA, base),
    {
      'name': f'{base.name}+dsa',
      '__doc__': f'`{base.name}` with the dynamic semantic adjuster, see `WithDSA`.',
      '__module__': __name__,
      '__annotations__': {'name': ClassVar[str]},
    },
  )
  return dataclasses.dataclass(frozen=True)(kind)


def coarse_pixels(images: jax.Array) -> jax.Array:
  """`[image, height, width, 3]` averaged to 8 x 8 (or the greatest grid that fits), flattened."""
  count, height, width, channels = images.shape
  rows, columns = min(_PIXEL_SIDE, height), min(_PIXEL_SIDE, width)
  cropped = images[:, : height // rows * rows, : width // columns * columns]
  grid = cropped.reshape(count, rows, height // rows, columns, width // columns, channels)
  return jnp.mean(grid, axis=(2, 4)).reshape(count, -1)
