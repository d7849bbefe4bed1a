"""Scores of clusters against classes: scikit-learn, all assignments, limits, errors."""

import dataclasses
import itertools

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ssl_jax.analysis import clustering_scores, mutual_information_scores

few_examples = settings(max_examples=25, deadline=None, derandomize=True)


def best_accuracy(labels, clusters, classes, parts):
  """Over all ways to give clusters to classes one to one, from the definition."""
  options = [*range(classes), *[-1] * parts]  # -1: the cluster stands for no class
  ways = set(itertools.permutations(options, parts))
  return max(np.mean(np.array(way)[clusters] == labels) for way in ways)


class ClusteringScoresTest(chex.TestCase):
  def test_worked_example(self):
    found = clustering_scores([0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2, 0])
    self.assertEqual(found.accuracy, 0.75)
    self.assertEqual(found.purity, 0.75)
    self.assertAlmostEqual(found.homogeneity, 0.5623351446 / 1.0821955300, places=9)
    self.assertAlmostEqual(found.completeness, 0.5623351446 / 0.9743147529, places=9)
    self.assertAlmostEqual(found.nmi, 0.5468828912, places=9)
    self.assertAlmostEqual(found.ari, 0.3043478261, places=9)

  @few_examples
  @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12))
  def test_equals_scikit_learn(self, seed, classes, parts):
    rng = np.random.default_rng(seed)
    labels, clusters = 7 * rng.integers(0, classes, 40), 3 * rng.integers(0, parts, 40)
    found = clustering_scores(labels, clusters)
    homogeneity, completeness, _ = metrics.homogeneity_completeness_v_measure(labels, clusters)
    table = metrics.cluster.contingency_matrix(labels, clusters)
    expected = {
      'purity': np.sum(np.max(table, axis=0)) / 40,
      'homogeneity': homogeneity,
      'completeness': completeness,
      'nmi': metrics.normalized_mutual_info_score(labels, clusters),
      'ari': metrics.adjusted_rand_score(labels, clusters),
    }
    for name, value in expected.items():
      self.assertAlmostEqual(getattr(found, name), value, delta=1e-9, msg=name)
    shared = mutual_information_scores(labels, clusters)
    self.assertEqual((found.nmi, found.ari), (shared.nmi, shared.ari))

  @few_examples
  @given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
  def test_accuracy_is_the_best_of_all_assignments(self, seed, classes, parts):
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(0, classes, 15), rng.integers(0, parts, 15)
    found = clustering_scores(labels, clusters)
    expected = best_accuracy(labels, clusters, classes, parts)
    self.assertAlmostEqual(found.accuracy, expected, places=12)
    self.assertLessEqual(found.accuracy, found.purity)

  def test_numbers_do_not_matter(self):
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 5, 60), rng.integers(0, 8, 60)
    found = dataclasses.asdict(clustering_scores(labels, clusters))
    renamed = clustering_scores((labels + 2) % 5 * 10, 9 - clusters)
    chex.assert_trees_all_close(dataclasses.asdict(renamed), found, rtol=1e-12)
    perfect = clustering_scores(labels, (labels + 3) % 5)
    for name, value in dataclasses.asdict(perfect).items():
      self.assertAlmostEqual(value, 1, places=12, msg=name)

  def test_split_and_merged_classes(self):
    labels = np.repeat(np.arange(4), 6)
    split = clustering_scores(labels, np.arange(24) // 3)  # two clusters a class
    self.assertEqual((split.accuracy, split.purity), (0.5, 1))
    self.assertAlmostEqual(split.homogeneity, 1)
    self.assertAlmostEqual(split.completeness, 2 / 3)
    merged = clustering_scores(labels, np.arange(24) // 12)  # two classes a cluster
    self.assertEqual((merged.accuracy, merged.purity), (0.5, 0.5))
    self.assertAlmostEqual(merged.homogeneity, 0.5)
    self.assertAlmostEqual(merged.completeness, 1)
    one = clustering_scores(labels, np.zeros(24, int))
    self.assertEqual((one.accuracy, one.homogeneity, one.completeness), (0.25, 0, 1))

  @parameterized.named_parameters(
    ('none', None, [0], r'^labels: found None'),
    ('no_clusters', [0], None, r'^clusters: found None'),
    ('lengths', [0, 1], [0, 1, 1], r'^clusters: found int64 of shape \(3,\), must .*\(2,\)'),
    ('empty', np.zeros(0, int), np.zeros(0, int), r'^labels: found 0 labels'),
    ('real', [0, 1], [0.0, 1.0], r'^clusters: found float64'),
  )
  def test_errors(self, labels, clusters, message):
    with self.assertRaisesRegex(ValueError, message):
      clustering_scores(labels, clusters)
