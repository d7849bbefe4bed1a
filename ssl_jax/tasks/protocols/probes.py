"""Classifiers trained on frozen features."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssl_jax import data, evaluation
from ssl_jax.arguments import ArgumentError
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.context import EvalContext, labeled_only
from ssl_jax.tasks.protocols.protocol import UNTRAINED, Measurement, Result, plain, protocol, share

_NOT_CHOSEN = (
  'the middle of the grid is taken: no class has two labeled training images to choose on'
)

# Layers of the presets that ask for one are those of --evaluate.layer: see docs/evaluation.md.


def recipe_of(context: EvalContext) -> evaluation.ProbeRecipe:
  """The recipe that the flags name, with their number of epochs."""
  recipe = evaluation.PRESETS[context.settings.probe]
  epochs = context.settings.probe_epochs
  return recipe.shortened(epochs) if epochs else recipe


@functools.lru_cache(maxsize=4)
def chosen_probe(context: EvalContext) -> evaluation.LinearProbeResult:
  """The linear probe of a context, trained once for all protocols that use it."""
  views = context.settings.probe_views
  train = context.view_features('train', views) if views else context.features('train')
  return evaluation.linear_probe(
    train,
    context.labels('train'),
    context.features('test'),
    context.labels('test'),
    recipe=recipe_of(context),
    num_classes=context.classes,
    seed=context.seed,
  )


def draw_linear(results: Mapping[str, Result]) -> Iterator[Figure]:
  """Accuracy over epochs, and confusion matrices of all encoders but the untrained one."""
  yield Figure(
    'Linear probe',
    'Test accuracy after each epoch of the probe that was chosen on held-out training images.',
    figures.probe_curve(
      {who: one.measurement.plot_data['probe'].per_epoch for who, one in results.items()}
    ),
  )
  shown = {who: one for who, one in results.items() if who != UNTRAINED} or results
  half = len(shown) > 1
  for who, one in shown.items():
    probe, labels = (one.measurement.plot_data[name] for name in ('probe', 'labels'))
    report = evaluation.class_report(probe.predictions, labels)
    class_names = one.context.dataset.class_names
    if len(report.confusion) > 1:
      yield Figure(
        f'Confusion, {who}',
        'What the linear probe takes test images of each class for; rows add up to 100 %.'
        + figures.class_key(class_names),
        figures.confusion_matrix(report.confusion, class_names, half=half),
        half=half,
      )


@protocol(
  'linear',
  help='linear probe, a grid at once, chosen on held-out training images',
  settings=('evaluate.probe', 'evaluate.probe_epochs', 'evaluate.probe_views'),
  classes_of='train',
  draw=draw_linear,
)
def linear(context: EvalContext) -> Measurement:
  """The linear probe of `--evaluate.probe`: last epoch, and best epoch on test, named as such."""
  found = chosen_probe(context)
  return Measurement(
    _probe_scores(found),
    {'probe': found, 'labels': context.labels('test')},
    {'recipe': context.settings.probe, 'per_epoch': [float(x) for x in found.per_epoch]},
    _notes(context, found),
  )


def _notes(context: EvalContext, found: evaluation.LinearProbeResult) -> tuple[str, ...]:
  """Settings of the recipe that the training images cannot satisfy."""
  notes: list[str] = []
  images, batch = len(context.labels('train')), recipe_of(context).batch_size
  if images < batch:
    notes.append(f'batches of {images:,} instead of {batch:,}, all labeled training images')
  if found.held_out_accuracy is None and len(found.members) > 1:
    notes.append(_NOT_CHOSEN)
  return tuple(notes)


@protocol('logistic', help='logistic regression to convergence (L-BFGS)', classes_of='train')
def logistic(context: EvalContext) -> Measurement:
  """Logistic regression to convergence; its penalty is chosen on held-out training images."""
  found = evaluation.logistic_probe(
    *_features_and_labels(context),
    num_classes=context.classes,
    seed=context.seed,
  )
  return Measurement(
    {'accuracy': share(found.accuracy), 'penalty': plain(found.l2)},
    {},
    {'iterations': int(found.iterations), 'converged': bool(found.converged)},
    () if found.held_out_accuracy is not None else (_NOT_CHOSEN,),
  )


@protocol('ridge', help='closed-form ridge classifier', classes_of='train')
def ridge(context: EvalContext) -> Measurement:
  """Ridge regression onto one-hot labels in closed form."""
  found = evaluation.ridge_probe(
    *_features_and_labels(context),
    num_classes=context.classes,
  )
  return Measurement({'accuracy': share(found.accuracy), 'penalty': plain(found.l2)})


@protocol(
  'transfer',
  help='linear probe on a second data set',
  settings=('evaluate.transfer', 'evaluate.probe', 'evaluate.probe_epochs'),
  needs='evaluate.transfer',
)
def transfer(context: EvalContext) -> Measurement:
  """The linear probe on a second data set, `--evaluate.transfer`."""
  source = context.settings.transfer
  other = labeled_only(_second(source, context.source('train').images.shape[1]))
  train_labels = other.train.labels
  for split in ('train', 'test'):
    if not len(getattr(other, split)) or getattr(other, split).labels is None:
      lacking = f'{source} without labeled {split} images'
      raise ArgumentError('--evaluate.transfer', lacking, 'labeled')
  if train_labels is None or len(np.unique(train_labels)) < 2:
    lacking = f'a single class in {source}'
    raise ArgumentError('--evaluate.transfer', lacking, 'at least 2 to be told apart')
  found = evaluation.linear_probe(
    context.features_of(other.train, 'transfer-train'),
    train_labels,
    context.features_of(other.test, 'transfer-test'),
    other.test.labels,
    recipe=recipe_of(context),
    num_classes=len(other.class_names),
    seed=context.seed,
  )
  return Measurement(_probe_scores(found), {}, {'data': other.describe()})


def _features_and_labels(context: EvalContext) -> tuple[np.ndarray, ...]:
  """As every probe takes them: training features and labels, then those of test images."""
  return tuple(
    get(split) for split in ('train', 'test') for get in (context.features, context.labels)
  )


@functools.lru_cache(maxsize=1)
def _second(source: str, image_size: int) -> data.Dataset:
  return data.load(source, image_size=image_size)


def _probe_scores(found: evaluation.LinearProbeResult) -> dict[str, Any]:
  scores = {'accuracy, last epoch': share(found.accuracy)}
  if found.top5 is not None:
    scores['top-5, last epoch'] = share(found.top5)
  scores['accuracy, best epoch on test'] = share(found.best_accuracy)
  if found.held_out_accuracy is not None:
    scores['held-out accuracy'] = share(found.held_out_accuracy)
  scores['learning rate'] = plain(found.learning_rate)
  scores['weight decay'] = plain(found.weight_decay)
  return scores
