"""Agreement of clusters and labels: the worked example, scikit-learn, errors."""

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ssl_jax.analysis import mutual_information_scores


class MutualInformationTest(chex.TestCase):
  def test_worked_example(self):
    found = mutual_information_scores([0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2, 0])
    expected = {
      'nmi': 0.5468828912,
      'ari': 0.3043478261,
      'mutual_information': 0.5623351446,
      'label_entropy': 1.0821955300,
      'cluster_entropy': 0.9743147529,
    }
    for name, value in expected.items():
      self.assertAlmostEqual(getattr(found, name), value, places=9, msg=name)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
  def test_equals_scikit_learn(self, seed, classes, parts):
    rng = np.random.default_rng(seed)
    labels, clusters = 7 * rng.integers(0, classes, 40), rng.integers(0, parts, 40)
    found = mutual_information_scores(labels, clusters)
    self.assertAlmostEqual(found.nmi, metrics.normalized_mutual_info_score(labels, clusters))
    self.assertAlmostEqual(found.ari, metrics.adjusted_rand_score(labels, clusters))
    self.assertAlmostEqual(found.mutual_information, metrics.mutual_info_score(labels, clusters))

  def test_equal_partitions(self):
    labels = np.random.default_rng(0).integers(0, 5, 50)
    found = mutual_information_scores(labels, (labels + 3) % 5)
    self.assertAlmostEqual(found.nmi, 1)
    self.assertEqual(found.ari, 1)

  def test_a_million_rows_do_not_overflow(self):
    labels = np.arange(1_000_000) % 2
    self.assertEqual(mutual_information_scores(labels, labels).ari, 1)
    self.assertAlmostEqual(mutual_information_scores(labels, labels // 2).ari, 0)

  @parameterized.named_parameters(
    ('none', None, [0], r'^labels: found None'),
    ('lengths', [0, 1], [0, 1, 1], r'^clusters: found int64 of shape \(3,\), must .*\(2,\)'),
    ('empty', np.zeros(0, int), np.zeros(0, int), r'^labels: found 0 labels'),
    ('real', [0, 1], [0.0, 1.0], r'^clusters: found float64'),
    ('negative', [0, -1], [0, 1], r'^labels: found -1'),
  )
  def test_errors(self, labels, clusters, message):
    with self.assertRaisesRegex(ValueError, message):
      mutual_information_scores(labels, clusters)
