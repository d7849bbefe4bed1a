"""Methods small enough to compile in a second, each compiled once for all tests."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import methods, models

BATCH, SIZE = 8, 8
TOTAL_STEPS = 100
# Sizes, by field; those that a method has no field for are left out.
SMALL = {
  'projector_hidden': 10,
  'projector_out': 6,
  'predictor_hidden': 12,
  'queue_size': 20,
  'num_prototypes': 5,
  'dsa_group_size': 4,
  'dsa_neighbors': 2,
}
# What else must change for a batch of 8, by base method; shallower heads compile faster.
CHANGED = {
  'balanced': {'repel_weight': 0.7},
  'instance_discrimination': {'num_negatives': 5},
  'simsiam': {'projector_layers': 2},
  'truncated_triplet': {'rank_high': 4},
  'iccl': {'projector_layers': 2, 'fade_start': 0.0},
  'barlow_twins': {'projector_layers': 2},
  'vicreg': {'projector_layers': 2},
  'swav': {'epsilon': 0.3},
}
CLASS_COUNTS = (4, 4)
# Every method, and DSA on a base method of each kind: it is the same code on all others.
WITH_DSA = ('simclr+dsa', 'byol+dsa', 'simsiam+dsa', 'swav+dsa')
NAMES = tuple(name for name in methods.names() if '+' not in name or name in WITH_DSA)
# One of each code path: projections compared with each other, a moving average, a queue, a state
# with axes of its own, prototypes, and DSA. The large tier has the others.
REPRESENTATIVES = ('simclr', 'byol', 'moco_v2', 'iccl', 'swav', 'simclr+dsa')
OTHERS = tuple(name for name in NAMES if name not in REPRESENTATIVES)
OTHERS_WITH_DSA = tuple(name for name in OTHERS if '+' in name)
BASE_AND_REPRESENTATIVES = tuple(name for name in NAMES if name not in OTHERS_WITH_DSA)

# Settings that change what a method keeps in its state, as `METHOD, WHAT DIFFERS`.
FORMS = {
  'iccl, axes of a queue': {
    'target': 'stop_gradient',
    'adaptive_temperature': 'free',
    'pca_dim': 4,
    'pca_queue': 40,
  },
}


def heads(name: str) -> dict[str, object]:
  """Hyper-parameters with which a method, or a form of one, is small."""
  method = name.partition(',')[0]
  fields = {field.name for field in dataclasses.fields(methods.get(method))}
  small = {field: value for field, value in SMALL.items() if field in fields}
  return {**small, **CHANGED.get(method.partition('+')[0], {}), **FORMS.get(name, {})}


@dataclasses.dataclass(frozen=True)
class QuartersEncoder:
  """A `models.Network` without convolutions: a perceptron on the mean colors of four quarters."""

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
  return methods.create(name, **{**heads(name), **hyperparameters}).setup(
    encoder=encoder(dtype), total_steps=TOTAL_STEPS, class_counts=CLASS_COUNTS
  )


def views() -> np.ndarray:
  """Two noisy copies of each image."""
  random = np.random.default_rng(0)
  images = random.normal(size=(BATCH, 1, SIZE, SIZE, 3))
  return images + 0.3 * random.normal(size=(BATCH, 2, SIZE, SIZE, 3))


def batch(given: np.ndarray | None = None) -> methods.Batch:
  """The views with all that a method may ask for; labels alternate."""
  given = views() if given is None else given
  return methods.Batch(
    jnp.asarray(given),
    unaugmented=jnp.asarray(given).mean(axis=1),
    labels=jnp.arange(BATCH, dtype=jnp.int32) % len(CLASS_COUNTS),
  )


@functools.cache
def variables(name: str) -> methods.Variables:
  """A float64 state in which the target differs from the online network."""
  with jax.enable_x64(True):
    init = jax.jit(method(name).init)
    drawn = init(jax.random.key(0), jnp.zeros((2, SIZE, SIZE, 3)))
    bump = lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return {**drawn, 'target': jax.tree.map(bump, drawn['target'])}


def loss_of_trees(method: methods.Method, params, target, rest, batch):
  """The loss with both trees as arguments, so that both gradients can be taken."""
  return method.loss(
    {'params': params, 'target': target, **rest}, batch, jnp.int32(3), jax.random.key(1)
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


def value_and_grads(name: str, batch, params=None):
  state = variables(name)
  rest = {'batch_stats': state['batch_stats'], 'method_state': state['method_state']}
  return compiled(name)(params or state['params'], state['target'], rest, batch)
