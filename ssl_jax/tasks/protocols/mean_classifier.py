"""The mean classifier, and accuracy by how many training images a class has."""

from __future__ import annotations

import numpy as np

from ssl_jax import evaluation
from ssl_jax.tasks.protocols.measurement import Measurement, lower, plain, share
from ssl_jax.tasks.protocols.probes import chosen_probe
from ssl_jax.tasks.protocols.subject import Subject


def class_means(subject: Subject) -> Measurement:
  """Nozawa and Sato: class weights from one augmented pass, un-augmented test images."""
  found = evaluation.mean_classifier(
    subject.view_features('train', 2)[:, 0],
    subject.labels('train'),
    subject.features('test'),
    subject.labels('test'),
  )
  return Measurement(
    {
      'accuracy': share(found.accuracy),
      'accuracy, nearest centroid': share(found.centroid_accuracy),
      'supervised loss': lower(found.supervised_loss),
    }
  )


def long_tail(subject: Subject) -> Measurement:
  """The linear probe's accuracy on classes with many, medium and few training images."""
  probe = chosen_probe(subject)
  labels = subject.labels('train')
  counts = np.bincount(labels, minlength=subject.classes)
  rule = subject.settings.long_tail_rule
  if rule == 'auto':
    rule = 'imagenet_lt' if subject.classes > 100 and counts.max() > 100 else 'thirds'
  found = evaluation.class_report(
    probe.predictions, subject.labels('test'), train_counts=counts, rule=rule
  )
  scores = {
    'accuracy': share(found.accuracy),
    'macro average': share(found.macro_accuracy),
    'standard deviation over classes': plain(found.class_std),
  }
  for name in ('many', 'medium', 'few'):
    value = getattr(found, name)
    if value is not None:
      scores[f'{name} ({rule})'] = share(value)
  smallest = counts[counts > 0].min()
  details = {'largest_class': int(counts.max()), 'smallest_class': int(smallest), 'rule': rule}
  return Measurement(scores, {}, details)
