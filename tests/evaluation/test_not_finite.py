"""No measurement makes a figure of features that are not finite."""

import inspect

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import analysis, evaluation

ROWS, WIDTH = 12, 4
RANDOM = np.random.default_rng(0)
LABELS = np.arange(ROWS) % 3
VIEWS = RANDOM.normal(size=(ROWS, 2, WIDTH))
# By name: `[n, dim]`, or `[image, view, dim]`, and whole numbers of rows.
TABLES = """
  features anchors candidates bank queries train test query_features gallery_features
  flipped_features image_means class_means first_views second_views
"""
TABLES = dict.fromkeys(TABLES.split(), VIEWS[:, 0])
OF_VIEWS = {'alignment', 'bound_chain', 'classification_risk_bounds', 'prototype_bias'}
OF_VIEWS |= {'similarity_histograms'}
LABELED = """
  labels bank_labels query_labels train_labels test_labels query_ids gallery_ids predictions
  clusters
"""
LABELED = dict.fromkeys(LABELED.split(), LABELS)
NUMBERS = {'sharpness': 2.0, 'temperature': 0.5, 'batch_size': 6, 'k': 2}
NUMBERS |= {'ks': (2,), 'recipe': next(iter(evaluation.PRESETS.values())), 'fraction': 0.5}
# Of images or files, or of vectors one by one.
OTHERS = {'extract', 'fine_tune', 'read_subset', 'l2_normalize', 'kmeans'}


def arguments_of(name, function):
  """Valid values of the arguments without a default, and of k."""
  found = {}
  for argument in inspect.signature(function).parameters.values():
    if argument.name == 'views' or (argument.name == 'features' and name in OF_VIEWS):
      found[argument.name] = VIEWS
    elif argument.name in ('k', 'ks') or argument.default is argument.empty:
      found[argument.name] = {**TABLES, **LABELED, **NUMBERS}[argument.name]
  return found


FUNCTIONS = {
  name: (function, arguments_of(name, function))
  for package in (analysis, evaluation)
  for name in package.__all__
  if inspect.isfunction(function := getattr(package, name))
  and name not in OTHERS
  and set(inspect.signature(function).parameters) & {'views', *TABLES, *LABELED}
}


def named(condition):
  chosen = [name for name, (_, values) in FUNCTIONS.items() if condition(values)]
  return parameterized.named_parameters(zip(chosen, chosen, strict=True))


class NotFiniteTest(chex.TestCase):
  @named(lambda values: values.keys() & {'views', *TABLES})
  def test_not_finite_in_(self, name):
    function, values = FUNCTIONS[name]
    for argument in values.keys() & {'views', *TABLES}:
      for bad in (np.nan, np.inf, -np.inf):
        array = np.array(values[argument])
        array[7, ..., 2] = bad
        message = rf'^{argument}: .*(finite|7)'
        with self.subTest(f'{argument}: {bad}'), self.assertRaisesRegex(ValueError, message):
          function(**{**values, argument: array})

  def test_predictions_beyond_int64(self):
    with self.assertRaisesRegex(ValueError, '^predictions: found 9223372036854775808, must be'):
      evaluation.class_report(np.full(ROWS, 2**63, np.uint64), LABELS)
