"""ICCL's KNN-5: the worked examples, a reference, its ceiling, duplicates, errors."""

import doctest

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import evaluation
from ssl_jax.evaluation.neighbors import iccl_knn

FEATURES = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.1, 0.9], [0.3, 0.7]])
LABELS = np.array([0, 0, 0, 1, 1, 1])
DEGREES = [0, 5, 9, 14, 20, 26, 60, 66, 71, 77, 83, 88]


def on_circle(degrees):
  angles = np.deg2rad(np.float64(degrees))
  return np.stack([np.cos(angles), np.sin(angles)], axis=1)


class IcclKnnTest(chex.TestCase):
  @parameterized.parameters((1, 0), (2, 0.5), (3, 0.6666666667))
  def test_worked_example(self, k, expected):
    self.assertAlmostEqual(evaluation.iccl_knn5(FEATURES, LABELS, k=k), expected, places=10)

  @parameterized.parameters((60, 0.8), (30, 0.7))
  def test_ceiling_and_a_neighbor_of_the_other_class(self, seventh, expected):
    degrees = [*DEGREES[:6], seventh, *DEGREES[7:]]
    found = evaluation.iccl_knn5(on_circle(degrees), np.repeat([0, 1], 6))
    self.assertAlmostEqual(found, expected, places=12)

  @parameterized.product(k=(2, 5, 60), chunk_size=(7, 1024))
  def test_equals_reference(self, k, chunk_size):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 6)), rng.integers(0, 4, 60)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    shares = []
    for i, similarities in enumerate(unit @ unit.T):
      others = [j for j in np.argsort(-similarities) if j != i][: k - 1]
      shares.append(np.sum(labels[others] == labels[i]) / k)
    found = evaluation.iccl_knn5(features, labels, k=k, chunk_size=chunk_size)
    self.assertAlmostEqual(found, np.mean(shares), places=12)

  def test_copies_do_not_lift_the_ceiling(self):
    # A row that its copies crowd out of its own neighbors still counts as one of them, and wrong.
    self.assertAlmostEqual(evaluation.iccl_knn5(np.ones((9, 3)), np.zeros(9, int)), 0.8)

  @parameterized.named_parameters(
    ('k', {'k': 7}, r'^k: found 7, must be at most 6, the number of rows$'),
    ('k_zero', {'k': 0}, r'^k: found 0'),
    ('none', {'labels': None}, r'^labels: found None'),
    ('short', {'labels': LABELS[:-1]}, r'^labels: found int64 of shape \(5,\), must .*\(6,\)'),
    (
      'nan',
      {'features': FEATURES * np.nan},
      r'^features: found NaN or infinite .*row 0',
    ),
    ('rank', {'features': FEATURES[0]}, r'^features: found shape \(2,\)'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0'),
  )
  def test_errors(self, changed, message):
    valid = {'features': FEATURES, 'labels': LABELS, 'k': 3}
    with self.assertRaisesRegex(ValueError, message):
      evaluation.iccl_knn5(**(valid | changed))

  def test_examples(self):
    self.assertEqual(doctest.testmod(iccl_knn).failed, 0)
