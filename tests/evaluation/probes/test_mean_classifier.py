"""The mean classifier: the definition, the bounds' own loss, scikit-learn and errors."""

import doctest

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.neighbors import KNeighborsClassifier

from ssl_jax import evaluation
from ssl_jax.evaluation.probes import mean_classifier as module
from ssl_jax.evaluation.probes.mean_classifier import mean_classifier


def random_problem(seed=0, train=120, test=70, dim=6, classes=5):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(classes, dim))
  labels = [
    np.concatenate([np.arange(classes), rng.integers(0, classes, n)]) for n in (train, test)
  ]
  rows = [centers[y] * (1 + y[:, None]) + rng.normal(size=(len(y), dim)) for y in labels]
  return rows[0], labels[0], rows[1], labels[1]


def unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class MeanClassifierTest(chex.TestCase):
  @parameterized.product(normalize=(True, False), temperature=(0.1, 0.5), rows=(3, 2**22))
  def test_equals_definition(self, normalize, temperature, rows):
    self.addCleanup(setattr, module, '_HELD', module._HELD)
    module._HELD = rows * 6
    train, labels, test, truth = random_problem()
    found = mean_classifier(
      train, labels, test, truth, normalize=normalize, temperature=temperature
    )
    z, f = (unit(test), unit(train)) if normalize else (test, train)
    scores = z @ np.array([f[labels == c].mean(0) for c in range(5)]).T
    np.testing.assert_array_equal(found.predictions, scores.argmax(1))
    self.assertEqual(found.accuracy, np.mean(scores.argmax(1) == truth))
    logits = scores / temperature
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(truth)), truth]
    self.assertAlmostEqual(found.supervised_loss, losses.mean(), places=10)

  def test_loss_is_that_of_the_bounds(self):
    train, labels, test, truth = random_problem()
    means = np.array([unit(train)[labels == c].mean(0) for c in range(5)])
    twice = np.stack([test, test], axis=1)
    bounds = evaluation.negative_sample_bounds(
      twice, truth, unit(test), means, batch_size=len(test), temperature=0.5
    )
    found = mean_classifier(train, labels, test, truth)
    self.assertAlmostEqual(found.supervised_loss, bounds.supervised, delta=1e-6)

  def test_centroid_accuracy_is_that_of_unit_centroids(self):
    train, labels, test, truth = random_problem()
    found = mean_classifier(train, labels, test, truth)
    centroids = unit(np.array([unit(train)[labels == c].mean(0) for c in range(5)]))
    reference = KNeighborsClassifier(1).fit(centroids, np.arange(5))
    self.assertEqual(found.centroid_accuracy, reference.score(unit(test), truth))
    self.assertNotEqual(found.centroid_accuracy, found.accuracy)

  def test_numbers_of_classes_may_have_gaps(self):
    train, labels, test, truth = random_problem()
    expected = mean_classifier(train, labels, test, truth)
    found = mean_classifier(train, labels * 7 + 3, test, truth * 7 + 3)
    np.testing.assert_array_equal(found.predictions, expected.predictions * 7 + 3)
    self.assertEqual(found.supervised_loss, expected.supervised_loss)

  def test_length_of_rows_counts_only_without_normalize(self):
    train, labels, test, truth = random_problem()
    expected = mean_classifier(train, labels, test, truth)
    scaled = mean_classifier(3 * train, labels, test / 5, truth)
    self.assertAlmostEqual(scaled.supervised_loss, expected.supervised_loss, places=12)
    plain = mean_classifier(train, labels, test, truth, normalize=False)
    self.assertNotAlmostEqual(plain.supervised_loss, expected.supervised_loss, places=3)

  @parameterized.named_parameters(
    ('no_labels', {'train_labels': None}, r'^train_labels: found None'),
    ('stranger', {'test_labels': np.full(75, 9)}, r'^test_labels: found 9, must be labels of tra'),
    ('short', {'test_labels': np.zeros(3, int)}, r'^test_labels: found int64 of shape \(3,\)'),
    ('nan', {'test': np.full((75, 6), np.nan)}, r'^test: found NaN'),
    ('width', {'test': np.ones((75, 5))}, r'^test: found 5 features a row, must be 6'),
    ('temperature', {'temperature': 0.0}, r'^temperature: found 0\.0'),
  )
  def test_errors(self, change, message):
    names = 'train', 'train_labels', 'test', 'test_labels'
    arguments = dict(zip(names, random_problem(), strict=True)) | change
    with self.assertRaisesRegex(ValueError, message):
      mean_classifier(**arguments)

  def test_examples(self):
    self.assertEqual(doctest.testmod(module).failed, 0)
