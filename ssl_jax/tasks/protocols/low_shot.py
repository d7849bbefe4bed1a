"""Accuracy with few labels: probes, fine-tuning, few-shot episodes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax import evaluation, views
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
  aliases=('few_labels',),
)
def low_shot(context: EvalContext) -> Measurement:
  """Linear and ridge probes on a stratified part of the labels, or on lists of image names."""
  scores, details = {}, {}
  train, labels = context.features('train'), context.labels('train')
  test, wanted = context.features('test'), context.labels('test')
  for name, rows in _subsets(context):
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
  return Measurement(scores, {}, details)


@protocol(
  'fine_tuning',
  help='the whole encoder trained on 1 % and 10 % of the labels',
  settings=('evaluate.fractions', 'evaluate.label_lists', 'evaluate.fine_tuning_epochs'),
)
def fine_tuning(context: EvalContext) -> Measurement:
  """All of the encoder trained on few labels by the 1 % protocol of OpenSelfSup."""
  encoder, recipe = context.encoder, context.encoder.recipe
  train, labels = context.source('train'), context.labels('train')
  test, wanted = context.source('test'), context.labels('test')
  tuning = dataclasses.replace(
    evaluation.FineTuneRecipe(), epochs=context.settings.fine_tuning_epochs
  )
  network = encoder.networks['encoder']
  crop_and_flip = _crop_and_flip(recipe)

  scores, details = {}, {}
  for name, rows in _subsets(context):
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
  return Measurement(scores, {}, details)


@protocol(
  'episodes',
  help='few-shot episodes with a 95 % interval',
  settings=('evaluate.ways', 'evaluate.shots', 'evaluate.queries', 'evaluate.episodes'),
)
def episodes(context: EvalContext) -> Measurement:
  """Few-shot episodes of the test classes; the protocol is reconstructed after DSA."""
  settings = context.settings
  found = evaluation.few_shot_episodes(
    context.features('test'),
    context.labels('test'),
    ways=settings.ways,
    shots=settings.shots,
    queries=settings.queries,
    episodes=settings.episodes,
    seed=context.seed,
  )
  name = f'{settings.ways}-way {settings.shots}-shot'
  return Measurement(
    {name: share(found.mean), f'{name}, 95 % interval ±': _half(found.interval95)},
    {},
    {'episodes': found.episodes},
  )


def _half(interval: float):
  return plain(interval)._replace(percent=True)


def _subsets(context: EvalContext) -> Iterator[tuple[str, np.ndarray]]:
  """Names and rows of the parts of the training images whose labels may be used."""
  settings, source = context.settings, context.source('train')
  for path in settings.label_lists:
    if not source.names:
      raise ValueError('evaluate.label_lists: found data without file names, must be a folder:PATH')
    yield path, evaluation.read_subset(path, source.names)
  if settings.label_lists:
    return
  labels = context.labels('train')
  for fraction in settings.fractions:
    rows = evaluation.stratified_subset(labels, fraction, seed=context.seed)
    yield f'{100 * fraction:g} % of labels', rows


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
