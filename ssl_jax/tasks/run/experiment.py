"""Builds the experiment of a run from its configuration, and raises for settings that do not fit
each other, before training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from ssl_jax import data, methods, views
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError, flags_of
from ssl_jax.training import extension
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.extension import Extension
from ssl_jax.training.loop import MOST_BATCHES


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Data, mesh, views, method and optimizer of a run, built from its configuration.

  Attributes:
    config: what the other fields were built from.
    dataset: images and labels on the host.
    mesh: all devices.
    recipe: the distribution of views.
    method: after `setup` with its encoder and the length of the run.
    optimizer: the update rule.
    schedule: optimizer steps done to learning rate.
    sampler: which images make up batch i.
    total_steps: optimizer steps of the run, with its extensions.
    extensions: of the run, after its schedules have ended.
  """

  config: Config
  dataset: data.Dataset
  mesh: Mesh
  recipe: views.Recipe
  method: methods.Method
  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  sampler: data.EpochSampler
  total_steps: int
  extensions: tuple[Extension, ...] = ()

  @functools.cached_property
  def fingerprint(self) -> data.Fingerprint:
    """Of the data set."""
    return data.fingerprint_dataset(self.dataset)

  @property
  def images_per_step(self) -> int:
    """Images behind one update, each counted once although it enters as several views."""
    return self.config.data.batch_size * self.config.optimizer.accumulation_steps

  @property
  def steps_per_epoch(self) -> float:
    """Optimizer steps in one epoch; not whole where updates cross an epoch's border."""
    return self.sampler.batches_per_epoch / self.config.optimizer.accumulation_steps

  @property
  def momentum_batch(self) -> Callable[[Any], Any]:
    """From a forward batch to the one whose momentum the moving average takes."""
    return extension.momentum_batch(self.extensions, self.config.optimizer.accumulation_steps)

  def steps_of(self, epochs: float) -> int:
    """Optimizer steps in so many epochs, at least 1; 0 for 0."""
    return max(1, round(epochs * self.steps_per_epoch)) if epochs else 0


def build_experiment(config: Config, log: Callable[[str], None] = print) -> Experiment:
  """Builds the experiment of the run that `config` describes.

  Args:
    config: the run.
    log: takes one line about every image that is skipped.

  Raises:
    UsageError: a setting does not fit the data, the devices or another setting.
    OSError: the data cannot be read.
  """
  mesh = mesh_lib.make_mesh()
  with flags_of('data', config.data):
    mesh_lib.validate_batch(mesh, config.data.batch_size)
  with flags_of('method', config.method):
    config.method.validate_batch(config.data.batch_size, config.view_size)
  recipe = config.views.build(config.view_size)
  encoder = config.model.build()
  dataset = config.data.load(log)
  warn_of_unseen_classes(dataset, log)
  if len(dataset.train) < 2:
    raise UsageError(
      f'--data.source: found {dataset.describe()}, must be at least 2 training images: a batch'
      f' compares images with each other{_held_out(dataset, config)}'
    )
  with flags_of('data', config.data):
    sampler = data.EpochSampler(
      seed=config.seed, length=len(dataset.train), batch_size=config.data.batch_size
    )
  accumulation = config.optimizer.accumulation_steps
  batches = round(config.epochs * sampler.batches_per_epoch)
  total_steps = config.steps or batches // accumulation
  if not total_steps:
    raise UsageError(
      f'--epochs: found {config.epochs:g}, which is {batches} batches; '
      f'one update takes {accumulation} (--optimizer.accumulation_steps)'
    )
  extensions = _extensions(config, total_steps, sampler.batches_per_epoch)
  end = extensions[-1].end if extensions else total_steps
  if end * accumulation > MOST_BATCHES:
    flag, found = ('steps', str(config.steps)) if config.steps else ('epochs', f'{config.epochs:g}')
    if total_steps * accumulation <= MOST_BATCHES:
      flag, found = 'extend', ','.join(f'{epochs:g}' for epochs in config.extend)
    raise UsageError(f'--{flag}: found {found}, must be at most {MOST_BATCHES:,} batches in all')
  of_length = lambda updates: config.optimizer.build_schedule(
    sampler.batches_per_epoch, updates * accumulation
  )
  schedule = extension.learning_rate(of_length(total_steps), extensions, of_length)
  optimizer = config.optimizer.build(schedule)
  counts = dataset.class_counts()
  with flags_of('method', config.method):
    method = config.method.setup(
      encoder=encoder, total_steps=total_steps * accumulation, class_counts=counts
    )
  return Experiment(
    config, dataset, mesh, recipe, method, optimizer, schedule, sampler, end, extensions
  )


def _extensions(config: Config, total: int, batches_per_epoch: int) -> tuple[Extension, ...]:
  """The extensions of a run of `total` optimizer steps."""
  found: list[Extension] = []
  for epochs, schedule in config.extensions:
    updates = round(epochs * batches_per_epoch) // config.optimizer.accumulation_steps
    if not updates:
      raise UsageError(f'--extend: found {epochs:g}, which is less than one optimizer step')
    start = found[-1].end if found else total
    found.append(Extension(start, updates, schedule == 'rewarm'))
  return tuple(found)


def describe_extensions(
  experiment: Experiment, steps_done: int, log: Callable[[str], None]
) -> None:
  """Logs what each extension is, and where the run stands."""
  for (epochs, word), part in zip(experiment.config.extensions, experiment.extensions, strict=True):
    updates = np.linspace(part.start, part.end - 1, min(part.updates, 101)).astype(np.int32)
    rate = float(jax.vmap(experiment.schedule)(updates).max())
    log(
      f'extend    steps {part.start:,} to {part.end:,} ({epochs:g} epochs), {word}: learning rate '
      f'up to {rate:.3g}'
    )
    if rate < 0.05 * experiment.config.optimizer.learning_rate:
      log(
        f'warning   --extend_schedule=constant trains on at {rate:.3g}, where the schedule ended; '
        'rewarm begins it again'
      )
  if experiment.extensions and steps_done < experiment.extensions[0].start:
    log(
      f'extend    the run stands at step {steps_done:,}; it first goes on to its end at step '
      f'{experiment.extensions[0].start:,}'
    )


def _held_out(dataset: data.Dataset, config: Config) -> str:
  """What could be trained on as well."""
  taken = [
    f'--{name} {value:g}'
    for name, value, off in (
      ('data.test_fraction', config.data.test_fraction if len(dataset.test) else 0, 0),
      ('data.train_limit', config.data.train_limit, 0),
      ('data.imbalance_factor', config.data.imbalance_factor, 1),
    )
    if value != off
  ]
  return f'; images are left out by {" and ".join(taken)}' if taken else ''


def warn_of_unseen_classes(dataset: data.Dataset, log: Callable[[str], None]) -> None:
  """Logs a warning if test images are of classes without training images; kNN counts them wrong."""
  train, test = dataset.train, dataset.test
  if test is None or train.labels is None or test.labels is None:
    return
  labels = test.labels[test.labels >= 0]
  unseen = int((~np.isin(labels, train.labels)).sum())
  if unseen:
    log(f'warning   {unseen:,} test images are of classes without training images')
