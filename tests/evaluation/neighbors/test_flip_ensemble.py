"""Flip ensemble: the worked example in both forms, dtypes, errors."""

import doctest

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import evaluation
from ssl_jax.evaluation.neighbors import retrieval

ORIGINAL, FLIPPED = np.array([[3.0, 4, 0]]), np.array([[0.0, 6, 8]])


class FlipEnsembleTest(chex.TestCase):
  @parameterized.parameters(
    (False, [0.2280857764, 0.7602859213, 0.6082287370]),
    (True, [0.0570523696, 0.6465935220, 0.7606982611]),
  )
  def test_worked_example(self, released, expected):
    found = evaluation.flip_ensemble(ORIGINAL, FLIPPED, released=released)
    np.testing.assert_allclose(found, [expected], atol=1e-10)

  @parameterized.product(released=(False, True), dtype=(np.float16, np.float32, np.float64))
  def test_rows_are_independent_unit_vectors(self, released, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 5)).astype(dtype), rng.normal(size=(7, 5)).astype(dtype)
    found = evaluation.flip_ensemble(a, b, released=released)
    self.assertEqual(found.dtype, np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    for row in range(7):
      alone = evaluation.flip_ensemble(a[row : row + 1], b[row : row + 1], released=released)
      np.testing.assert_allclose(alone[0], found[row], rtol=1e-6)
    if not released:
      np.testing.assert_array_equal(found, evaluation.flip_ensemble(b, a))

  def test_opposite_features_stay_zero(self):
    for released in (False, True):
      found = evaluation.flip_ensemble([[0.6, 0.8]], [[-0.6, -0.8]], released=released)
      np.testing.assert_allclose(found, [[0, 0]], atol=1e-12)

  @parameterized.named_parameters(
    ('rank', ORIGINAL[0], FLIPPED[0], r'^features: found shape \(3,\), must be \[n, dim\]'),
    ('shape', ORIGINAL, FLIPPED[:, :2], r'^flipped_features: found shape \(1, 2\), must be \(1, 3'),
    ('nan', ORIGINAL, FLIPPED * np.nan, r'^flipped_features: found NaN or infinite .*row 0'),
  )
  def test_errors(self, features, flipped, message):
    with self.assertRaisesRegex(ValueError, message):
      evaluation.flip_ensemble(features, flipped)

  def test_examples(self):
    self.assertEqual(doctest.testmod(retrieval).failed, 0)
