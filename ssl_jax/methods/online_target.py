"""Methods whose online network predicts the output of a moving average of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import chex
import jax

from ssl_jax import models
from ssl_jax.methods.base import (
  Embeddings,
  Method,
  Metrics,
  Variables,
  check_views,
  hyperparameter,
)
from ssl_jax.methods.momentum import cosine_momentum
from ssl_jax.methods.resizing import at_random_side
from ssl_jax.models import Network

# These add up to the loss (less its constants), so over directions they are summed as it is.
_LOSS_PARTS = ('attract', 'repel', 'offset_free')


@dataclasses.dataclass(frozen=True)
class OnlineTargetMethod(Method):
  """Encoder, projector and predictor online; the target is a moving average without predictor.

  Views pass one after the other, so batch statistics are those of one view; the running ones of the
  online networks move once a view. The target normalises with the statistics of its own batch, and
  only its parameters are averaged. Source: Grill et al., NeurIPS 2020, in the form of the released
  code of Wang et al., ICCV 2021.

  That code resizes the views of 224 pixels before every forward pass to a random side, 96 to 224
  online and 128 to 224 for the target. Every side given here is compiled, so steps of 32 will do:
  `online_resize=(96, 128, 160, 192, 224), target_resize=(128, 160, 192, 224)`. Off by default: the
  sides depend on the size of the images, and CPUs are slow at it.
  """

  target_network: ClassVar[str] = 'ema'
  averaged_networks: ClassVar[tuple[str, ...]] = ('encoder', 'projector')

  projector_hidden: int = hyperparameter(4096, 'hidden width of the projector')
  projector_out: int = hyperparameter(256, 'width of the embeddings')
  predictor_hidden: int = hyperparameter(4096, 'hidden width of the predictor')
  base_momentum: float = hyperparameter(0.99, 'momentum of the target at step 0; a cosine to 1')
  online_resize: tuple[int, ...] = hyperparameter((), 'random sides of the online input')
  target_resize: tuple[int, ...] = hyperparameter((), 'random sides of the target input')

  def check(self) -> None:
    for field in ('projector_hidden', 'projector_out', 'predictor_hidden'):
      self.require(field, getattr(self, field) >= 1, '>= 1')
    self.require('base_momentum', 0 <= self.base_momentum <= 1, 'between 0 and 1')
    for field in ('online_resize', 'target_resize'):
      whole = all(isinstance(side, int) and side >= 1 for side in getattr(self, field))
      self.require(field, whole, 'whole numbers >= 1')

  def check_batch(self, batch_size: int, view_size: int) -> None:
    del batch_size
    self._check_sides(view_size)

  def _check_sides(self, view_size: int) -> None:
    for field in ('online_resize', 'target_resize'):
      fits = all(side <= view_size for side in getattr(self, field))
      self.require(field, fits, f'at most {view_size}, the side of a view')

  def networks(self) -> Mapping[str, Network]:
    encoder, out = self.bound_encoder(), self.projector_out
    return {
      'encoder': encoder,
      'projector': models.mlp(
        encoder.out_features, (self.projector_hidden, out), dtype=encoder.dtype
      ),
      'predictor': models.mlp(
        out, (self.predictor_hidden, out), kernel_init='normal_0.01', dtype=encoder.dtype
      ),
    }

  def embed(
    self, variables: Variables, views: chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    del step
    check_views(views)
    self._check_sides(min(views.shape[2:4]))
    params, stats = variables['params'], variables['stats']
    averages = jax.lax.stop_gradient(variables['target'])
    online, target = [], []
    for index in range(views.shape[1]):
      view = views[:, index]

      def predict(images: jax.Array, stats: Any = stats) -> tuple[jax.Array, Any]:
        return self.run(('encoder', 'projector', 'predictor'), params, stats, images)

      def project(images: jax.Array) -> jax.Array:
        # In training mode the statistics given are not read, and the new ones are of no use.
        return self.run(self.averaged_networks, averages, variables['stats'], images)[0]

      draw = jax.random.fold_in(key, index)
      prediction, stats = at_random_side(
        predict, view, self.online_resize, jax.random.fold_in(draw, 0)
      )
      projection = at_random_side(project, view, self.target_resize, jax.random.fold_in(draw, 1))
      online.append(prediction)
      target.append(jax.lax.stop_gradient(projection))
    new_state = {'stats': stats, 'extra': variables['extra']}
    return Embeddings(tuple(online), tuple(target)), new_state

  def target_momentum(self, step: chex.Numeric) -> jax.Array:
    if self.total_steps < 1:
      raise ValueError(f'total_steps: found {self.total_steps}, must be >= 1; set it by bind(...)')
    return cosine_momentum(step, self.total_steps, self.base_momentum)


def both_directions(
  loss: Callable[[jax.Array, jax.Array], tuple[jax.Array, Metrics]], embeddings: Embeddings
) -> tuple[jax.Array, Metrics]:
  """The sum of `loss(prediction, target)` from view 1 to view 2 and from view 2 to view 1.

  Parts of the loss are summed too; other metrics are averaged.
  """
  online, target = embeddings.online, embeddings.target
  (loss1, metrics1), (loss2, metrics2) = loss(online[0], target[1]), loss(online[1], target[0])
  metrics = {
    name: (metrics1[name] + metrics2[name]) * (1.0 if name in _LOSS_PARTS else 0.5)
    for name in metrics1
  }
  return loss1 + loss2, metrics
