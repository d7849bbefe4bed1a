"""Alignment and uniformity: the worked examples, their definitions, limits, memory, errors."""

import itertools
import tracemalloc

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import losses
from ssl_jax.analysis import alignment, uniformity
from tests.analysis.features.bias_inputs import random_views

BALANCED = np.array([[[1.0, 0, 0], [0, 2, 0], [1, 1, 1]], [[2, 1, 0], [0, 1, 1], [1, 0, 2]]])
CROWDED = np.array([[[1.0, 2], [2, 1], [-1, 1]], [[1, 1], [3, 1], [-2, 1]]])


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


class HypersphereTest(chex.TestCase):
  @parameterized.named_parameters(
    ('balanced', BALANCED, 0.4159129057, (-2.0475973865, -2.0518502899)),
    ('crowded', CROWDED, 0.0751226068, (-1.7537181958, -1.5114109625)),
  )
  def test_worked_examples(self, views, aligned, uniform):
    self.assertAlmostEqual(alignment(np.swapaxes(views, 0, 1)), aligned, places=9)
    for rows, expected in zip(views, uniform, strict=True):
      self.assertAlmostEqual(uniformity(rows), expected, places=9)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from([0.1, 2.0, 30.0]))
  def test_equal_definitions(self, seed, views, scale):
    features, _ = random_views(seed, views=views)
    rows = unit(features)
    pairs = itertools.combinations(range(views), 2)
    squared = [np.sum((rows[:, v] - rows[:, w]) ** 2, axis=-1) for v, w in pairs]
    self.assertAlmostEqual(alignment(features), np.mean(squared), places=12)
    apart = [np.sum((a - b) ** 2) for a, b in itertools.combinations(rows[:, 0], 2)]
    expected = np.log(np.mean(np.exp(-scale * np.array(apart))))
    self.assertAlmostEqual(uniformity(features[:, 0], scale=scale), expected, places=9)

  def test_limits(self):
    same = np.repeat(np.random.default_rng(0).normal(size=(5, 1, 3)), 3, axis=1)
    self.assertEqual(alignment(same), 0)
    self.assertAlmostEqual(alignment([[[2.0, 0], [-1, 0]]]), 4)
    self.assertEqual(uniformity(np.full((7, 3), 0.3)), 0)
    self.assertAlmostEqual(uniformity([[1.0, 0], [0, 1]], scale=5), -10)
    self.assertAlmostEqual(uniformity([[1.0, 0], [0, 1]], scale=1e6), -2e6)  # exp underflows

  def test_row_lengths_do_not_matter(self):
    features, _ = random_views(1)
    lengths = np.random.default_rng(0).uniform(0.1, 1e100, (*features.shape[:2], 1))
    self.assertAlmostEqual(alignment(features * lengths), alignment(features), places=12)
    found = uniformity((features * lengths)[:, 0])
    self.assertAlmostEqual(found, uniformity(features[:, 0]), places=12)

  def test_zero_rows_as_in_the_losses(self):
    self.assertEqual(alignment([[[0.0, 0], [3, 0]]]), 1)
    self.assertAlmostEqual(uniformity([[0.0, 0], [3, 0]]), -4)
    rows = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    rows[[2, 7]] = 0
    loss, _ = losses.uniformity(rows)
    np.testing.assert_allclose(uniformity(rows), loss, rtol=1e-6)
    self.assertAlmostEqual(uniformity(np.zeros((3, 2))), -4)

  @parameterized.parameters(1, 7, 30)
  def test_independent_of_chunk_size(self, chunk_size):
    rows = np.random.default_rng(2).normal(size=(30, 4))
    self.assertAlmostEqual(uniformity(rows, chunk_size=chunk_size), uniformity(rows), places=12)

  def test_memory_is_bounded_by_chunk_times_rows(self):
    rows = np.random.default_rng(0).normal(size=(3000, 32))
    tracemalloc.start()
    uniformity(rows, chunk_size=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertLess(peak, 4 * 32 * 3000 * 8 + 6 * rows.nbytes)

  @parameterized.named_parameters(
    ('rank', np.ones((4, 3)), r'^features: found shape \(4, 3\), must be \[image, v'),
    ('one_view', np.ones((4, 1, 3)), r'^features: found 1 view an image'),
    ('nan', np.full((4, 2, 3), np.nan), r'^features: found NaN .* in 4 of 4 rows'),
  )
  def test_errors_of_alignment(self, features, message):
    with self.assertRaisesRegex(ValueError, message):
      alignment(features)

  @parameterized.named_parameters(
    ('rank', {'features': np.ones((4, 2, 3))}, r'^features: found shape \(4, 2, 3\), must be \[n,'),
    ('one', {'features': np.ones((1, 3))}, r'^features: found 1 row, must be at least 2'),
    ('infinite', {'features': np.full((4, 3), np.inf)}, r'^features: found NaN or infinite'),
    ('scale', {'scale': 0}, r'^scale: found 0, must be > 0 and finite'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0, must be a whole number >= 1'),
  )
  def test_errors_of_uniformity(self, changed, message):
    with self.assertRaisesRegex(ValueError, message):
      uniformity(**({'features': np.ones((4, 3))} | changed))
