"""Accuracies for many k and temperatures: equal to one vote at a time, top-5 and errors."""

import doctest
import importlib

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import evaluation
from ssl_jax.evaluation.neighbors import search
from ssl_jax.evaluation.neighbors.knn import knn_grid

KS, TEMPERATURES = (20, 1, 5), (0.05, 0.5)


# The package's own name of it is the function's.
module = importlib.import_module('ssl_jax.evaluation.neighbors.knn')


def random_problem(seed=0, bank=157, queries=45, dim=8, classes=9):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(classes, dim))
  labels, truth = rng.integers(0, classes, bank), rng.integers(0, classes, queries)
  return (
    (rng.normal(size=(bank, dim)) + centers[labels]).astype(np.float32),
    labels,
    (rng.normal(size=(queries, dim)) + centers[truth]).astype(np.float32),
    truth,
  )


class KnnGridTest(chex.TestCase):
  @parameterized.parameters((1024, None), (10, None), (16, 50))
  def test_equals_one_vote_at_a_time(self, chunk_size, bank_chunk_size):
    bank, labels, queries, truth = random_problem()
    grid = knn_grid(
      bank,
      labels,
      queries,
      truth,
      ks=KS,
      temperatures=TEMPERATURES,
      chunk_size=chunk_size,
      bank_chunk_size=bank_chunk_size,
    )
    for k, temperature, top1, top5 in grid.rows():
      options = {'k': k, 'temperature': temperature}
      self.assertEqual(top1, evaluation.knn_accuracy(bank, labels, queries, truth, **options))
      shares = evaluation.knn_scores(bank, labels, queries, **options)
      order = np.argsort(-shares, axis=1, kind='stable')[:, :5]
      voted = np.take_along_axis(shares, order, axis=1) > 0
      self.assertEqual(top5, np.mean(((order == truth[:, None]) & voted).any(axis=1)))
    chex.assert_shape([grid.top1, grid.top5], (3, 2))
    self.assertLess(grid.top1.max(), 1)
    self.assertTrue((grid.top5 >= grid.top1).all())

  def test_searches_once(self):
    bank, labels, queries, truth = random_problem(bank=143, dim=5)
    before = search._nearest._cache_size()
    knn_grid(bank, labels, queries, truth, ks=KS, temperatures=TEMPERATURES)
    self.assertEqual(search._nearest._cache_size(), before + 1)

  def test_a_class_without_a_vote_is_not_among_five(self):
    bank, labels = np.eye(6, dtype=np.float32), np.arange(6)
    grid = knn_grid(bank, labels, bank[:1], np.array([1]), ks=(1,), temperatures=(0.07,))
    self.assertEqual((grid.top1.item(), grid.top5.item()), (0, 0))
    grid = knn_grid(bank, labels, bank[:1], np.array([1]), ks=(2,), temperatures=(0.5,))
    self.assertEqual((grid.top1.item(), grid.top5.item()), (0, 1))

  def test_labels_nobody_in_the_bank_carries_are_wrong(self):
    bank, labels, queries, truth = random_problem()
    grid = knn_grid(bank, labels, queries, truth + 100, ks=(5,), temperatures=(0.07,))
    self.assertEqual((grid.top1.item(), grid.top5.item()), (0, 0))

  def test_no_top_five_below_five_classes(self):
    bank, labels, queries, truth = random_problem(classes=4)
    options = {'ks': (5,), 'temperatures': (0.07,)}
    self.assertIsNone(knn_grid(bank, labels, queries, truth, **options).top5)
    self.assertIsNotNone(knn_grid(bank, labels, queries, truth, **options, num_classes=5).top5)

  @parameterized.named_parameters(
    ('default_ks', {}, r'^ks: found 200, must be at most 157, the size of the bank'),
    ('k_zero', {'ks': (5, 0)}, r'^ks: found 0, must be a whole number >= 1'),
    ('no_ks', {'ks': ()}, r'^ks: found none'),
    ('temperature', {'ks': (5,), 'temperatures': (0.0,)}, r'^temperatures: found 0\.0, must be'),
    (
      'classes',
      {'ks': (5,), 'num_classes': 3},
      r'^num_classes: found 3, must be at least 9',
    ),
  )
  def test_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      knn_grid(*random_problem(), **options)

  def test_missing_labels(self):
    bank, labels, queries, truth = random_problem()
    with self.assertRaisesRegex(ValueError, r'^query_labels: found None'):
      knn_grid(bank, labels, queries, None, ks=(5,))
    with self.assertRaisesRegex(ValueError, r'^bank_labels: found None'):
      knn_grid(bank, None, queries, truth, ks=(5,))

  def test_examples(self):
    self.assertEqual(doctest.testmod(module).failed, 0)
