"""Logistic regression: scikit-learn's optimum, the choice of the penalty, errors."""

import chex
import numpy as np
import pytest
from absl.testing import parameterized
from scipy.special import logsumexp
from sklearn import linear_model
from sklearn.datasets import load_digits

from ssl_jax.evaluation.probes.logistic_regression import logistic_probe, logistic_regression


def objective(weights, bias, features, labels, l2):
  scores = np.float64(features) @ weights + bias
  losses = logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels]
  return losses.sum() + 0.5 * l2 * np.sum(weights**2)


def digits():
  images, labels = load_digits(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(images))
  images, labels = images[order] / 16, labels[order]
  return images[:1200], labels[:1200], images[1200:], labels[1200:]


def blobs(count=90, dim=5, classes=3, seed=0):
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % classes
  return rng.normal(size=(count, dim)) + rng.normal(size=(classes, dim))[labels], labels


class LogisticRegressionTest(chex.TestCase):
  @parameterized.parameters(0.1, 1.0, 100.0)
  @pytest.mark.slow
  def test_digits_as_scikit_learn(self, l2):
    train, labels, test, test_labels = digits()
    reference = linear_model.LogisticRegression(C=1 / l2, tol=1e-6, max_iter=5000).fit(
      train, labels
    )
    found = logistic_regression(train, labels, l2=l2)
    self.assertTrue(found.converged)
    expected = objective(reference.coef_.T, reference.intercept_, train, labels, l2)
    np.testing.assert_allclose(found.objective, expected, rtol=1e-5)
    np.testing.assert_allclose(
      found.objective, objective(found.weights, found.bias, train, labels, l2), rtol=1e-10
    )
    accuracy = np.mean(found.predict(test) == test_labels)
    self.assertAlmostEqual(accuracy, reference.score(test, test_labels), delta=0.003)

  def test_weights_of_scikit_learn(self):
    features, labels = blobs()
    reference = linear_model.LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(
      features, labels
    )
    found = logistic_regression(features, labels, l2=2.0, tolerance=1e-9)
    np.testing.assert_allclose(found.weights, reference.coef_.T, atol=1e-5)
    centered = lambda bias: bias - bias.mean()
    np.testing.assert_allclose(centered(found.bias), centered(reference.intercept_), atol=1e-5)
    expected = reference.predict_log_proba(features)
    scores = found.scores(features)
    np.testing.assert_allclose(scores - logsumexp(scores, 1, keepdims=True), expected, atol=1e-5)

  def test_two_classes_are_scikit_learns_at_half_the_penalty(self):
    features, labels = blobs(classes=2)
    reference = linear_model.LogisticRegression(C=2.0, tol=1e-10, max_iter=5000).fit(
      features, labels
    )
    found = logistic_regression(features, labels, l2=1.0, tolerance=1e-9)
    between = found.weights[:, 1] - found.weights[:, 0]
    np.testing.assert_allclose(between, reference.coef_[0], atol=1e-5)

  def test_bias_is_free_and_float32_is_enough(self):
    features, labels = blobs()
    found = logistic_regression(features, labels)
    moved = logistic_regression(np.float32(features) + np.float32(3), labels)
    np.testing.assert_allclose(moved.weights, found.weights, atol=1e-4)
    np.testing.assert_array_equal(moved.predict(features + 3), found.predict(features))

  def test_classes_without_rows(self):
    features, labels = blobs()
    found = logistic_regression(features, labels, num_classes=5)
    chex.assert_shape(found.weights, (5, 5))
    self.assertLess(found.predict(features).max(), 3)

  def test_starts_near_and_says_when_it_stops_early(self):
    features, labels = blobs()
    found = logistic_regression(features, labels)
    again = logistic_regression(features, labels, start=found)
    self.assertLess(again.iterations, found.iterations)
    self.assertFalse(logistic_regression(features, labels, max_iterations=2).converged)

  @parameterized.parameters(
    ({'l2': 0.0}, r'^l2: found 0\.0, must be > 0'),
    ({'l2': float('nan')}, r'^l2: found nan'),
    ({'tolerance': 0.0}, r'^tolerance: found 0\.0'),
    ({'max_iterations': 0}, r'^max_iterations: found 0'),
    ({'num_classes': 2}, r'^num_classes: found 2, must be at least 3'),
  )
  def test_errors(self, options, message):
    features, labels = blobs()
    with self.assertRaisesRegex(ValueError, message):
      logistic_regression(features, labels, **options)
    with self.assertRaisesRegex(ValueError, '^train: found NaN'):
      logistic_regression(features * np.nan, labels)
    with self.assertRaisesRegex(ValueError, '^start: found weights of shape'):
      logistic_regression(features[:, :4], labels, start=logistic_regression(features, labels))
    with self.assertRaisesRegex(ValueError, '^features: found 4 features a row, must be 5'):
      logistic_regression(features, labels).predict(features[:, :4])


class LogisticProbeTest(chex.TestCase):
  def test_digits(self):
    train, labels, test, test_labels = digits()
    found = logistic_probe(train, labels, test, test_labels, l2_per_image=(1e-3, 1e-1))
    scaler = np.where(train.std(0) > 0, train.std(0), np.inf)
    scale = lambda x: (x - train.mean(0)) / scaler
    reference = linear_model.LogisticRegression(C=1 / found.l2, max_iter=5000)
    reference.fit(scale(train), labels)
    self.assertAlmostEqual(found.accuracy, reference.score(scale(test), test_labels), delta=0.003)
    self.assertEqual(found.accuracy, np.mean(found.predictions == test_labels))
    self.assertEqual(found.held_out_accuracy, found.grid_accuracies.max())
    self.assertTrue(found.converged)

  def test_test_labels_choose_nothing(self):
    features, labels = blobs()
    parts = features[:60], labels[:60], features[60:]
    found = logistic_probe(*parts, labels[60:])
    other = logistic_probe(*parts, (labels[60:] + 1) % 3)
    self.assertEqual(found.l2, other.l2)
    np.testing.assert_array_equal(found.grid_accuracies, other.grid_accuracies)
    np.testing.assert_array_equal(found.predictions, other.predictions)
    self.assertNotEqual(found.accuracy, other.accuracy)

  def test_scale_of_features_does_not_matter(self):
    features, labels = blobs()
    moved = features * np.geomspace(1e-3, 1e3, 5) + 7
    found = logistic_probe(features[:60], labels[:60], features[60:], labels[60:])
    again = logistic_probe(moved[:60], labels[:60], moved[60:], labels[60:])
    np.testing.assert_array_equal(found.predictions, again.predictions)

  def test_nothing_to_hold_out(self):
    features, labels = blobs()
    arguments = features[:3], labels[:3], features, labels
    found = logistic_probe(*arguments, l2_per_image=(1.0, 0.01, 0.1))
    self.assertIsNone(found.held_out_accuracy)
    self.assertAlmostEqual(found.l2, 0.3)
    with self.assertRaisesRegex(ValueError, r'^l2_per_image: found \(\)'):
      logistic_probe(*arguments, l2_per_image=())
    with self.assertRaisesRegex(ValueError, r'^l2_per_image: found 0\.0'):
      logistic_probe(*arguments, l2_per_image=(0.0,))
