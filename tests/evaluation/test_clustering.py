"""Clustering of features: scikit-learn's scores, planted clusters, repeatability and errors."""

import doctest
import importlib
import itertools
import math

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.cluster import KMeans
from sklearn.metrics import (
  adjusted_rand_score,
  normalized_mutual_info_score,
  silhouette_score,
)

from ssl_jax.evaluation.clustering import clustering

# The package's own name of it is the function's.
module = importlib.import_module('ssl_jax.evaluation.clustering')


def random_problem(seed=0, count=150, dim=6, classes=4, noise=0.7):
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % classes
  return rng.normal(size=(classes, dim))[labels] + noise * rng.normal(size=(count, dim)), labels


def unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class ClusteringTest(chex.TestCase):
  @parameterized.product(normalize=(True, False), clusters=(None, 7))
  def test_equals_scikit_learn(self, normalize, clusters):
    features, labels = random_problem()
    found = clustering(features, labels, normalize=normalize, clusters=clusters)
    rows = unit(features) if normalize else features
    reference = KMeans(clusters or 4, n_init=10, random_state=0).fit(rows)
    self.assertEqual(found.clusters, clusters or 4)
    self.assertAlmostEqual(found.inertia, reference.inertia_, places=6)
    assigned = found.assignments
    self.assertAlmostEqual(adjusted_rand_score(reference.labels_, assigned), 1)
    self.assertAlmostEqual(found.nmi, normalized_mutual_info_score(labels, assigned), places=9)
    self.assertAlmostEqual(found.ari, adjusted_rand_score(labels, assigned), places=9)
    self.assertAlmostEqual(found.silhouette, silhouette_score(rows, assigned), delta=1e-6)

  def test_accuracy_is_that_of_the_best_matching(self):
    features, labels = random_problem(noise=1.2)
    found = clustering(features, labels)
    best = max(
      np.mean(np.array(names)[found.assignments] == labels)
      for names in itertools.permutations(range(4))
    )
    self.assertAlmostEqual(found.accuracy, best)
    self.assertBetween(found.accuracy, 0.3, 0.95)

  def test_planted_clusters_are_found(self):
    features, labels = random_problem(noise=0.01)
    found = clustering(features, labels * 3 + 1)
    self.assertEqual((found.accuracy, found.clusters), (1, 4))
    self.assertAlmostEqual(found.ari, 1)
    self.assertGreater(found.silhouette, 0.9)

  def test_repeats_itself(self):
    features, labels = random_problem(noise=1.5)
    first, again = (clustering(features, labels, clusters=9, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.assignments, again.assignments)
    self.assertEqual(first.silhouette, again.silhouette)

  def test_normalize_forgets_lengths(self):
    features, labels = random_problem()
    lengths = np.random.default_rng(1).uniform(0.1, 10, (len(features), 1))
    expected, found = clustering(features, labels), clustering(features * lengths, labels)
    np.testing.assert_array_equal(found.assignments, expected.assignments)

  def test_silhouette_of_some_rows(self):
    features, labels = random_problem()
    whole = clustering(features, labels, silhouette_rows=None).silhouette
    part = clustering(features, labels, silhouette_rows=75).silhouette
    self.assertEqual(clustering(features, labels, silhouette_rows=150).silhouette, whole)
    self.assertNotEqual(part, whole)
    self.assertAlmostEqual(part, whole, delta=0.1)

  def test_a_single_cluster_has_no_silhouette(self):
    features, labels = random_problem()
    found = clustering(features, labels, clusters=1)
    self.assertTrue(math.isnan(found.silhouette))
    self.assertAlmostEqual(found.accuracy, 38 / 150)

  @parameterized.named_parameters(
    ('no_labels', {'labels': None}, r'^labels: found None'),
    ('short', {'labels': np.zeros(3, int)}, r'^labels: found int64 of shape \(3,\)'),
    ('nan', {'features': np.full((150, 6), np.nan)}, r'^features: found NaN'),
    ('clusters', {'clusters': 151}, r'^clusters: found 151, must be at most 150'),
    ('none', {'clusters': 0}, r'^clusters: found 0, must be a whole number >= 1'),
    ('rows', {'silhouette_rows': 0}, r'^silhouette_rows: found 0'),
    ('restarts', {'restarts': 0}, r'^restarts: found 0'),
  )
  def test_errors(self, change, message):
    arguments = dict(zip(('features', 'labels'), random_problem(), strict=True)) | change
    with self.assertRaisesRegex(ValueError, message):
      clustering(**arguments)

  def test_examples(self):
    self.assertEqual(doctest.testmod(module).failed, 0)
