"""Accuracy with few labels: probes, fine-tuning, few-shot episodes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax import evaluation, views
from ssl_jax.arguments import ArgumentError
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.probes import recipe_of
from ssl_jax.tasks.protocols.protocol import Measurement, plain, protocol, share


@protocol(
  'low_shot',
  help='linear and ridge probes on 1 % and 10 % of the labels',
  settings=(
    'evaluate.fractions',
    'evaluate.label_lists',
    'evaluate.probe',
    'evaluate.probe_epochs',
  ),
  classes_of='train',
  aliases=('few_labels',),
)
def low_shot(context: EvalContext) -> Measurement:
  """Linear and ridge probes on a stratified part of the labels, or on lists of image names."""
  scores, details = {}, {}
  train, labels = context.features('train'), context.labels('train')
  test, wanted = context.features('test'), context.labels('test')
  notes: list[str] = []
  for name, rows in _subsets(context, notes):
    linear = evaluation.linear_probe(
      train[rows],
      labels[rows],
      test,
      wanted,
      recipe=recipe_of(context),
      num_classes=context.classes,
      seed=context.seed,
    )
    closed = evaluation.ridge_probe(
      train[rows], labels[rows], test, wanted, num_classes=context.classes
    )
    scores[f'linear, {name}'] = share(linear.accuracy)
    scores[f'ridge, {name}'] = share(closed.accuracy)
    details[name] = {'images': len(rows), 'best epoch on test': linear.best_accuracy}
  return Measurement(scores, {}, details, tuple(notes))


@protocol(
  'fine_tuning',
  help='the whole encoder trained on 1 % and 10 % of the labels',
  settings=('evaluate.fractions', 'evaluate.label_lists', 'evaluate.fine_tuning_epochs'),
  classes_of='train',
)
def fine_tuning(context: EvalContext) -> Measurement:
  """All of the encoder trained on few labels by the 1 % protocol of OpenSelfSup."""
  # Features that are not finite are named here, rather than called a training that diverges.
  context.features('test')
  encoder, recipe = context.encoder, context.encoder.recipe
  train, labels = context.source('train'), context.labels('train')
  test, wanted = context.source('test'), context.labels('test')
  tuning = dataclasses.replace(
    evaluation.FineTuneRecipe(), epochs=context.settings.fine_tuning_epochs
  )
  network = encoder.networks['encoder']
  crop_and_flip = _crop_and_flip(recipe)

  scores, details = {}, {}
  notes: list[str] = []
  for name, rows in _subsets(context, notes):
    found = evaluation.fine_tune(
      lambda params, batch_stats, images, train: network.apply(
        {'params': params, 'batch_stats': batch_stats}, images, train
      ),
      # On the host: one device trains, whatever shares the extraction of features.
      jax.device_get(
        {part: encoder.variables[part]['encoder'] for part in ('params', 'batch_stats')}
      ),
      train.images[rows],
      labels[rows],
      test.images,
      wanted,
      recipe=tuning,
      augment=lambda key, images: views.apply(crop_and_flip, key, images)[:, 0],
      unaugmented=lambda images: views.unaugmented(recipe, images),
      num_classes=context.classes,
      seed=context.seed,
    )
    scores[f'accuracy, {name}'] = share(found.accuracy)
    scores[f'learning rate, {name}'] = plain(found.learning_rate)
    details[name] = {'images': len(rows)}
  return Measurement(scores, {}, details, tuple(notes))


@protocol(
  'episodes',
  help='few-shot episodes with a 95 % interval',
  settings=('evaluate.ways', 'evaluate.shots', 'evaluate.queries', 'evaluate.episodes'),
  classes_of='test',
)
def episodes(context: EvalContext) -> Measurement:
  """Few-shot episodes of the test classes; the protocol is reconstructed after DSA."""
  settings = context.settings
  ways, queries, notes = _episode_size(context)
  found = evaluation.few_shot_episodes(
    context.features('test'),
    context.labels('test'),
    ways=ways,
    shots=settings.shots,
    queries=queries,
    episodes=settings.episodes,
    seed=context.seed,
  )
  name = f'{ways}-way {settings.shots}-shot'
  return Measurement(
    {name: share(found.mean), f'{name}, 95 % interval ±': _half(found.interval95)},
    {},
    {'episodes': found.episodes, 'queries': queries},
    notes,
  )


def _episode_size(context: EvalContext) -> tuple[int, int, tuple[str, ...]]:
  """Ways and queries that the test images allow, and what was lowered; given ones stay."""
  ways, shots, queries = (getattr(context.settings, n) for n in ('ways', 'shots', 'queries'))
  images = np.sort(np.unique(context.labels('test'), return_counts=True)[1])[::-1]
  # The default of 15 queries gives way before the number of classes does.
  needed = shots + (queries if context.is_given('evaluate.queries') else 1)
  enough = int(np.sum(images >= needed))
  if enough < 2:
    raise ArgumentError(f'classes with {needed} test images or more', enough, 'at least 2')
  if ways > enough and context.is_given('evaluate.ways'):
    raise ArgumentError(
      '--evaluate.ways', ways, f'at most {enough}, the classes with {needed} test images or more'
    )
  possible = min(ways, enough), min(queries, int(images[min(ways, enough) - 1]) - shots)
  notes = tuple(
    f'{name} = {wanted} is {found}, what the test images allow'
    for name, wanted, found in zip(('ways', 'queries'), (ways, queries), possible, strict=True)
    if found < wanted
  )
  return *possible, notes


def _half(interval: float):
  return plain(interval)._replace(percent=True)


def _subsets(context: EvalContext, notes: list[str]) -> Iterator[tuple[str, np.ndarray]]:
  """Names and rows of the parts of the training images whose labels may be used.

  What a fraction holds beyond its share, so that no class is left out, is added to `notes`.
  """
  settings, source = context.settings, context.source('train')
  for path in settings.label_lists:
    if not source.names:
      raise ArgumentError(
        '--evaluate.label_lists', 'data without file names', 'left out, or the data a folder:PATH'
      )
    yield path, evaluation.read_subset(path, source.names)
  if settings.label_lists:
    return
  labels = context.labels('train')
  for fraction in settings.fractions:
    rows = evaluation.stratified_subset(labels, fraction, seed=context.seed)
    name = f'{100 * fraction:g} % of labels'
    if len(rows) > 1.5 * fraction * len(labels):
      notes.append(f'{name}: {len(rows)} of {len(labels)} images, at least one of each class')
    yield name, rows


@functools.cache
def _crop_and_flip(recipe: views.Recipe) -> views.Recipe:
  """What supervised training draws: a random resized crop (0.08 to 1) and a flip."""
  first = views.View(
    crop_scale=(0.08, 1.0),
    crop_ratio=(3 / 4, 4 / 3),
    flip_prob=0.5,
    interpolation=recipe.views[0].interpolation,
  )
  return dataclasses.replace(recipe, views=(first,), unaugmented=False, local_crops=None)
