"""Methods small enough to compile in a second, each compiled once for all tests."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import methods, models

BATCH, SIZE = 8, 8
TOTAL_STEPS = 100
HEADS = {
  'simclr': {'projector_out': 6},
  'byol': {'projector_hidden': 10, 'projector_out': 6, 'predictor_hidden': 12},
  'truncated_triplet': {
    'projector_hidden': 10,
    'projector_out': 6,
    'predictor_hidden': 12,
    'rank_high': 4,
  },
}


@dataclasses.dataclass(frozen=True)
class QuartersEncoder:
  """A `models.Network` without convolutions: a perceptron on the mean colours of four quarters."""

  perceptron: models.Network

  @property
  def out_features(self) -> int:
    return self.perceptron.out_features

  @property
  def out_dtype(self) -> jnp.dtype:
    return self.perceptron.out_dtype

  @property
  def dtype(self) -> str:
    return self.perceptron.dtype

  def init(self, key, images):
    return self.perceptron.init(key, quarters(images))

  def apply(self, variables, images, train):
    return self.perceptron.apply(variables, quarters(images), train=train)


def quarters(images):
  """`[batch, side, side, 3]` with an even side to `[batch, 12]`."""
  batch, side = images.shape[:2]
  return images.reshape(batch, 2, side // 2, 2, side // 2, 3).mean((2, 4)).reshape(batch, 12)


def small(dtype: str) -> QuartersEncoder:
  return QuartersEncoder(models.mlp(12, (10, 7), norms=(True, True), dtype=dtype))


def resnet(dtype: str) -> models.Network:
  return models.resnet('resnet10', stem='cifar', width=2, dtype=dtype)


def method(name: str, dtype: str = 'float64', encoder=small, **hyperparameters) -> methods.Method:
  return methods.create(name, **HEADS[name], **hyperparameters).bind(
    encoder=encoder(dtype), total_steps=TOTAL_STEPS
  )


def views() -> np.ndarray:
  """Two noisy copies of each image."""
  random = np.random.default_rng(0)
  images = random.normal(size=(BATCH, 1, SIZE, SIZE, 3))
  return images + 0.3 * random.normal(size=(BATCH, 2, SIZE, SIZE, 3))


@functools.cache
def variables(name: str) -> methods.base.Variables:
  """A float64 state in which the target differs from the online network."""
  with jax.enable_x64(True):
    init = jax.jit(method(name).init)
    drawn = init(jax.random.key(0), jnp.zeros((2, SIZE, SIZE, 3)))
    bump = lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return {**drawn, 'target': jax.tree.map(bump, drawn['target'])}


def loss_of_trees(method: methods.Method, params, target, rest, views):
  """The loss with both trees as arguments, so that both gradients can be taken."""
  return method.loss(
    {'params': params, 'target': target, **rest}, views, jnp.int32(3), jax.random.key(1)
  )


@functools.cache
def embed(name: str):
  return jax.jit(method(name).embed)


@functools.cache
def compiled(name: str):
  """Value and both gradients; one compilation a sharding of the views."""
  return jax.jit(
    jax.value_and_grad(functools.partial(loss_of_trees, method(name)), (0, 1), has_aux=True)
  )


def value_and_grads(name: str, views, params=None):
  state = variables(name)
  rest = {'stats': state['stats'], 'extra': state['extra']}
  return compiled(name)(params or state['params'], state['target'], rest, views)
