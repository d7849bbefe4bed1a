"""Under- and over-clustering: representations made to have either, the cosines, rules, errors."""

import dataclasses

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.analysis import cluster_granularity, clustering_scores, kmeans

CLASSES, EACH, DIM = 4, 20, 16
LABELS = np.repeat(np.arange(CLASSES), EACH)
POINTS = np.eye(DIM)


def features_of(directions, spread=0.02):
  """Rows near axes of space, one index of an axis a row."""
  noise = np.random.default_rng(0).normal(size=(len(directions), DIM))
  return POINTS[directions] + spread * noise


GOOD = features_of(LABELS)
MERGED = features_of(LABELS // 2)  # two classes coincide
SPLIT = features_of(2 * LABELS + np.arange(len(LABELS)) % 2)  # two groups in each class


def by_clusters(features):
  found = cluster_granularity(features, LABELS, factors=(0.5, 1, 2), restarts=3)
  return {row.clusters: row for row in found.rows}, found


class GranularityTest(chex.TestCase):
  def test_classes_that_are_clusters(self):
    rows, found = by_clusters(GOOD)
    self.assertEqual(list(rows), [2, 4, 8])
    for name in ('accuracy', 'purity', 'homogeneity', 'completeness', 'nmi', 'ari'):
      self.assertAlmostEqual(getattr(rows[4], name), 1, places=9, msg=name)
    self.assertLess(rows[2].homogeneity, 0.6)
    self.assertLess(rows[8].completeness, 0.9)
    self.assertGreater(found.same_class_cosine, 0.9)
    self.assertLess(abs(found.different_class_cosine), 0.05)

  def test_under_clustering(self):
    (good, better), (bad, found) = by_clusters(GOOD), by_clusters(MERGED)
    for clusters in (4, 8):
      self.assertLess(bad[clusters].homogeneity, good[clusters].homogeneity - 0.2)
      self.assertLess(bad[clusters].purity, good[clusters].purity - 0.2)
    self.assertGreater(found.different_class_cosine, better.different_class_cosine + 0.2)
    self.assertGreater(found.same_class_cosine, 0.9)

  def test_over_clustering(self):
    (good, better), (bad, found) = by_clusters(GOOD), by_clusters(SPLIT)
    self.assertLess(bad[4].completeness, good[4].completeness - 0.1)
    self.assertAlmostEqual(bad[8].homogeneity, 1, places=9)  # with enough clusters they are pure
    self.assertAlmostEqual(bad[8].completeness, 2 / 3, places=9)
    self.assertLess(found.same_class_cosine, better.same_class_cosine - 0.3)
    self.assertLess(abs(found.different_class_cosine), 0.05)

  def test_cosines_from_all_pairs(self):
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(20, 3)) + 1, rng.integers(0, 3, 20)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines, same = unit @ unit.T, labels[:, None] == labels
    for normalize in (True, False):
      found = cluster_granularity(features, labels, factors=(1,), restarts=1, normalize=normalize)
      self.assertAlmostEqual(
        found.same_class_cosine, np.mean(cosines[same & ~np.eye(20, dtype=bool)])
      )
      self.assertAlmostEqual(found.different_class_cosine, np.mean(cosines[~same]))

  @parameterized.parameters(True, False)
  def test_rows_are_scores_of_kmeans(self, normalize):
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(40, 3)), 5 * rng.integers(0, 4, 40)
    found = cluster_granularity(
      features, labels, factors=(2,), restarts=2, seed=3, normalize=normalize
    )
    if normalize:
      features = features / np.linalg.norm(features, axis=1, keepdims=True)
    clusters = kmeans(features, 8, restarts=2, seed=3)
    expected = dataclasses.asdict(clustering_scores(labels, clusters)) | {'clusters': 8}
    row = dataclasses.asdict(found.rows[0])
    inertia = sum(
      np.var(features[clusters == c], 0).sum() * np.sum(clusters == c) for c in range(8)
    )
    self.assertAlmostEqual(row.pop('inertia'), inertia, places=11)
    self.assertEqual(row, expected)

  def test_numbers_of_clusters(self):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(12, 2)), np.arange(12) % 3
    numbers = lambda factors: [
      row.clusters
      for row in cluster_granularity(features, labels, factors=factors, restarts=1).rows
    ]
    self.assertEqual(numbers((0.5, 1.0, 2.0, 10.0)), [2, 3, 6])  # 1.5 rounds up; 30 is left out
    self.assertEqual(numbers((4, 0.01, 1, 1.1)), [12, 1, 3])  # all rows, at least one, once each

  def test_inertia_falls_and_collapse_is_finite(self):
    rows, _ = by_clusters(np.random.default_rng(0).normal(size=(len(LABELS), 3)))
    self.assertGreater(rows[2].inertia, rows[4].inertia)
    self.assertGreater(rows[4].inertia, rows[8].inertia)
    rows, found = by_clusters(np.ones((len(LABELS), 3)))
    self.assertEqual((rows[4].accuracy, rows[4].inertia, rows[4].completeness), (0.25, 0, 1))
    self.assertAlmostEqual(found.same_class_cosine, 1)

  @parameterized.named_parameters(
    ('nan', {'features': GOOD * np.nan}, r'^features: found NaN .* in 80 of 80 rows'),
    ('none', {'labels': None}, r'^labels: found None'),
    ('single', {'labels': 0 * LABELS}, r'^labels: found the single class 0'),
    ('alone', {'labels': np.arange(80)}, r'^labels: found 80 classes in 80 rows'),
    ('factor', {'factors': (1, -1)}, r'^factors: found -1, must be > 0 and finite'),
    ('large', {'factors': (50,)}, r'^factors: found \[50\.0\], must be of at most 80'),
    ('no_factor', {'factors': ()}, r'^factors: found \[\], must be of at most'),
    ('restarts', {'restarts': 0}, r'^restarts: found 0'),
  )
  def test_errors(self, changed, message):
    with self.assertRaisesRegex(ValueError, message):
      cluster_granularity(**({'features': GOOD, 'labels': LABELS} | changed))
