"""SimCLR: tell the other view of an image from the views of all other images."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import chex
import jax

from ssl_jax import losses, models
from ssl_jax.methods.base import (
  Embeddings,
  Method,
  Metrics,
  Variables,
  check_views,
  hyperparameter,
)
from ssl_jax.models import Network


@dataclasses.dataclass(frozen=True)
class SimCLR(Method):
  """NT-Xent over projected embeddings of both views.

  Batch statistics span both views, as in the authors' code; its projector has a further batch norm
  at the end. Source: Chen et al., ICML 2020.
  """

  name: ClassVar[str] = 'simclr'

  temperature: float = hyperparameter(0.5, 'divides the cosines; low stresses hard negatives')
  projector_layers: int = hyperparameter(2, 'linear layers of the projector')
  projector_hidden: int = hyperparameter(0, "its hidden width; 0 is the encoder's width")
  projector_out: int = hyperparameter(128, 'width of the embeddings')
  batch_norm_per_view: bool = hyperparameter(False, 'batch statistics of each view on its own')

  def check(self) -> None:
    self.require('temperature', 0 < self.temperature < float('inf'), '> 0')
    self.require('projector_layers', self.projector_layers >= 1, '>= 1')
    self.require('projector_hidden', self.projector_hidden >= 0, '>= 0')
    self.require('projector_out', self.projector_out >= 1, '>= 1')

  def networks(self) -> Mapping[str, Network]:
    encoder = self.bound_encoder()
    hidden = self.projector_layers - 1
    projector = models.mlp(
      encoder.out_features,
      (self.projector_hidden or encoder.out_features,) * hidden + (self.projector_out,),
      norms=(True,) * hidden + (False,),
      biases=(True,) * (hidden + 1),
      dtype=encoder.dtype,
    )
    return {'encoder': encoder, 'projector': projector}

  def embed(
    self, variables: Variables, views: chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    del step, key
    check_views(views)
    params, stats, names = variables['params'], variables['stats'], tuple(self.networks())
    num_images, num_views = views.shape[:2]
    if self.batch_norm_per_view:
      online = []
      for index in range(num_views):
        projection, stats = self.run(names, params, stats, views[:, index])
        online.append(projection)
    else:
      # Image-major: putting the views one after the other would move them between devices.
      merged = views.reshape(num_images * num_views, *views.shape[2:])
      projections, stats = self.run(names, params, stats, merged)
      projections = projections.reshape(num_images, num_views, -1)
      online = [projections[:, index] for index in range(num_views)]
    return Embeddings(tuple(online), tuple(online)), {'stats': stats, 'extra': variables['extra']}

  def compare(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    return losses.nt_xent(*embeddings.online, temperature=self.temperature)
