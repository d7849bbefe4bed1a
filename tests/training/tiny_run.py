"""A run small enough for every test: 64 images of 8 pixels, and an encoder quick to compile."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from ssl_jax import data, methods, models, views
from ssl_jax.training import loop, mesh, optimizers, schedules, state, step
from tests.methods import tiny

IMAGES, SIZE, BATCH = 64, 8, 16
_QUICK_VIEW = views.View(crop_scale=(0.3, 1.0), flip_prob=0.5, grayscale_prob=0.2)
RECIPES = {
  # Without color jitter, which takes half of the time that a step takes to compile.
  'quick': views.Recipe(views=(_QUICK_VIEW, _QUICK_VIEW), size=SIZE),
  'cifar_simclr': views.recipe('cifar_simclr', size=SIZE),
}

ENCODERS = {
  'quarters': lambda: tiny.small('float32'),
  'quarters, bfloat16': lambda: tiny.small('bfloat16'),
  'no batch norm': lambda: tiny.QuartersEncoder(models.mlp(12, (10, 7), norms=(False, False))),
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
  """The parts of a tiny run; the step is compiled where it is first used."""

  method: methods.Method
  update: object
  compiled: Callable
  state: state.TrainState
  pixels: dict[str, jax.Array]
  sampler: data.EpochSampler
  mesh: jax.sharding.Mesh
  accumulation: int
  steps_per_call: int
  traces: list[int]

  @property
  def train_step(self):
    return self.compiled()[0]

  @property
  def init_metrics(self):
    return self.compiled()[1]

  def sync_points(self, total, start=None, **plan):
    """Runs to step `total`."""
    log_every = plan.pop('log_every', total)
    return loop.run(
      self.train_step,
      self.init_metrics,
      self.state if start is None else start,
      self.pixels,
      self.sampler,
      loop.Plan(total=total, log_every=log_every, steps_per_call=self.steps_per_call, **plan),
      self.mesh,
      accumulation_steps=self.accumulation,
    )

  def train(self, total, start=None):
    """Host copies of the state and of the metrics of every step."""
    metrics = []
    for at in self.sync_points(total, start, log_every=1):
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
  steps_per_call=1,
  batch=BATCH,
  learning_rate=0.05,
  encoder='quarters',
  recipe='quick',
) -> Tiny:
  """A tiny run of a method, or a form of one, on the first `devices`, with a state of its own."""
  run = _compiled(
    name, devices, accumulation, steps_per_call, batch, learning_rate, encoder, recipe
  )
  return dataclasses.replace(run, state=place(run.state, run.mesh))


def place(host_state, on: jax.sharding.Mesh) -> state.TrainState:
  """A host copy of a state back on the devices."""
  key = jax.random.wrap_key_data(host_state.key)
  return jax.device_put(dataclasses.replace(host_state, key=key), mesh.replicated(on))


# Many tests start from one program. A small number, as each holds memory mappings.
@functools.lru_cache(maxsize=12)
def _compiled(
  name, devices, accumulation, steps_per_call, batch, learning_rate, encoder, recipe
) -> Tiny:
  """The run with its state at step 0 on the host."""
  on = mesh.make_mesh(jax.devices()[:devices])
  heads = tiny.heads(name)
  queue = {'queue_size': 40} if 'queue_size' in heads else {}
  method = methods.create(name.partition(',')[0], **{**heads, **queue})
  method = method.setup(encoder=ENCODERS[encoder](), total_steps=100, class_counts=(32, 32))
  schedule = schedules.warmup_cosine(learning_rate, total_steps=100, steps_per_update=accumulation)
  optimizer = optimizers.build('sgd', schedule=schedule, momentum=0.9, weight_decay=1e-4)
  recipe = RECIPES[recipe]
  start = state.create(method, optimizer, 0, SIZE, on)
  same = mesh.replicated(on)
  resident = {'images': mesh.put(images(), same)}
  if method.needs_labels:
    resident['labels'] = mesh.put(np.arange(IMAGES, dtype=np.int32) % 2, same)
  traces: list[int] = []

  def augment(key, stored):
    plain = views.unaugmented(recipe, stored['images']) if method.needs_unaugmented else None
    return methods.Batch(
      views.apply(recipe, key, stored['images']), unaugmented=plain, labels=stored.get('labels')
    )

  inner = step.make_update(method, optimizer, schedule, augment, on, accumulation)

  def update(*arguments):
    traces.append(1)
    return inner(*arguments)

  @functools.cache
  def compiled():
    return step.compile_step(update, start, resident, on, (steps_per_call, accumulation, batch))

  sampler = data.EpochSampler(seed=0, length=IMAGES, batch_size=batch)
  return Tiny(
    method,
    inner,
    compiled,
    host(start),
    resident,
    sampler,
    on,
    accumulation,
    steps_per_call,
    traces,
  )
