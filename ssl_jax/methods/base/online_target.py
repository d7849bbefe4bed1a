"""Methods whose online network predicts a moving average of itself, or its stopped output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp

from ssl_jax.methods.base import projected
from ssl_jax.methods.base.batch import Batch, Embeddings, as_batch, flatten_views, unflatten_views
from ssl_jax.methods.base.method import Method, Variables, hyperparameter
from ssl_jax.methods.base.resizing import at_random_side
from ssl_jax.models import KERNEL_INITS, Network

_PROJECTING = ('encoder', 'projector')
MOMENTUM_SCHEDULES = ('cosine', 'constant')


def cosine_momentum(step: chex.Numeric, total_steps: int, base: float) -> jax.Array:
  """1 - (1 - base) (cos(π step / total_steps) + 1) / 2, from `base` up to 1.

  Source: Grill et al., NeurIPS 2020, section 3.3; with `base` 0.99, the released code of Wang et
  al., ICCV 2021. There `step` counts forward batches, the last of those accumulated into an update.

  Args:
    step: from 0; may be traced. Beyond `total_steps` the momentum stays 1.
    total_steps: at which the momentum would be 1.
    base: the momentum at step 0.
  """
  # The sine of half the complement: 1 + cos would cancel near the end, where little is left of it.
  left = jnp.asarray(jnp.clip(total_steps - jnp.asarray(step), 0, total_steps), float) / total_steps
  return 1 - (1 - base) * jnp.sin(jnp.pi / 2 * left) ** 2


def scheduled_momentum(
  schedule: str, step: chex.Numeric, total_steps: int, base: float
) -> jax.Array:
  """`cosine_momentum`, or with the schedule 'constant' `base` at every step."""
  if schedule == 'constant':
    return jnp.asarray(base, float)
  return cosine_momentum(step, total_steps, base)


@dataclasses.dataclass(frozen=True)
class OnlineTargetMethod(Method):
  """Encoder, projector and predictor online; the target has no predictor and no gradient.

  Views pass one after the other, so batch statistics are those of one view; the running ones of the
  online networks move once a view. A target that is a moving average normalizes with the statistics
  of its own batch, and only its parameters are averaged. Local crops pass through the online
  networks together and are never targets. Source: Grill et al., NeurIPS 2020, in the form of the
  released code of Wang et al., ICCV 2021.

  That code resizes the views of 224 pixels before every forward pass to a random side, 96 to 224
  online and 128 to 224 for the target. Every side given here is compiled, so steps of 32 will do:
  `online_sizes=(96, 128, 160, 192, 224), target_sizes=(128, 160, 192, 224)`. Off by default: the
  sides depend on the size of the images, and CPUs are slow at it.

  The predictor starts at N(0, 0.01²), as released for a width of 4,096. Cosines do not change with
  the length of a prediction, so their gradient at the last layer is inversely proportional to it:
  with a hidden width of 128 the first gradient of the predictor is many times the encoder's. A
  start that scales with the fan, such as `predictor_init='lecun_uniform'`, is right at any width.
  """

  target_network: ClassVar[str] = 'ema'
  averaged_networks: ClassVar[tuple[str, ...]] = _PROJECTING
  # Batch norm after the projector's hidden layers.
  projector_hidden_norm: ClassVar[bool] = True
  # Batch norm after the last layer of each head, with or without gain and bias.
  projector_last_norm: ClassVar[bool] = False
  predictor_last_norm: ClassVar[bool] = False
  last_norm_affine: ClassVar[bool] = True
  projector_bias: ClassVar[bool] = True
  predictor_bias: ClassVar[bool] = True

  projector_layers: int = hyperparameter(2, 'linear layers of the projector', at_least=1)
  projector_hidden: int = hyperparameter(4096, 'hidden width of the projector', at_least=1)
  projector_out: int = hyperparameter(256, 'width of the embeddings', at_least=1)
  projector_init: str = hyperparameter(
    'kaiming_normal', "start of the projector's weights", choices=KERNEL_INITS
  )
  predictor_layers: int = hyperparameter(
    2, 'linear layers of the predictor; 0 for none', at_least=0
  )
  predictor_hidden: int = hyperparameter(4096, 'hidden width of the predictor', at_least=1)
  predictor_init: str = hyperparameter(
    'normal_0.01', "start of the predictor's weights", choices=KERNEL_INITS
  )
  base_momentum: float = hyperparameter(
    0.99, 'momentum of the target at step 0', at_least=0, at_most=1
  )
  momentum_schedule: str = hyperparameter(
    'cosine',
    'momentum of the target over the run',
    choices=MOMENTUM_SCHEDULES,
  )
  online_sizes: tuple[int, ...] = hyperparameter(
    (),
    'sides in pixels that the online input is resized to, one drawn a batch; empty does not',
    at_least=1,
  )
  target_sizes: tuple[int, ...] = hyperparameter(
    (),
    'sides in pixels that the target input is resized to, one drawn a batch; empty does not',
    at_least=1,
  )

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    del batch_size
    self._check_sides(view_size)

  def _check_sides(self, view_size: int) -> None:
    for field in ('online_sizes', 'target_sizes'):
      fits = all(side <= view_size for side in getattr(self, field))
      self.require(field, fits, f'at most {view_size}, the side of a view')

  def networks(self) -> Mapping[str, Network]:
    encoder = self.require_encoder()
    projector = projected.mlp_head(
      encoder,
      self.projector_layers,
      self.projector_hidden,
      self.projector_out,
      hidden_norm=self.projector_hidden_norm,
      last_norm=self.projector_last_norm,
      last_norm_affine=self.last_norm_affine,
      biases=self.projector_bias,
      kernel_init=self.projector_kernel_init,
    )
    networks = {'encoder': encoder, 'projector': projector}
    if self.predictor_layers:
      networks['predictor'] = projected.mlp_head(
        projector,
        self.predictor_layers,
        self.predictor_hidden,
        self.projector_out,
        last_norm=self.predictor_last_norm,
        last_norm_affine=self.last_norm_affine,
        biases=self.predictor_bias,
        kernel_init=self.predictor_kernel_init,
      )
    return networks

  @property
  def projector_kernel_init(self) -> str:
    """The distribution of the projector's kernels, see `models.mlp`."""
    return self.projector_init

  @property
  def predictor_kernel_init(self) -> str:
    """The distribution of the predictor's kernels, see `models.mlp`."""
    return self.predictor_init

  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    del step
    batch = as_batch(batch)
    self._check_sides(min(batch.views.shape[2:4]))
    params, batch_stats = variables['params'], variables['batch_stats']
    averages = jax.lax.stop_gradient(variables['target'])
    predictor = tuple(name for name in self.networks() if name == 'predictor')

    def predict(images: jax.Array, batch_stats: Any) -> tuple[jax.Array, jax.Array, Any]:
      projection, batch_stats = self.apply_networks(_PROJECTING, params, batch_stats, images)
      prediction, batch_stats = self.apply_networks(predictor, params, batch_stats, projection)
      return prediction, projection, batch_stats

    def project(images: jax.Array) -> jax.Array:
      # In training mode the statistics given are not read, and the new ones are of no use.
      return self.apply_networks(_PROJECTING, averages, variables['batch_stats'], images)[0]

    online, target = [], []
    for index, view in enumerate(unflatten_views(flatten_views(batch.views), batch.views.shape[1])):
      draw = jax.random.fold_in(key, index)
      forward = lambda images, batch_stats=batch_stats: predict(images, batch_stats)
      prediction, projection, batch_stats = at_random_side(
        forward, view, self.online_sizes, jax.random.fold_in(draw, 0)
      )
      if self.target_network == 'ema' and 'projector' in variables['target']:
        projection = at_random_side(project, view, self.target_sizes, jax.random.fold_in(draw, 1))
      online.append(prediction)
      target.append(jax.lax.stop_gradient(projection))
    if batch.local_crops is not None:
      predictions, _, batch_stats = predict(flatten_views(batch.local_crops), batch_stats)
      online += unflatten_views(predictions, batch.local_crops.shape[1])
    new_state = {'batch_stats': batch_stats, 'method_state': variables['method_state']}
    return Embeddings(tuple(online), tuple(target)), new_state

  def target_momentum(self, step: chex.Numeric) -> jax.Array:
    return scheduled_momentum(
      self.momentum_schedule, step, self.require_total_steps(), self.base_momentum
    )
