"""A run small enough for every test: 64 images of 8 pixels, and an encoder quick to compile."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from ssl_jax import data, methods, models, views
from ssl_jax.training import loop, mesh, optimizers, schedules, state, step
from tests.methods import tiny

IMAGES, SIZE, BATCH = 64, 8, 16
# As small as the heads can be; tests of what convolutions do take the encoder 'resnet' instead.
HYPERPARAMETERS = {
  'simclr': {},
  'byol': {'projector_hidden': 16, 'projector_out': 8, 'predictor_hidden': 16},
  'truncated_triplet': {
    'projector_hidden': 16,
    'projector_out': 8,
    'predictor_hidden': 16,
    'rank_low': 2,
    'rank_high': 4,
  },
}


ENCODERS = {
  'quarters': lambda: tiny.small('float32'),
  'resnet': lambda: models.resnet('resnet10', stem='cifar', width=4),
}


@functools.cache
def images() -> np.ndarray:
  """uint8 [64, 8, 8, 3], smooth enough to be learned from."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (IMAGES, 2, 2, 3), np.uint8)
  return coarse.repeat(4, axis=1).repeat(4, axis=2)


@dataclasses.dataclass
class Tiny:
  """The compiled parts of a tiny run."""

  update: object
  train_step: object
  fresh_meter: object
  state: state.TrainState
  pixels: jax.Array
  order: data.Order
  mesh: jax.sharding.Mesh
  accumulation: int
  per_call: int
  traces: list[int]

  def boundaries(self, total, start=None, **plan):
    """Runs to step `total`."""
    report = plan.pop('report', total)
    return loop.run(
      self.train_step,
      self.fresh_meter,
      self.state if start is None else start,
      self.pixels,
      self.order,
      loop.Plan(total=total, report=report, per_call=self.per_call, **plan),
      self.mesh,
      accumulation_steps=self.accumulation,
    )

  def train(self, total, start=None):
    """Host copies of the state and of the metrics of every step."""
    metrics = []
    for at in self.boundaries(total, start, report=1):
      metrics += [interval.metrics for interval in at.intervals]
      final = at.state
    return host(final), metrics


def host(train_state):
  """The state as NumPy arrays, the key as its data."""
  plain = dataclasses.replace(train_state, key=jax.random.key_data(train_state.key))
  return jax.tree.map(np.array, jax.device_get(plain))


def build(
  name='simclr',
  devices=1,
  accumulation=1,
  per_call=1,
  batch=BATCH,
  learning_rate=0.05,
  pixels=None,
  encoder='quarters',
  **hyperparameters,
) -> Tiny:
  """Assembles and compiles a tiny run of the method `name` on the first `devices` devices."""
  on = mesh.make_mesh(jax.devices()[:devices])
  method = methods.create(name, **{**HYPERPARAMETERS[name], **hyperparameters})
  method = method.bind(encoder=ENCODERS[encoder](), total_steps=100)
  schedule = schedules.warmup_cosine(learning_rate, total_steps=100, steps_per_update=accumulation)
  optimizer = optimizers.build('sgd', schedule=schedule, momentum=0.9, weight_decay=1e-4)
  recipe = views.recipe('cifar_simclr', size=SIZE)
  start = state.create(method, optimizer, 0, SIZE, on)
  resident = mesh.put(images() if pixels is None else pixels, mesh.replicated(on))
  traces: list[int] = []
  augment = functools.partial(views.apply, recipe)
  inner = step.make_update(method, optimizer, schedule, augment, on, accumulation)

  def update(*arguments):
    traces.append(1)
    return inner(*arguments)

  compiled, fresh = step.compile_step(update, start, resident, on, (per_call, accumulation, batch))
  order = data.Order(seed=0, length=len(resident), batch_size=batch)
  return Tiny(inner, compiled, fresh, start, resident, order, on, accumulation, per_call, traces)
