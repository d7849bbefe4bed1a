"""Class by class: scikit-learn's figures, groups of the long tail, absent classes and errors."""

import doctest
import importlib

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.metrics import (
  accuracy_score,
  balanced_accuracy_score,
  confusion_matrix,
  recall_score,
  top_k_accuracy_score,
)

from ssl_jax.evaluation.class_report import class_report

# The package's own name of it is the function's.
module = importlib.import_module('ssl_jax.evaluation.class_report')


def random_problem(seed=0, count=200, classes=10):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, count)
  return np.where(rng.random(count) < 0.6, labels, rng.integers(0, classes, count)), labels


class ClassReportTest(chex.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_equals_scikit_learn(self, seed):
    predictions, labels = random_problem(seed)
    report = class_report(predictions, labels)
    recalls = recall_score(labels, predictions, average=None)
    self.assertAlmostEqual(report.accuracy, accuracy_score(labels, predictions))
    self.assertAlmostEqual(report.macro_accuracy, balanced_accuracy_score(labels, predictions))
    np.testing.assert_allclose(report.per_class, recalls)
    np.testing.assert_array_equal(report.confusion, confusion_matrix(labels, predictions))
    self.assertAlmostEqual(report.class_std, np.std(recalls))
    self.assertEqual((report.many, report.medium, report.few), (None, None, None))

  def test_top_five_equals_scikit_learn(self):
    scores = np.random.default_rng(0).normal(size=(90, 10))
    labels = np.arange(90) % 10
    guesses = np.argsort(-scores, axis=1)
    for top in (1, 5):
      report = class_report(guesses, labels, top=top)
      self.assertAlmostEqual(report.accuracy, top_k_accuracy_score(labels, scores, k=top))
    np.testing.assert_array_equal(
      report.confusion, confusion_matrix(labels, guesses[:, 0], labels=np.arange(10))
    )

  def test_groups_of_imagenet_lt(self):
    predictions, labels = random_problem(classes=6)
    counts = np.array([1280, 101, 100, 20, 19, 0])
    report = class_report(predictions, labels, train_counts=counts)
    accuracies = report.per_class
    self.assertAlmostEqual(report.many, accuracies[:2].mean())
    self.assertAlmostEqual(report.medium, accuracies[2:4].mean())
    self.assertAlmostEqual(report.few, accuracies[4:].mean())
    self.assertEqual((report.num_many, report.num_medium, report.num_few), (2, 2, 2))

  def test_thirds_by_rank(self):
    predictions, labels = random_problem()
    order = np.random.default_rng(1).permutation(10)
    counts = np.empty(10, int)
    counts[order] = 5000 // 2 ** np.arange(10)
    report = class_report(predictions, labels, train_counts=counts, rule='thirds')
    self.assertAlmostEqual(report.many, report.per_class[order[:4]].mean())
    self.assertAlmostEqual(report.medium, report.per_class[order[4:7]].mean())
    self.assertAlmostEqual(report.few, report.per_class[order[7:]].mean())
    equal = class_report(predictions, labels, train_counts=[7] * 10, rule='thirds')
    self.assertAlmostEqual(equal.few, equal.per_class[7:].mean())

  def test_classes_without_test_images_are_left_out(self):
    report = class_report([0, 1, 3, 1], [0, 1, 1, 1], train_counts=[200, 200, 200, 50, 3])
    self.assertEqual(report.classes_without_test, 3)
    np.testing.assert_array_equal(report.per_class, [1, 2 / 3, np.nan, np.nan, np.nan])
    self.assertAlmostEqual(report.macro_accuracy, 5 / 6)
    self.assertAlmostEqual(report.many, 5 / 6)
    self.assertEqual((report.medium, report.few, report.num_many), (None, None, 2))
    chex.assert_shape(report.confusion, (5, 5))
    self.assertEqual(report.confusion[1, 3], 1)

  def test_number_of_classes(self):
    self.assertEqual(class_report([0, 1], [0, 0]).classes_without_test, 1)
    self.assertEqual(class_report([0, 1], [0, 0], num_classes=7).classes_without_test, 6)

  @parameterized.named_parameters(
    ('no_labels', {'labels': None}, r'^labels: found None'),
    ('no_predictions', {'predictions': None}, r'^predictions: found None'),
    ('float', {'predictions': [0.5, 1.0]}, r'^predictions: found float64 of shape \(2,\)'),
    ('short', {'labels': [0]}, r'^labels: found int64 of shape \(1,\), must be .*\(2,\)'),
    ('negative', {'labels': [0, -1]}, r'^labels: found -1'),
    ('beyond', {'train_counts': [9]}, r'^predictions: found 1, must be below 1'),
    ('counts', {'train_counts': [9, -1]}, r'^train_counts: found -1'),
    ('rule', {'rule': 'halves'}, r"^rule: found 'halves', must be one of imagenet_lt, thirds"),
    ('top', {'top': 2}, r'^top: found 2, must be at most 1, guesses an image'),
    (
      'classes',
      {'num_classes': 3, 'train_counts': [9, 9]},
      r'^num_classes: found 3, must be 2 as in train_counts',
    ),
  )
  def test_errors(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      class_report(**({'predictions': [0, 1], 'labels': [0, 1]} | change))

  def test_examples(self):
    self.assertEqual(doctest.testmod(module).failed, 0)
