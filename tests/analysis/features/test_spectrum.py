"""Rank metrics of features: exact cases, the definitions, invariances, collapse, errors."""

import dataclasses

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import spectrum


def random_features(seed, count=40, dim=6):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, dim)) * rng.uniform(0.01, 3, dim) + rng.normal(size=dim)


def rotation(seed, dim):
  return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


class SpectrumTest(chex.TestCase):
  @parameterized.parameters(1, 2, 7, 64)
  def test_isotropic(self, dim):
    # Plus and minus each axis: the mean is zero, all directions are alike.
    found = spectrum(np.concatenate([np.eye(dim), -np.eye(dim)]) @ rotation(0, dim))
    self.assertAlmostEqual(found.effective_rank, dim, places=9)
    self.assertAlmostEqual(found.participation_ratio, dim, places=9)
    self.assertAlmostEqual(found.top_share, 1 / dim, places=12)
    np.testing.assert_allclose(found.rank_me, dim, rtol=1e-4)  # it adds 1e-7 to every share

  def test_rank_one(self):
    line = np.outer(np.random.default_rng(0).normal(size=50), np.arange(1.0, 17))
    found = spectrum(line)
    for name in ('effective_rank', 'participation_ratio', 'top_share'):
      self.assertAlmostEqual(getattr(found, name), 1, places=9, msg=name)
    np.testing.assert_allclose(found.rank_me, 1, rtol=1e-4)

  @parameterized.parameters(0, 1, 2)
  def test_equals_definitions(self, seed):
    features = random_features(seed)
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))
    shares = eigenvalues / np.sum(eigenvalues)
    singular = np.sqrt(np.linalg.eigvalsh(features.T @ features))
    plain = singular / np.sum(singular) + 1e-7
    found = spectrum(features)
    np.testing.assert_allclose(found.rank_me, np.exp(-np.sum(plain * np.log(plain))), rtol=1e-9)
    np.testing.assert_allclose(found.effective_rank, np.exp(-np.sum(shares * np.log(shares))))
    np.testing.assert_allclose(
      found.participation_ratio, np.sum(eigenvalues) ** 2 / np.sum(eigenvalues**2)
    )
    np.testing.assert_allclose(found.top_share, shares[-1])

  def test_small_singular_values_count(self):
    # The eigenvalues of the Gram matrix would be 1e-18, below its rounding of 1e-16.
    singular = np.array([1.0] + [1e-9] * 63)
    shares = singular / np.sum(singular) + 1e-7
    expected = np.exp(-np.sum(shares * np.log(shares)))
    features = rotation(0, 64) @ np.diag(singular) @ rotation(1, 64)
    self.assertAlmostEqual(spectrum(features).rank_me, expected, places=10)
    gram = np.sqrt(np.maximum(np.linalg.eigvalsh(features.T @ features), 0))
    self.assertGreater(np.max(np.abs(gram[:-1] - 1e-9)), 1e-9)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.sampled_from([1e-200, 1e-3, 50.0, 1e200]))
  def test_invariant_to_rotation_scale_and_order(self, seed, scale):
    features = random_features(seed)
    turned = scale * (features @ rotation(seed + 1, 6))[::-1]
    chex.assert_trees_all_close(
      dataclasses.asdict(spectrum(turned)), dataclasses.asdict(spectrum(features)), rtol=1e-9
    )

  def test_only_rank_me_sees_the_mean(self):
    features = random_features(3)
    found, moved = spectrum(features), spectrum(features + 100)
    for name in ('effective_rank', 'participation_ratio', 'top_share'):
      np.testing.assert_allclose(getattr(moved, name), getattr(found, name), rtol=1e-9)
    self.assertLess(moved.rank_me, found.rank_me / 2)

  def test_order_and_ranges(self):
    for seed in range(5):
      found = spectrum(random_features(seed, count=4))
      self.assertLessEqual(found.participation_ratio, found.effective_rank)
      self.assertLessEqual(found.effective_rank, 3 + 1e-9)  # four centered rows
      self.assertLessEqual(found.rank_me, 4 + 1e-4)

  @parameterized.parameters(0.0, 0.1, 1e30)
  def test_collapse(self, value):
    equal = np.full((12, 5), value)
    rounded = equal * (1 + 2e-16 * np.random.default_rng(0).integers(0, 2, equal.shape))
    for features in (equal, equal @ rotation(0, 5), rounded):
      found = spectrum(features)
      self.assertEqual(found.effective_rank, 1)
      self.assertEqual(found.participation_ratio, 1)
      self.assertEqual(found.top_share, 1)
      np.testing.assert_allclose(found.rank_me, 1, rtol=1e-4)

  def test_takes_other_shapes_and_dtypes(self):
    features = random_features(0).astype(np.float16)
    self.assertEqual(spectrum(features), spectrum(features.astype(np.float64)))
    chex.assert_tree_all_finite(dataclasses.asdict(spectrum([[3.0, 4.0]])))

  @parameterized.named_parameters(
    ('nan', np.full((4, 3), np.nan), r'^features: found NaN .* in 4 of 4 rows'),
    ('rank', np.ones((4, 2, 3)), r'^features: found shape \(4, 2, 3\), must be \[n, dim\]'),
    ('empty', np.ones((0, 3)), r'^features: found shape \(0, 3\)'),
    ('text', [['a', 'b']], r'^features: found dtype'),
  )
  def test_errors(self, features, message):
    with self.assertRaisesRegex(ValueError, message):
      spectrum(features)
