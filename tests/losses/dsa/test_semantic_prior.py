"""Prior similarity, its calibration and the anchor scores against golden values and definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.dsa.anchor_scores import anchor_scores
from ssl_jax.losses.dsa.semantic_prior import (
  calibrated_temperature,
  prior_similarity,
  update_temperature,
)
from tests.losses.dsa.goldens import PRIORS, S11, S12, S22, unit
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision

CIRCLE = unit(0, 5, 12, 26, 45, 50, 58, 80, 120, 200)
THIRD = 1 / 3
SCORES = {
  0: [1, 1, 1, 1, 2 * THIRD, 1, 1, 2 * THIRD, 0, 0],
  1: [THIRD, 2 * THIRD, 2 * THIRD, 2 * THIRD, 2 * THIRD, THIRD, THIRD, 0, 0, 0],
  2: [0] * 10,
}


def scores_by_definition(prior: np.ndarray, k: int, threshold: int) -> np.ndarray:
  """The adjacency matrix and its square, one image at a time."""
  prior = prior / np.linalg.norm(prior, axis=1, keepdims=True)
  cosines = prior @ prior.T
  np.fill_diagonal(cosines, -np.inf)
  adjacency = np.zeros(cosines.shape)
  for i, row in enumerate(cosines):
    adjacency[i, np.argsort(-row, kind='stable')[:k]] = 1
  walks = adjacency @ adjacency
  return np.array(
    [
      np.mean([walks[j, i] > threshold for j in np.flatnonzero(adjacency[i])])
      for i in range(len(prior))
    ]
  )


class PriorSimilarityTest(chex.TestCase):
  @parameterized.parameters((0, 0, S11), (1, 1, S22), (0, 1, S12), (1, 0, S12.T))
  def test_golden(self, a, b, expected):
    with jax.enable_x64(True):
      found = prior_similarity(PRIORS[a], PRIORS[b])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    single = prior_similarity(np.float32(PRIORS[a]), np.float32(PRIORS[b]))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-6)

  @parameterized.parameters(
    (0.5, 0.1353), (0.8, 0.2823), (0.9, 0.4088), (0.9399433733, 0.5), (0.95, 0.5313)
  )
  def test_similarity_of_a_cosine(self, cosine, expected):
    pair = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]])
    found = prior_similarity(pair, pair)[0, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)

  def test_no_gradient(self):
    grad = jax.grad(lambda p: jnp.sum(prior_similarity(p, 2 * p)))(jnp.asarray(PRIORS[0]))
    chex.assert_trees_all_equal(grad, jnp.zeros_like(grad))

  @pytest.mark.slow
  def test_stated_error_in_float32(self):
    """Of nearly equal rows: about 1e-7 / d, and 0 below 1.4e-3; none of a row and itself."""
    random = np.random.default_rng(0)
    base = random.normal(size=(1, 16))
    for spread in (1e-1, 1e-2, 1e-3, 1e-6):
      prior = np.float32(base + spread * random.normal(size=(24, 16)))
      with jax.enable_x64(True):
        exact = -np.log(prior_similarity(np.float64(prior), np.float64(prior), temperature=1))
      found = -np.log(prior_similarity(prior, prior, temperature=1))
      np.testing.assert_array_equal(np.diag(found), 0)
      bound = np.where(exact < 1.5e-3, 1.01 * exact, 4e-7 / np.maximum(exact, 1e-3)) + 1e-6
      np.testing.assert_array_less(np.abs(found - exact), bound)
    np.testing.assert_array_equal(found, 0)  # the last ones are closer than that


class AnchorScoresTest(chex.TestCase):
  @by_precision(threshold=list(SCORES), block_size=(None, 4), dtype=(np.float64, np.float32))
  def test_golden(self, threshold, block_size, dtype):
    options = {'num_neighbors': 3, 'threshold': threshold, 'block_size': block_size}
    with jax.enable_x64(dtype is np.float64):
      found = anchor_scores(CIRCLE.astype(dtype), **options)
    assert_golden(found, SCORES[threshold], dtype, 1e-10)

  @parameterized.parameters((5, 3, 1.0), (5, 4, 0.0))
  def test_clique(self, k, threshold, expected):
    """Each of k + 1 equally near points is reached in k - 1 walks."""
    prior = np.concatenate([np.eye(12)[:6] + 3, np.eye(12)[6:] - 3])
    found = anchor_scores(np.float32(prior), num_neighbors=k, threshold=threshold)
    np.testing.assert_array_equal(found, expected)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(seed=st.integers(0, 2**32 - 1))
  def test_definition_and_permutation(self, seed):
    random = np.random.default_rng(seed)
    prior, order = random.normal(size=(20, 3)), random.permutation(20)
    with jax.enable_x64(True):
      found, permuted = _scores(prior), _scores(prior[order])
    np.testing.assert_allclose(found, scores_by_definition(prior, 4, 1), atol=1e-15)
    np.testing.assert_array_equal(permuted, found[order])

  def test_duplicates_do_not_count_as_the_image_itself(self):
    """Two identical images are each other's nearest neighbor, and no one's of themselves."""
    prior = np.repeat(unit(0, 90, 180), 2, axis=0).astype(np.float32)
    np.testing.assert_array_equal(anchor_scores(prior, num_neighbors=1, threshold=0), 0)
    np.testing.assert_array_equal(
      anchor_scores(np.concatenate([prior, prior[:1]]), num_neighbors=2, threshold=0)[
        np.array([0, 1, 6])
      ],
      1,
    )

  def test_groups_see_nothing_of_each_other(self):
    prior = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    apart = np.concatenate([_scores(x) for x in np.split(prior, 3)])
    together = jax.jit(lambda x: anchor_scores(x, num_neighbors=4, group_size=8))(prior)
    np.testing.assert_array_equal(together, apart)
    assert 0 < np.mean(apart) < 1


class CalibrationTest(chex.TestCase):
  def test_is_the_quantile_of_distances(self):
    prior = np.random.default_rng(0).normal(size=(12, 4))
    prior /= np.linalg.norm(prior, axis=1, keepdims=True)
    first, second = np.triu_indices(12, 1)
    distances = np.linalg.norm(prior[first] - prior[second], axis=1)
    both = np.concatenate([distances, distances])  # (i, j) and (j, i)
    quantiles = (0.05, 0.1, 0.5)

    @jax.jit
    def calibrate(prior):
      found = [calibrated_temperature(prior, quantile=x) for x in quantiles]
      return [(x, prior_similarity(prior, prior, temperature=x)) for x in found]

    with jax.enable_x64(True):
      results = jax.device_get(calibrate(prior))
    for quantile, (found, similar) in zip(quantiles, results, strict=True):
      np.testing.assert_allclose(found, np.quantile(both, quantile) / np.log(2), rtol=1e-12)
      share = np.mean(similar[first, second] > 0.5)
      self.assertLess(abs(share - quantile), 1 / len(first) + 1e-12)

  def test_mean_over_groups(self):
    prior = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    apart = [calibrated_temperature(x) for x in np.split(prior, 2)]
    np.testing.assert_allclose(
      calibrated_temperature(prior, group_size=6), np.mean(apart), rtol=1e-6
    )

  def test_one_group_is_in_memory_at_a_time(self):
    def bytes_of(batch):
      calibrate = jax.jit(lambda prior: calibrated_temperature(prior, group_size=256))
      program = calibrate.lower(jax.ShapeDtypeStruct((batch, 16), jnp.float32)).compile()
      return program.memory_analysis().temp_size_in_bytes

    rows = (4096 - 256) * 16 * 4
    self.assertLess(bytes_of(4096) - bytes_of(256), 2 * rows)
    self.assertGreater(bytes_of(256), 256**2 * 4)  # of a group's distances

  def test_collapsed_prior(self):
    np.testing.assert_allclose(calibrated_temperature(jnp.zeros((4, 3))), 1e-3, rtol=1e-6)

  def test_moving_average(self):
    average = jnp.zeros(())
    for current in (2.0, 4.0, 1.0):
      average = update_temperature(average, current, decay=0.5)
    np.testing.assert_allclose(average, ((2 + 4) / 2 + 1) / 2)
    with self.assertRaisesRegex(ValueError, 'decay: found 1.5, must be from 0 to 1'):
      update_temperature(average, 1.0, decay=1.5)
    with self.assertRaisesRegex(ValueError, 'current: found None, must be >= 0'):
      update_temperature(average, None)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('neighbors', {'num_neighbors': 10}, 'num_neighbors: found 10 in a group of 10, .* most 9'),
    ('group_neighbors', {'num_neighbors': 5, 'group_size': 5}, 'found 5 in a group of 5, .* 4'),
    ('no_neighbors', {'num_neighbors': 0}, 'num_neighbors: found 0, must be a whole number >= 1'),
    ('threshold', {'num_neighbors': 2, 'threshold': -1}, 'threshold: found -1, must be a whole'),
    ('group', {'group_size': 4}, 'group_size: found 4, must be a divisor of the batch, 10'),
    ('block', {'num_neighbors': 2, 'block_size': 0}, 'block_size: found 0, must be a whole'),
  )
  def test_scores(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      anchor_scores(CIRCLE, **options)

  def test_others(self):
    with self.assertRaisesRegex(ValueError, r'prior_b: found shape \(2, 2\), must be \(3, 2\)'):
      prior_similarity(PRIORS[0], PRIORS[1][:2])
    with self.assertRaisesRegex(ValueError, 'temperature: found 0, must be > 0'):
      prior_similarity(*PRIORS, temperature=0)
    with self.assertRaisesRegex(ValueError, 'quantile: found 1, must be > 0 and < 1'):
      calibrated_temperature(PRIORS[0], quantile=1)
    with self.assertRaisesRegex(ValueError, 'prior_a: found 1 image, must be at least 2'):
      prior_similarity(PRIORS[0][:1], PRIORS[1][:1])
    with self.assertRaisesRegex(ValueError, 'prior: found 1 image, must be at least 2'):
      anchor_scores(PRIORS[0][:1], num_neighbors=1)


_scores = jax.jit(lambda prior: anchor_scores(prior, num_neighbors=4))
