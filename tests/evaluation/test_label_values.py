"""Labels that are no classes: -1 of an unlabeled row, and values that a type would cut."""

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import analysis, evaluation

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
VIEWS = np.stack([ROWS, ROWS[::-1]], axis=1)
GOOD = np.array([0, 1, 0, 1, 0, 1])
RECIPE = evaluation.ProbeRecipe((0.1,), epochs=1)
# Each takes the labels of six rows.
FUNCTIONS = {
  'knn_predict': lambda labels: evaluation.knn_predict(ROWS, labels, ROWS, k=2),
  'knn_scores': lambda labels: evaluation.knn_scores(ROWS, labels, ROWS, k=2),
  'knn_accuracy': lambda labels: evaluation.knn_accuracy(ROWS, GOOD, ROWS, labels, k=2),
  'knn_grid': lambda labels: evaluation.knn_grid(
    ROWS, labels, ROWS, GOOD, ks=(1,), temperatures=(0.1,)
  ),
  'euclidean_knn_predict': lambda labels: evaluation.euclidean_knn_predict(ROWS, labels, ROWS),
  'iccl_knn5': lambda labels: evaluation.iccl_knn5(ROWS, labels),
  'linear_probe': lambda labels: evaluation.linear_probe(ROWS, labels, ROWS, GOOD, recipe=RECIPE),
  'logistic_probe': lambda labels: evaluation.logistic_probe(ROWS, labels, ROWS, GOOD),
  'logistic_regression': lambda labels: evaluation.logistic_regression(ROWS, labels),
  'ridge_probe': lambda labels: evaluation.ridge_probe(ROWS, labels, ROWS, GOOD),
  'mean_classifier': lambda labels: evaluation.mean_classifier(ROWS, labels, ROWS, GOOD),
  'few_shot_episodes': lambda labels: evaluation.few_shot_episodes(
    ROWS, labels, ways=2, queries=1, episodes=2
  ),
  'stratified_subset': lambda labels: evaluation.stratified_subset(labels, 0.5),
  'class_report': lambda labels: evaluation.class_report(GOOD, labels),
  'clustering': lambda labels: evaluation.clustering(ROWS, labels),
  'collision_upper_bound': lambda labels: evaluation.collision_upper_bound(ROWS, ROWS, labels),
  'negative_sample_bounds': lambda labels: evaluation.negative_sample_bounds(
    VIEWS, labels, ROWS, ROWS[:2], batch_size=2
  ),
  'crowding': lambda labels: analysis.crowding(ROWS, labels),
  'clustering_scores': lambda labels: analysis.clustering_scores(labels, GOOD),
  'prototype_bias': lambda labels: analysis.prototype_bias(VIEWS, labels),
  'bound_chain': lambda labels: analysis.bound_chain(VIEWS, labels, 2.0),
  'similarity_histograms': lambda labels: analysis.similarity_histograms(VIEWS, labels),
  'cluster_granularity': lambda labels: analysis.cluster_granularity(ROWS, labels),
  'classification_risk_bounds': lambda labels: analysis.classification_risk_bounds(
    VIEWS, labels, 1.0
  ),
  'false_negative_audit': lambda labels: analysis.false_negative_audit(
    ROWS, ROWS, labels, batch_size=3, batches=2
  ),
}


class LabelValuesTest(chex.TestCase):
  @parameterized.parameters(*FUNCTIONS)
  def test_minus_one_is_refused(self, name):
    with self.assertRaisesRegex(ValueError, r'labels: found -1.*, must be .*(0 or greater|from 0)'):
      FUNCTIONS[name](np.where(np.arange(6) == 2, -1, GOOD))

  @parameterized.parameters(*FUNCTIONS)
  def test_values_beyond_a_type_are_refused_or_kept(self, name):
    for large in (np.uint64(2**63), np.int64(2**32)):
      labels = np.where(GOOD == 1, large, large.dtype.type(0))
      try:
        found = FUNCTIONS[name](labels)
      except ValueError as refused:
        self.assertRegex(str(refused), rf'labels?: found (0 to )?{large}, must be ')
      else:  # exactly as with the numbers 0 and 1
        self.assertEqual(str(found), str(FUNCTIONS[name](GOOD)))

  def test_identities_and_cameras_are_kept(self):
    ids = np.array([7, 7, 7 + 2**32, 7 + 2**32], np.int64)
    rows = np.eye(4, dtype=np.float32) + 1
    found = lambda ids: evaluation.retrieval_scores(rows, ids, rows, ids, query_rows=np.arange(4))
    chex.assert_trees_all_equal(
      found(ids).mean_average_precision, found(np.array([0, 0, 1, 1])).mean_average_precision
    )
    with self.assertRaisesRegex(
      ValueError, r'^query_ids: found 18446744073709551615, must be below'
    ):
      found(np.full(4, 2**64 - 1, np.uint64))
    with self.assertRaisesRegex(ValueError, r'^query_cameras: found .*, must be below 2\^63'):
      evaluation.retrieval_scores(
        *(rows, ids, rows, ids),
        query_cameras=np.full(4, 2**63, np.uint64),
        gallery_cameras=np.zeros(4, int),
      )

  def test_an_identity_is_no_class(self):
    labels = np.where(GOOD == 1, 2**31 - 2, 0)
    with self.assertRaisesRegex(ValueError, 'labels: found 2147483646, must be below 10,000,000'):
      evaluation.knn_predict(ROWS, labels, ROWS, k=2)

  @parameterized.parameters(np.uint64, np.int64)
  def test_counts(self, dtype):
    with self.assertRaisesRegex(
      ValueError, r'^class_counts: found .* images, must be at most 2\^53'
    ):
      analysis.coverage_probability(2, class_counts=np.array([2**62, 2**62], dtype))
    with self.assertRaisesRegex(ValueError, r'^train_counts: found 9223372036854775808, must be'):
      evaluation.class_report(GOOD, GOOD, train_counts=np.array([2**63, 1], np.uint64))
