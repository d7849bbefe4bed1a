"""Euclidean kNN: scikit-learn, a NumPy reference with ties, offsets, memory and errors."""

import doctest
import tracemalloc

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.neighbors import KNeighborsClassifier

from ssl_jax.evaluation.neighbors import euclidean_knn
from ssl_jax.evaluation.neighbors.euclidean_knn import euclidean_knn_predict


def random_problem(seed=0, bank=300, queries=45, dim=16, classes=7):
  rng = np.random.default_rng(seed)
  bank_labels = rng.integers(0, classes, bank)
  centers = rng.normal(size=(classes, dim))
  return (
    (rng.normal(size=(bank, dim)) + centers[bank_labels]).astype(np.float32),
    bank_labels,
    rng.normal(size=(queries, dim)).astype(np.float32),
  )


def grid_problem(seed, bank=300, queries=45):
  """Small whole numbers: copies, and many rows at the same distance."""
  rng = np.random.default_rng(seed)
  return (
    rng.integers(0, 3, (bank, 4)),
    rng.integers(0, 5, bank),
    rng.integers(0, 3, (queries, 4)),
  )


def reference(bank, labels, queries, k):
  """One query at a time, in float64, by a stable sort of all distances."""
  bank, predictions = np.float64(bank), []
  for query in np.float64(queries):
    order = np.argsort(np.sum((bank - query) ** 2, axis=1), kind='stable')
    predictions.append(np.argmax(np.bincount(labels[order[:k]])))
  return np.array(predictions)


class EuclideanKnnTest(chex.TestCase):
  @parameterized.product(
    k=(1, 5, 290, 300), division=({}, {'chunk_size': 7}, {'chunk_size': 20, 'bank_chunk_size': 64})
  )
  def test_equals_reference(self, k, division):
    bank, labels, queries = random_problem()
    found = euclidean_knn_predict(bank, labels, queries, k=k, **division)
    self.assertEqual(found.dtype, np.int32)
    np.testing.assert_array_equal(found, reference(bank, labels, queries, k))

  @parameterized.product(seed=(0, 1, 2), bank_chunk_size=(None, 50))
  def test_equals_reference_where_distances_tie(self, seed, bank_chunk_size):
    bank, labels, queries = grid_problem(seed)
    for k in (1, 5, 40):
      np.testing.assert_array_equal(
        euclidean_knn_predict(bank, labels, queries, k=k, bank_chunk_size=bank_chunk_size),
        reference(bank, labels, queries, k),
      )

  def test_ties_beyond_the_candidates_are_found(self):
    self.assertGreater(200, 5 + euclidean_knn._SPARE)
    bank, queries = np.full((200, 3), 0.1), np.full((2, 3), 0.3)
    labels = np.array([2] * 5 + [0] * 195)
    np.testing.assert_array_equal(euclidean_knn_predict(bank, labels, queries), [2, 2])
    np.testing.assert_array_equal(euclidean_knn_predict(bank[::-1], labels[::-1], queries), [0, 0])

  @parameterized.parameters(0, 1)
  def test_equals_scikit_learn(self, seed):
    bank, labels, queries = random_problem(seed)
    for k in (1, 5):
      reference = KNeighborsClassifier(k).fit(bank, labels)
      np.testing.assert_array_equal(
        euclidean_knn_predict(bank, labels, queries, k=k), reference.predict(queries)
      )

  @parameterized.parameters(1e-20, 1.0, 1e20)
  def test_offset_and_unit_do_not_matter(self, unit):
    bank, labels, queries = random_problem()
    expected = reference(bank, labels, queries, 5)
    # Without centering, float32 products would be wrong by more than all distances.
    moved = [(np.float64(rows) + 1e5) * unit for rows in (bank, queries)]
    np.testing.assert_array_equal(euclidean_knn_predict(moved[0], labels, moved[1]), expected)

  def test_near_rows_are_told_apart_at_a_distance(self):
    """A far query sees distances that float32 cannot tell apart."""
    bank, labels, queries = random_problem()
    away = np.float64(queries) + 1e6 * np.eye(16)[0]
    np.testing.assert_array_equal(
      euclidean_knn_predict(bank, labels, away), reference(bank, labels, away, 5)
    )
    # So far that float32 has no such number, and all distances are the same: the first five vote.
    found = euclidean_knn_predict(bank, labels, np.float64(queries) + 1e60)
    np.testing.assert_array_equal(found, np.full(45, np.argmax(np.bincount(labels[:5]))))

  def test_length_counts(self):
    bank, labels = np.array([[1.0, 0], [0, 10]]), np.array([0, 1])
    np.testing.assert_array_equal(euclidean_knn_predict(bank, labels, [[0.0, 3]], k=1), [0])

  def test_equal_votes_go_to_the_lowest_class(self):
    bank, query = np.array([[0.0], [1], [2], [3], [9]]), [[0.0]]
    np.testing.assert_array_equal(
      euclidean_knn_predict(bank, np.array([3, 1, 1, 3, 0]), query), [1]
    )

  def test_few_queries_are_searched_twice(self):
    bank, labels, queries = random_problem(bank=2000, dim=64)
    searched = []
    original = euclidean_knn._search_in_float64
    self.addCleanup(setattr, euclidean_knn, '_search_in_float64', original)
    euclidean_knn._search_in_float64 = lambda *arguments: (
      searched.append(len(arguments[1])) or original(*arguments)
    )
    euclidean_knn_predict(bank, labels, queries)
    self.assertEqual(sum(searched), 0)
    bank[:40] = bank[0]
    euclidean_knn_predict(bank, labels, bank[:1])
    self.assertEqual(sum(searched), 1)

  def test_memory_of_a_bank_in_parts(self):
    bank, labels, queries = random_problem(bank=20_000, queries=3, dim=64)
    self.addCleanup(setattr, euclidean_knn, '_READ', euclidean_knn._READ)
    euclidean_knn._READ = 2**16
    expected = euclidean_knn_predict(bank, labels, queries, bank_chunk_size=2000)
    tracemalloc.start()
    self.addCleanup(tracemalloc.stop)
    found = euclidean_knn_predict(bank, labels, queries, bank_chunk_size=2000)
    self.assertLess(tracemalloc.get_traced_memory()[1], bank.nbytes)
    np.testing.assert_array_equal(found, expected)

  @parameterized.named_parameters(
    ('k', {'k': 301}, r'^k: found 301, must be at most 300, the size of the bank'),
    ('labels', {'bank_labels': None}, r'^bank_labels: found None'),
    ('nan', {'queries': np.full((2, 16), np.nan)}, r'^queries: found NaN'),
    ('width', {'queries': np.ones((2, 5))}, r'^queries: found 5 features a row, must be 16'),
    ('chunk', {'bank_chunk_size': 0}, r'^bank_chunk_size: found 0'),
  )
  def test_errors(self, change, message):
    bank, labels, queries = random_problem()
    arguments = {'bank': bank, 'bank_labels': labels, 'queries': queries} | change
    with self.assertRaisesRegex(ValueError, message):
      euclidean_knn_predict(**arguments)

  def test_examples(self):
    self.assertEqual(doctest.testmod(euclidean_knn).failed, 0)
