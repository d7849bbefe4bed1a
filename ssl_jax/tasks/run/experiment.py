"""Builds the experiment of a run from its configuration, and settles everything that can be refused
before training."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from ssl_jax import data, methods, models, views
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training import optimizers, schedules


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The experiment of a run.

  Attributes:
    config: what they were built from.
    dataset: images and labels on the host.
    mesh: all devices.
    recipe: the distribution of views.
    method: bound to its encoder and to the length of the run.
    optimizer: the update rule.
    schedule: optimizer steps done to learning rate.
    order: which images make up batch i.
    total_steps: optimizer steps of the run.
  """

  config: Config
  dataset: data.Dataset
  mesh: Mesh
  recipe: views.Recipe
  method: methods.Method
  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  order: data.EpochSampler
  total_steps: int

  def augment(self, key: jax.Array, stored: Mapping[str, jax.Array]) -> methods.Batch:
    """What the method is fed with, of the stored rows of a batch: a function of key and position.

    Args:
      key: typed PRNG key of the batch.
      stored: 'images', uint8 [batch, height, width, 3], and 'labels', int32 [batch], if any.
    """
    images, local_crops, unaugmented = stored['images'], None, None
    if self.recipe.local_crops:
      local_crops = views.apply(self.recipe.local_crops, jax.random.fold_in(key, 1), images)
    if self.method.needs_unaugmented:
      unaugmented = views.unaugmented(self.recipe, images)
    return methods.Batch(
      views.apply(self.recipe, key, images), local_crops, unaugmented, stored.get('labels')
    )

  def stored(self) -> dict[str, np.ndarray]:
    """The training images, and their labels if the method uses them, as `augment` takes rows of."""
    train = self.dataset.train
    rows = {'images': train.images}
    if self.method.needs_labels and train.labels is not None:
      rows['labels'] = train.labels
    return rows

  @property
  def images_per_step(self) -> int:
    """Images behind one update, each counted once although it enters as several views."""
    return self.config.data.batch_size * self.config.optimizer.accumulation_steps

  @property
  def steps_per_epoch(self) -> float:
    """Optimizer steps in one epoch; not whole where updates cross an epoch's border."""
    return self.order.batches_per_epoch / self.config.optimizer.accumulation_steps

  def steps_of(self, epochs: float) -> int:
    """Optimizer steps in so many epochs, at least 1; 0 for 0."""
    return max(1, round(epochs * self.steps_per_epoch)) if epochs else 0


@contextlib.contextmanager
def refusals_are_the_users(section: str = '') -> Iterator[None]:
  """Functions refuse an argument by ValueError; while a run is put together a flag was behind it.

  `section` is the flag's, for functions whose messages begin with the bare argument.
  """
  try:
    yield
  except UsageError:
    raise
  except ValueError as error:
    message = f'{section}.{error}' if section else str(error)
    named = re.match(r'(data|views|model|method|optimizer)\.\w+\b', message)
    raise UsageError(f'--{message}' if named else message) from error


def build_experiment(config: Config, log: Callable[[str], None] = print) -> Experiment:
  """Builds the experiment of the run that `config` describes.

  Args:
    config: the run.
    log: takes one line about every image that is skipped.

  Raises:
    UsageError: a setting does not fit the data, the devices or another setting.
    OSError: the data cannot be read.
  """
  with refusals_are_the_users():
    mesh = mesh_lib.make_mesh()
    mesh_lib.check_batch(mesh, config.data.batch_size)
    config.method.validate_batch(config.data.batch_size, config.view_size)
  recipe = view_recipe(config)
  with refusals_are_the_users():
    encoder = models.resnet(**dataclasses.asdict(config.model))
    # The held-out images do not depend on --seed: runs of several seeds share one test set.
    dataset = data.load(
      config.data.source,
      image_size=config.data.image_size,
      imbalance_factor=config.data.imbalance_factor,
      train_limit=config.data.train_limit,
      test_fraction=config.data.test_fraction,
      on_error=config.data.on_error,
      log=log,
    )
    warn_of_unseen_classes(dataset, log)
    order = data.EpochSampler(
      seed=config.seed, length=len(dataset.train), batch_size=config.data.batch_size
    )
    accumulation = config.optimizer.accumulation_steps
    batches = round(config.epochs * order.batches_per_epoch)
    total_steps = config.steps or batches // accumulation
    if not total_steps:
      raise UsageError(
        f'--epochs: found {config.epochs:g}, which is {batches} batches; '
        f'one update takes {accumulation} (--optimizer.accumulation_steps)'
      )
    schedule = _schedule(config, order.batches_per_epoch, total_steps * accumulation)
    settings = config.optimizer
    optimizer = optimizers.build(
      settings.name,
      schedule=schedule,
      momentum=settings.momentum,
      nesterov=settings.nesterov,
      beta1=settings.beta1,
      beta2=settings.beta2,
      weight_decay=settings.weight_decay,
      weight_decay_exclude=settings.exclude,
      excluded_lr_scale=settings.excluded_rate_scale,
      trust_coefficient=settings.trust_coefficient,
      clip_norm=settings.clip_norm,
    )
    labels = dataset.train.labels
    method = config.method.setup(
      encoder=encoder,
      total_steps=total_steps * accumulation,
      class_counts=()
      if labels is None
      else np.bincount(labels, minlength=len(dataset.class_names)),
    )
  return Experiment(config, dataset, mesh, recipe, method, optimizer, schedule, order, total_steps)


def view_recipe(config: Config) -> views.Recipe:
  """The distribution of views that `config` describes.

  Raises:
    UsageError: a setting of the views is not allowed.
  """
  mean, std = config.views.statistics
  with refusals_are_the_users('views'):
    return views.recipe(
      config.views.recipe,
      size=config.view_size,
      crop_scale_min=config.views.crop_scale_min or None,
      jitter_strength=config.views.jitter_strength,
      interpolation=None if config.views.interpolation == 'recipe' else config.views.interpolation,
      local_crops=config.views.local_crops,
      local_size=config.views.local_size,
      local_scale=(config.views.local_scale_min, config.views.local_scale_max),
      mean=mean,
      std=std,
    )


def warn_of_unseen_classes(dataset: data.Dataset, log: Callable[[str], None]) -> None:
  """Says so where test images are of classes that no training image has: kNN counts them wrong."""
  train, test = dataset.train, dataset.test
  if test is None or train.labels is None or test.labels is None:
    return
  unseen = int((~np.isin(test.labels, train.labels)).sum())
  if unseen:
    log(f'warning   {unseen:,} test images are of classes without training images')


def _schedule(config: Config, batches_per_epoch: int, total_batches: int) -> optax.Schedule:
  settings = config.optimizer
  # A recipe cut short by --steps, to try it out, may be over before its warm-up is.
  warmup = settings.warmup_steps or round(settings.warmup_epochs * batches_per_epoch)
  warmup = min(warmup, total_batches)
  if settings.schedule == 'step':
    return schedules.step_decay(
      settings.learning_rate,
      decay_steps=[
        round(epoch * batches_per_epoch) + (total_batches if epoch < 0 else 0)
        for epoch in settings.decay_epochs
      ],
      factor=settings.decay_factor,
      warmup_steps=warmup,
      warmup_ratio=settings.warmup_ratio,
      steps_per_update=settings.accumulation_steps,
    )
  if settings.schedule == 'constant':
    return schedules.constant(
      settings.learning_rate,
      warmup_steps=warmup,
      warmup_ratio=settings.warmup_ratio,
      steps_per_update=settings.accumulation_steps,
    )
  return schedules.warmup_cosine(
    settings.learning_rate,
    total_steps=total_batches,
    warmup_steps=warmup,
    warmup_ratio=settings.warmup_ratio,
    warmup_by_epoch=settings.warmup_unit == 'epoch',
    schedule_by_epoch=settings.schedule_unit == 'epoch',
    epoch_steps=batches_per_epoch,
    min_lr_ratio=settings.final_ratio,
    cosine_after_warmup=settings.cosine_after_warmup,
    steps_per_update=settings.accumulation_steps,
  )


def start_devices(config: Config) -> None:
  """Chooses platform and number of devices; must run before the first use of a device."""
  settings = config.devices
  platform = 'cpu' if settings.simulate else settings.platform
  if platform != 'auto':
    # JAX names the maker; a list of makers would fail for every one that is absent.
    jax.config.update('jax_platforms', {'gpu': 'cuda'}.get(platform, platform))
  if settings.simulate:
    jax.config.update('jax_num_cpu_devices', settings.simulate)
  if settings.coordinator == 'auto':
    jax.distributed.initialize()
  elif settings.coordinator:
    jax.distributed.initialize(settings.coordinator, settings.processes, settings.process)
