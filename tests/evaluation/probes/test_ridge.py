"""Ridge classifier: scikit-learn, left-out rows by leaving them out, invariances, errors."""

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeCV

from ssl_jax.evaluation.probes import ridge as module
from ssl_jax.evaluation.probes.ridge import ridge_probe


def problem(count=60, dim=8, classes=4, seed=0):
  rng = np.random.default_rng(seed)
  labels = np.arange(count + 40) % classes
  features = 2 * rng.normal(size=(count + 40, dim)) + 3 * rng.normal(size=(classes, dim))[labels]
  return features[:count], labels[:count], features[count:] + 0.5, labels[count:]


SHAPES = ({'count': 60, 'dim': 8}, {'count': 20, 'dim': 50}, {'count': 20, 'dim': 20})


class RidgeProbeTest(chex.TestCase):
  @parameterized.product(shape=SHAPES, l2=(0.01, 1.0, 100.0))
  def test_equals_scikit_learn(self, shape, l2):
    train, labels, test, test_labels = problem(**shape)
    found = ridge_probe(train, labels, test, test_labels, l2=l2)
    reference = Ridge(l2).fit(train, np.eye(4)[labels])
    np.testing.assert_allclose(found.weights, reference.coef_.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.bias, reference.intercept_, rtol=1e-6, atol=1e-9)
    classifier = RidgeClassifier(l2).fit(train, labels)
    np.testing.assert_array_equal(found.predictions, classifier.predict(test))
    self.assertEqual(found.accuracy, classifier.score(test, test_labels))

  @parameterized.parameters(*SHAPES)
  def test_chooses_as_scikit_learn(self, **shape):
    data = problem(**shape)
    found = ridge_probe(*data)
    reference = RidgeCV(found.l2_grid, store_cv_results=True, alpha_per_target=False)
    reference.fit(data[0], np.eye(4)[data[1]])
    self.assertEqual(found.l2, reference.alpha_)
    expected = reference.cv_results_.mean((0, 1))
    well = found.l2_grid > 1e-4 * found.l2_grid.max()  # its own errors lose digits below
    np.testing.assert_allclose(found.left_out_errors[well], expected[well], rtol=1e-6)

  def test_left_out_rows_by_leaving_them_out(self):
    train, labels, test, test_labels = problem(count=25)
    found = ridge_probe(train, labels, test, test_labels, l2=3.0)
    errors, right = [], []
    for row in range(25):
      others = np.arange(25) != row
      reference = Ridge(3.0).fit(train[others], np.eye(4)[labels[others]])
      scores = reference.predict(train[[row]])[0]
      errors.append(np.mean((scores - np.eye(4)[labels[row]]) ** 2))
      right.append(scores.argmax() == labels[row])
    np.testing.assert_allclose(found.left_out_errors, [np.mean(errors)], rtol=1e-9)
    self.assertAlmostEqual(found.left_out_accuracy, np.mean(right))

  def test_test_labels_choose_nothing(self):
    train, labels, test, test_labels = problem()
    found = ridge_probe(train, labels, test, test_labels)
    other = ridge_probe(train, labels, test, test_labels + 20)
    self.assertEqual((other.l2, other.accuracy), (found.l2, 0))
    np.testing.assert_array_equal(found.predictions, other.predictions)

  @parameterized.parameters(1e-4, 1e4)
  def test_invariances(self, scale):
    train, labels, test, test_labels = problem()
    found = ridge_probe(train, labels, test, test_labels)
    names = np.array([3, 1, 0, 2])
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    move = lambda x: scale * (x @ rotation + 5)
    other = ridge_probe(move(train), names[labels], move(test), names[test_labels])
    np.testing.assert_array_equal(other.predictions, names[found.predictions])
    np.testing.assert_allclose(other.left_out_errors, found.left_out_errors, rtol=1e-5)
    np.testing.assert_allclose(other.l2, found.l2 * scale**2, rtol=1e-9)

  @parameterized.parameters(*SHAPES)
  def test_independent_of_blocks(self, **shape):
    data = problem(**shape)
    expected = ridge_probe(*data)
    before, module._READ = module._READ, 7 * shape['dim']
    self.addCleanup(setattr, module, '_READ', before)
    found = ridge_probe(*data)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(found.predictions, expected.predictions)

  def test_errors(self):
    train, labels, test, test_labels = problem()
    for arguments, options, message in (
      ((train, labels, test, test_labels), {'l2': 0.0}, r'^l2: found 0\.0, must be > 0'),
      ((train, labels, test, test_labels), {'l2': np.nan}, r'^l2: found nan'),
      ((train, labels, test, test_labels), {'num_classes': 3}, r'^num_classes: found 3'),
      ((train[:1], labels[:1], test, test_labels), {}, r'^train: found 1 row'),
      ((train * 0, labels, test, test_labels), {}, r'^train: found 60 equal rows'),
      ((train, labels, test[:, :3], test_labels), {}, r'^test: found 3 features a row'),
      ((train, labels[:3], test, test_labels), {}, r'^train_labels: found'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        ridge_probe(*arguments, **options)
