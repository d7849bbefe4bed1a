"""Methods that compare projections of the views with each other, without a target network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax import models
from ssl_jax.methods.base.batch import Batch, Embeddings, as_batch, flatten_views, unflatten_views
from ssl_jax.methods.base.method import Method, Variables, hyperparameter
from ssl_jax.models import Network


@dataclasses.dataclass(frozen=True)
class ProjectedMethod(Method):
  """Encoder and projector; batch statistics span both views, as in the authors' code of SimCLR.

  With `encoder_norm_per_view` the encoder normalizes view by view and the projector both at once,
  as in the released code of Song et al. (arXiv 2407.13541).
  Local crops pass through the networks after the two views, with statistics of their own.
  """

  projector_bias: ClassVar[bool] = True

  projector_layers: int = hyperparameter(2, 'linear layers of the projector', at_least=1)
  projector_hidden: int = hyperparameter(
    0, "hidden width of the projector; 0 is the encoder's width", at_least=0
  )
  projector_out: int = hyperparameter(128, 'width of the embeddings', at_least=1)
  projector_norm: bool = hyperparameter(False, 'batch norm after the last layer of the projector')
  projector_last_bias: bool = hyperparameter(
    True, 'bias in the last layer of the projector, if it has any'
  )
  projector_init: str = hyperparameter(
    'kaiming_normal',
    'distribution of the weights of the projector at the start',
    choices=models.KERNEL_INITS,
  )
  batch_norm_per_view: bool = hyperparameter(False, 'batch statistics of each view on its own')
  encoder_norm_per_view: bool = hyperparameter(
    False, 'batch statistics of each view on its own in the encoder alone'
  )

  def networks(self) -> Mapping[str, Network]:
    encoder = self.require_encoder()
    projector = mlp_head(
      encoder,
      self.projector_layers,
      self.projector_hidden,
      self.projector_out,
      last_norm=self.projector_norm,
      biases=self.projector_bias,
      last_bias=self.projector_last_bias,
      kernel_init=self.projector_init,
    )
    return {'encoder': encoder, 'projector': projector}

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    del step
    batch = as_batch(batch)
    params, batch_stats, names = (
      variables['params'],
      variables['batch_stats'],
      ('encoder', 'projector'),
    )
    num_views = batch.views.shape[1]
    online: list[jax.Array] = []
    if self.batch_norm_per_view:
      for index in range(num_views):
        projection, batch_stats = self.apply_networks(
          names, params, batch_stats, batch.views[:, index]
        )
        online.append(projection)
    elif self.encoder_norm_per_view:
      features = []
      for index in range(num_views):
        found, batch_stats = self.apply_networks(
          names[:1], params, batch_stats, batch.views[:, index]
        )
        features.append(found)
      projections, batch_stats = self.apply_networks(
        names[1:], params, batch_stats, flatten_views(jnp.stack(features, axis=1))
      )
      online += unflatten_views(projections, num_views)
    else:
      projections, batch_stats = self.apply_networks(
        names, params, batch_stats, flatten_views(batch.views)
      )
      online += unflatten_views(projections, num_views)
    target = tuple(online)
    if batch.local_crops is not None:
      projections, batch_stats = self.apply_networks(
        names, params, batch_stats, flatten_views(batch.local_crops)
      )
      online += unflatten_views(projections, batch.local_crops.shape[1])
    context = {} if batch.labels is None else {'labels': batch.labels}
    embeddings = Embeddings(tuple(online), target, {**context, 'key': key})
    return embeddings, {'batch_stats': batch_stats, 'method_state': variables['method_state']}


def mlp_head(
  input_network: Network,
  layers: int,
  hidden: int,
  out: int,
  *,
  hidden_norm: bool = True,
  last_norm: bool = False,
  last_norm_affine: bool = True,
  biases: bool = True,
  last_bias: bool = True,
  kernel_init: str = 'kaiming_normal',
) -> Network:
  """`layers` linear layers, batch norm (`hidden_norm`) and ReLU after each but the last.

  Args:
    input_network: the network whose output it takes.
    layers: at least 1.
    hidden: width of all layers but the last; 0 is that of the input.
    out: width of the last.
    hidden_norm: whether batch norm follows all layers but the last.
    last_norm: whether batch norm follows the last layer too.
    last_norm_affine: whether that one has gain and bias.
    biases: whether the linear layers have them.
    last_bias: whether the last one does, if the others do.
    kernel_init: see `models.mlp`.
  """
  return models.mlp(
    input_network.out_features,
    (hidden or input_network.out_features,) * (layers - 1) + (out,),
    norms=(hidden_norm,) * (layers - 1) + (last_norm,),
    biases=(biases,) * (layers - 1) + (biases and last_bias,),
    last_norm_affine=last_norm_affine,
    kernel_init=kernel_init,
    dtype=input_network.dtype,
  )
