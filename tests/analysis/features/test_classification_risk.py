"""Risk of the mean classifier: the worked example, bounds on random features, errors."""

import dataclasses

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import classification_risk_bounds
from tests.analysis.features.bias_inputs import random_views

FEATURES = [
  [[2.0, 0], [2, 1]],
  [[1, -1], [1, 1]],
  [[-1, 0], [-2, 0]],
  [[-2, 2], [-1, 1]],
]
LABELS = [0, 0, 1, 1]


class ClassificationRiskTest(chex.TestCase):
  def test_worked_example(self):
    found = classification_risk_bounds(FEATURES, LABELS, 1.0)
    expected = {
      'augmentation_variance': 0.5,
      'instance_variance': 0.4375,
      'intra_class_variance': 0.9375,
      'view_pair_distance': 2.0,
      'class_mean_distance': np.sqrt(9.25),
      'lower_bound': 0.0100578323,
      'risk': 0.0246149003,
      'second_order_bound': 1.0940422073,
      'first_order_bound': 2.9548625797,
    }
    for name, value in expected.items():
      np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-10, err_msg=name)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1, 1, 10]))
  def test_bounds_hold(self, seed, temperature):
    features, labels = random_views(seed)
    found = classification_risk_bounds(features, labels, temperature)
    chex.assert_tree_all_finite(dataclasses.asdict(found))
    slack = 1e-9 * (1 + found.risk)
    self.assertLessEqual(found.lower_bound, found.risk + slack)
    self.assertLessEqual(found.risk, found.second_order_bound + slack)
    self.assertLessEqual(found.risk, found.first_order_bound + slack)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1))
  def test_definitions(self, seed):
    features, labels = random_views(seed)
    found = classification_risk_bounds(features, labels, 0.5)
    self.assertAlmostEqual(
      found.intra_class_variance, found.augmentation_variance + found.instance_variance, places=11
    )
    pairs = [np.sum((features[:, v] - features[:, w]) ** 2, 1) for v, w in ((0, 1), (0, 2), (1, 2))]
    self.assertAlmostEqual(found.view_pair_distance, np.mean(pairs), places=11)
    means = np.stack([features[labels == label].mean((0, 1)) for label in range(3)])
    apart = np.linalg.norm(means[:, None] - means, axis=-1)
    self.assertAlmostEqual(found.class_mean_distance, np.max(apart), places=11)
    logits = features @ means.T / 0.5
    own = np.take_along_axis(logits, labels[:, None, None], axis=-1)[..., 0]
    risk = np.mean(np.log(np.sum(np.exp(logits), axis=-1)) - own)
    self.assertAlmostEqual(found.risk, risk, places=10)

  def test_means_of_equal_length(self):
    # Then the lower bound depends on the distances of the means alone.
    features = np.repeat(np.eye(3)[:, None], 2, axis=1)
    found = classification_risk_bounds(features, [0, 1, 2], 0.5)
    self.assertAlmostEqual(found.lower_bound, np.log1p(2 * np.exp(-2 / (2 * 0.5))))
    self.assertAlmostEqual(found.risk, found.lower_bound)

  @parameterized.parameters(1, 4)
  def test_independent_of_chunk_size(self, chunk_size):
    features, labels = random_views(1)
    chex.assert_trees_all_close(
      dataclasses.asdict(classification_risk_bounds(features, labels, 1, chunk_size=chunk_size)),
      dataclasses.asdict(classification_risk_bounds(features, labels, 1)),
      rtol=1e-12,
    )

  @parameterized.named_parameters(
    ('temperature', {'temperature': -1.0}, r'^temperature: found -1\.0, must be >'),
    ('text', {'temperature': 'cold'}, r"^temperature: found 'cold'"),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0'),
    ('lengths', {'labels': [0, 1]}, r'^labels: found int64 of shape \(2,\), must .*\(4,\)'),
  )
  def test_errors(self, changed, message):
    valid = {'features': FEATURES, 'labels': LABELS, 'temperature': 1.0}
    with self.assertRaisesRegex(ValueError, message):
      classification_risk_bounds(**(valid | changed))
