"""The mean classifier, and accuracy by how many training images a class has."""

from __future__ import annotations

import numpy as np

from ssl_jax import evaluation
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.probes import chosen_probe
from ssl_jax.tasks.protocols.protocol import Measurement, lower, plain, protocol, share


@protocol(
  'mean_classifier',
  help='mean classifier and supervised loss (negative samples)',
  classes_of='train',
  aliases=('class_means',),
)
def mean_classifier(context: EvalContext) -> Measurement:
  """Nozawa and Sato: class weights from one augmented pass, un-augmented test images."""
  found = evaluation.mean_classifier(
    context.view_features('train', 2)[:, 0],
    context.labels('train'),
    context.features('test'),
    context.labels('test'),
  )
  return Measurement(
    {
      'accuracy': share(found.accuracy),
      'accuracy, nearest centroid': share(found.centroid_accuracy),
      'supervised loss': lower(found.supervised_loss),
    }
  )


@protocol(
  'long_tail',
  help='accuracy on classes of many, medium and few training images, and the macro average',
  settings=(
    'evaluate.long_tail_rule',
    'evaluate.probe',
    'evaluate.probe_epochs',
    'evaluate.probe_views',
  ),
  classes_of='train',
)
def long_tail(context: EvalContext) -> Measurement:
  """The linear probe's accuracy on classes with many, medium and few training images."""
  probe = chosen_probe(context)
  labels = context.labels('train')
  counts = np.bincount(labels, minlength=context.classes)
  rule = context.settings.long_tail_rule
  if rule == 'auto':
    rule = 'imagenet_lt' if context.classes > 100 and counts.max() > 100 else 'thirds'
  found = evaluation.class_report(
    probe.predictions, context.labels('test'), train_counts=counts, rule=rule
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
