"""k-means: blobs, the least inertia, repeatability, coinciding rows, errors."""

import warnings

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.metrics import adjusted_rand_score

from ssl_jax.analysis import kmeans


def blobs(seed=0, clusters=5, each=12, spread=0.2):
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(clusters), each)
  return 4 * np.eye(clusters)[labels] + spread * rng.normal(size=(len(labels), clusters)), labels


def inertia(rows, clusters):
  return sum(
    np.sum((rows[clusters == c] - rows[clusters == c].mean(0)) ** 2) for c in np.unique(clusters)
  )


class KmeansTest(chex.TestCase):
  def test_finds_blobs(self):
    rows, labels = blobs()
    found = kmeans(rows, 5)
    self.assertEqual((found.dtype, found.shape), (np.dtype(np.int64), labels.shape))
    self.assertEqual(adjusted_rand_score(labels, found), 1)
    self.assertEqual(set(found), set(range(5)))

  def test_the_best_of_all_partitions(self):
    rows = np.random.default_rng(1).normal(size=(9, 2))
    ways = [np.array([way >> bit & 1 for bit in range(9)]) for way in range(1, 2**8)]
    least = min(inertia(rows, way) for way in ways)
    self.assertAlmostEqual(inertia(rows, kmeans(rows, 2, restarts=50)), least, places=12)

  def test_a_fixed_point(self):
    # Every row lies with the mean it is closest to.
    rows = np.random.default_rng(2).normal(size=(80, 3))
    found = kmeans(rows, 7)
    means = np.stack([rows[found == cluster].mean(0) for cluster in range(7)])
    closest = np.argmin(np.linalg.norm(rows[:, None] - means, axis=-1), axis=1)
    np.testing.assert_array_equal(found, closest)

  def test_restarts_and_seed(self):
    rows = np.random.default_rng(3).normal(size=(120, 4))
    found = kmeans(rows, 12, seed=5)
    np.testing.assert_array_equal(kmeans(rows, 12, seed=5), found)
    single = [inertia(rows, kmeans(rows, 12, restarts=1, seed=seed)) for seed in range(6)]
    self.assertGreater(np.ptp(single), 0)
    self.assertLessEqual(inertia(rows, found), np.median(single))

  def test_rows_that_coincide(self):
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      self.assertEqual(set(kmeans(np.ones((6, 3)), 4)), {0})
      self.assertLen(set(kmeans(np.arange(4.0)[:, None], 4)), 4)

  @parameterized.named_parameters(
    ('many', {'clusters': 5}, r'^clusters: found 5, must be at most 4, the number of rows'),
    ('none', {'clusters': 0}, r'^clusters: found 0, must be a whole number >= 1'),
    ('restarts', {'restarts': 0}, r'^restarts: found 0'),
    ('iterations', {'max_iterations': 1.5}, r'^max_iterations: found 1\.5'),
    ('seed', {'seed': -1}, r'^seed: found -1'),
    ('large_seed', {'seed': 2**32}, r'^seed: found 4294967296, must be below'),
    ('nan', {'features': np.full((4, 3), np.nan)}, r'^features: found NaN'),
  )
  def test_errors(self, changed, message):
    with self.assertRaisesRegex(ValueError, message):
      kmeans(**({'features': np.ones((4, 3)), 'clusters': 2} | changed))
