"""Classifiers trained on frozen features."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssl_jax import data, evaluation
from ssl_jax.reporting import Figure, figures
from ssl_jax.tasks.protocols.measurement import UNTRAINED, Measurement, Taken, plain, share
from ssl_jax.tasks.protocols.subject import Subject

# Layers of the presets that ask for one are those of --evaluate.layer: see docs/evaluation.md.


def recipe_of(subject: Subject) -> evaluation.ProbeRecipe:
  """The recipe that the flags name, with their number of epochs."""
  recipe = evaluation.PRESETS[subject.settings.probe]
  epochs = subject.settings.probe_epochs
  return recipe.shortened(epochs) if epochs else recipe


@functools.lru_cache(maxsize=4)
def chosen_probe(subject: Subject) -> evaluation.LinearProbeResult:
  """The linear probe of a subject, trained once for all protocols that look at it."""
  views = subject.settings.probe_views
  train = subject.view_features('train', views) if views else subject.features('train')
  return evaluation.linear_probe(
    train,
    subject.labels('train'),
    subject.features('test'),
    subject.labels('test'),
    recipe=recipe_of(subject),
    num_classes=subject.classes,
    seed=subject.seed,
  )


def linear(subject: Subject) -> Measurement:
  """The linear probe of `--evaluate.probe`: last epoch, and best epoch on test, named as such."""
  found = chosen_probe(subject)
  return Measurement(
    _probe_scores(found),
    {'probe': found, 'labels': subject.labels('test')},
    {'recipe': subject.settings.probe, 'per_epoch': [float(x) for x in found.per_epoch]},
  )


def draw_linear(taken: Mapping[str, Taken]) -> Iterator[Figure]:
  """Accuracy over epochs, and what each encoder but the untrained one confuses."""
  yield Figure(
    'Linear probe',
    'Test accuracy after each epoch of the probe that was chosen on held-out training images.',
    figures.probe_curve(
      {who: one.measurement.material['probe'].per_epoch for who, one in taken.items()}
    ),
  )
  shown = {who: one for who, one in taken.items() if who != UNTRAINED} or taken
  half = len(shown) > 1
  for who, one in shown.items():
    probe, labels = (one.measurement.material[name] for name in ('probe', 'labels'))
    report = evaluation.class_report(probe.predictions, labels)
    if len(report.confusion) > 1:
      yield Figure(
        f'Confusion, {who}',
        'What the linear probe takes test images of each class for; rows add up to 100 %.',
        figures.confusion_matrix(report.confusion, one.subject.dataset.class_names, half=half),
        half=half,
      )


def logistic(subject: Subject) -> Measurement:
  """Logistic regression to convergence; its penalty is chosen on held-out training images."""
  found = evaluation.logistic_probe(
    *_features_and_labels(subject),
    num_classes=subject.classes,
    seed=subject.seed,
  )
  return Measurement(
    {'accuracy': share(found.accuracy), 'penalty': plain(found.l2)},
    {},
    {'iterations': int(found.iterations), 'converged': bool(found.converged)},
  )


def ridge(subject: Subject) -> Measurement:
  """Ridge regression onto one-hot labels in closed form."""
  found = evaluation.ridge_probe(
    *_features_and_labels(subject),
    num_classes=subject.classes,
  )
  return Measurement({'accuracy': share(found.accuracy), 'penalty': plain(found.l2)})


def transfer(subject: Subject) -> Measurement:
  """The linear probe on a second data set, `--evaluate.transfer`."""
  source = subject.settings.transfer
  if not source:
    raise ValueError('evaluate.transfer: found nothing, must be a data source, as --data.source')
  other = _second(source, subject.source('train').images.shape[1])
  for split in ('train', 'test'):
    if not len(getattr(other, split)) or getattr(other, split).labels is None:
      raise ValueError(f'evaluate.transfer: found {source} without labeled {split} images')
  found = evaluation.linear_probe(
    subject.features_of(other.train, 'transfer-train'),
    other.train.labels,
    subject.features_of(other.test, 'transfer-test'),
    other.test.labels,
    recipe=recipe_of(subject),
    num_classes=len(other.class_names),
    seed=subject.seed,
  )
  return Measurement(_probe_scores(found), {}, {'data': other.describe()})


def _features_and_labels(subject: Subject) -> tuple[np.ndarray, ...]:
  """As every probe takes them: training features and labels, then those of test images."""
  return tuple(
    get(split) for split in ('train', 'test') for get in (subject.features, subject.labels)
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
