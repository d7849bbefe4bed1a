"""Weighted kNN: worked examples, a NumPy reference, memory, compilations and errors."""

import tempfile
import tracemalloc

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax import evaluation
from ssl_jax.evaluation.neighbors import search

BANK = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.1, 0.9], [0.3, 0.7]])
BANK_LABELS = np.array([0, 0, 0, 1, 1, 1])
QUERIES = np.array([[0.6, 0.5], [0.45, 0.55]])


def random_problem(seed=0, bank=157, queries=45, dim=16, classes=7):
  rng = np.random.default_rng(seed)
  return (
    rng.normal(size=(bank, dim)).astype(np.float32),
    rng.integers(0, classes, bank),
    rng.normal(size=(queries, dim)).astype(np.float32),
    rng.integers(0, classes, queries),
  )


def over(devices):
  if devices is None:
    return None
  mesh = Mesh(np.asarray(jax.devices()[:devices]), ('data',))
  return NamedSharding(mesh, P('data'))


def reference_scores(bank, labels, queries, k, temperature, classes):
  """Vote shares in float64, one query at a time, by sorting."""
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  bank, queries = unit(np.float64(bank)), unit(np.float64(queries))
  scores = np.zeros((len(queries), classes))
  for row, query in enumerate(queries):
    similarities = bank @ query
    for index in np.argsort(-similarities, kind='stable')[:k]:
      scores[row, labels[index]] += np.exp(similarities[index] / temperature)
  return scores / scores.sum(1, keepdims=True)


class KnnTest(chex.TestCase):
  @parameterized.parameters(
    (3, [0.3861529699, 0.9191073344]),
    (5, [0.3817227132, 0.9033205852]),
  )
  def test_worked_example(self, k, class1_shares):
    shares = evaluation.knn_scores(BANK, BANK_LABELS, QUERIES, k=k)
    np.testing.assert_allclose(shares[:, 1], class1_shares, atol=1e-6)
    np.testing.assert_array_equal(
      evaluation.knn_predict(BANK, BANK_LABELS, QUERIES, k=k), np.array([0, 1], np.int32)
    )

  @parameterized.product(k=(1, 20, 157), temperature=(0.07, 1.0))
  def test_equals_numpy_reference(self, k, temperature):
    bank, labels, queries, query_labels = random_problem()
    expected = reference_scores(bank, labels, queries, k, temperature, 7)
    options = {'k': k, 'temperature': temperature}
    shares = evaluation.knn_scores(bank, labels, queries, **options)
    chex.assert_shape(shares, (45, 7))
    np.testing.assert_allclose(shares, expected, atol=1e-6 if temperature == 1 else 5e-6)
    predictions = evaluation.knn_predict(bank, labels, queries, **options)
    self.assertEqual(predictions.dtype, np.int32)
    np.testing.assert_array_equal(predictions, expected.argmax(1))
    self.assertAlmostEqual(
      evaluation.knn_accuracy(bank, labels, queries, query_labels, **options),
      np.mean(expected.argmax(1) == query_labels),
    )

  @parameterized.parameters(1, 7, 45, 1024)
  def test_independent_of_chunk_size(self, chunk_size):
    bank, labels, queries, _ = random_problem()
    expected = reference_scores(bank, labels, queries, 20, 0.07, 7)
    shares = evaluation.knn_scores(bank, labels, queries, k=20, chunk_size=chunk_size)
    np.testing.assert_allclose(shares, expected, atol=5e-6)
    indices, _ = evaluation.nearest_neighbors(bank, queries, 20, chunk_size=chunk_size)
    whole, _ = evaluation.nearest_neighbors(bank, queries, 20)
    np.testing.assert_array_equal(indices, whole)

  def test_neighbors_are_the_most_similar_in_order(self):
    bank, _, queries, _ = random_problem()
    indices, similarities = evaluation.nearest_neighbors(bank, queries, 9)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = unit(queries) @ unit(bank).T
    np.testing.assert_array_equal(indices, np.argsort(-expected, axis=1)[:, :9])
    np.testing.assert_allclose(similarities, -np.sort(-expected, axis=1)[:, :9], atol=1e-6)

  def test_scale_and_order_of_the_bank_do_not_matter(self):
    bank, labels, queries, _ = random_problem()
    expected = evaluation.knn_scores(bank, labels, queries, k=20)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(bank))
    scale = 10.0 ** rng.uniform(-30, 30, (len(bank), 1))
    scaled = (np.float64(bank) * scale).astype(np.float32)[order]
    shares = evaluation.knn_scores(scaled, labels[order], queries * np.float32(1e25), k=20)
    np.testing.assert_allclose(shares, expected, atol=5e-6)

  def test_equal_votes_go_to_the_lowest_class(self):
    bank = np.array([[1.0, 0.0], [0.0, 1.0]])
    for labels in ([3, 1], [1, 3]):
      predicted = evaluation.knn_predict(bank, np.array(labels), np.array([[1.0, 1.0]]), k=2)
      self.assertEqual(predicted.tolist(), [1])

  def test_zero_vectors_and_small_temperatures_stay_finite(self):
    bank, labels, queries, _ = random_problem()
    bank[0], queries[0] = 0, 0
    shares = evaluation.knn_scores(bank, labels, queries, k=20, temperature=1e-4)
    self.assertTrue(np.isfinite(shares).all())
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)

  @parameterized.parameters(jnp.bfloat16, jnp.float16, jnp.float32)
  def test_takes_device_arrays_of_any_float_dtype(self, dtype):
    bank, labels, queries, _ = random_problem()
    bank, queries = jnp.asarray(bank, dtype), jnp.asarray(queries, dtype)
    expected = reference_scores(np.asarray(bank), labels, np.asarray(queries), 20, 0.07, 7)
    shares = evaluation.knn_scores(bank, jnp.asarray(labels), queries, k=20)
    np.testing.assert_allclose(shares, expected, atol=5e-6)

  def test_raw_pixels_and_extra_classes(self):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 27), np.uint8)
    labels = np.arange(12) % 3
    shares = evaluation.knn_scores(pixels, labels, pixels, k=1, num_classes=5)
    chex.assert_shape(shares, (12, 5))
    np.testing.assert_array_equal(shares.argmax(1), labels)

  def test_compiles_once_for_all_chunks(self):
    bank, labels, queries, _ = random_problem(bank=61, queries=50, dim=5)
    before = search._nearest._cache_size()
    for count in (50, 33, 17):
      evaluation.knn_predict(bank, labels, queries[:count], k=11, chunk_size=16)
    self.assertEqual(search._nearest._cache_size(), before + 1)

  def test_memory_is_bounded_by_chunk_times_bank(self):
    def peak(chunk):
      lowered = search._nearest.lower(
        jax.ShapeDtypeStruct((20_000, 64), jnp.float32),
        jax.ShapeDtypeStruct((chunk, 64), jnp.float32),
        50,
      )
      return lowered.compile().memory_analysis().temp_size_in_bytes

    similarities = 128 * 20_000 * 4
    self.assertLess(peak(128), 2 * similarities + 20_000 * 64 * 4)
    self.assertGreater(peak(128), 3 * peak(32))

  def test_top_k_is_not_a_sort_of_whole_rows(self):
    bank, _, queries, _ = random_problem()
    if jax.default_backend() != 'cpu':
      self.skipTest('the name of the call is that of the CPU compiler')
    program = search._nearest.lower(bank, queries, 20).compile().as_text()
    self.assertIn('TopK', program)


class BankInPartsTest(chex.TestCase):
  @parameterized.product(bank_chunk_size=(10, 100, 1000), chunk_size=(7, 1024))
  def test_equals_the_whole_bank(self, bank_chunk_size, chunk_size):
    bank, labels, queries, query_labels = random_problem()
    division = {'bank_chunk_size': bank_chunk_size, 'chunk_size': chunk_size}
    expected = evaluation.nearest_neighbors(bank, queries, 20)
    found = evaluation.nearest_neighbors(bank, queries, 20, **division)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=3e-7)
    np.testing.assert_allclose(
      evaluation.knn_scores(bank, labels, queries, k=20, **division),
      reference_scores(bank, labels, queries, 20, 0.07, 7),
      atol=5e-6,
    )
    self.assertEqual(
      evaluation.knn_accuracy(bank, labels, queries, query_labels, k=20, **division),
      evaluation.knn_accuracy(bank, labels, queries, query_labels, k=20),
    )

  @parameterized.product(bank_chunk_size=(None, 25, 50), devices=(None, 4))
  def test_of_equals_the_earlier_row_comes_first(self, bank_chunk_size, devices):
    # Of length 4 all: similarities are whole sixteenths, exact in any order of summation.
    rng = np.random.default_rng(0)
    bank, queries = rng.choice([-1.0, 1.0], (120, 16)), rng.choice([-1.0, 1.0], (9, 16))
    bank[70:] = bank[:50]
    expected = np.argsort(-queries @ bank.T, axis=1, kind='stable')[:, :60]
    found, _ = evaluation.nearest_neighbors(
      bank, queries, 60, bank_chunk_size=bank_chunk_size, sharding=over(devices)
    )
    np.testing.assert_array_equal(found, expected)

  @parameterized.product(devices=(1, 4), bank_chunk_size=(None, 50), chunk_size=(10, 1024))
  def test_devices_share_the_queries(self, devices, bank_chunk_size, chunk_size):
    bank, labels, queries, _ = random_problem()
    options = {
      'sharding': over(devices),
      'bank_chunk_size': bank_chunk_size,
      'chunk_size': chunk_size,
    }
    expected, values = evaluation.nearest_neighbors(bank, queries, 20)
    indices, similarities = evaluation.nearest_neighbors(bank, queries, 20, **options)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(similarities, values, atol=3e-7)
    np.testing.assert_array_equal(
      evaluation.knn_predict(bank, labels, queries, k=20, **options),
      evaluation.knn_predict(bank, labels, queries, k=20),
    )

  def test_each_device_searches_for_its_own_queries(self):
    bank, _, queries, _ = random_problem(bank=300, queries=64)
    program = search._nearest.lower(bank, queries, 20, over(4)).compile().as_text()
    self.assertIn('f32[16,300]', program)
    self.assertNotIn('f32[64,300]', program)
    self.assertNotIn('all-gather', program)
    if jax.default_backend() == 'cpu':
      self.assertIn('TopK', program)

  def test_a_bank_in_a_file_is_read_part_by_part(self):
    bank, labels, queries, _ = random_problem(bank=40_000, queries=3, dim=32)
    file = self.enterContext(tempfile.TemporaryFile())
    stored = np.memmap(file, np.float32, 'w+', shape=bank.shape)
    stored[:] = bank
    options = {'k': 5, 'bank_chunk_size': 1000}
    expected = evaluation.knn_predict(bank, labels, queries, k=5)
    evaluation.knn_predict(stored, labels, queries, **options)
    tracemalloc.start()
    self.addCleanup(tracemalloc.stop)
    found = evaluation.knn_predict(stored, labels, queries, **options)
    self.assertLess(tracemalloc.get_traced_memory()[1], bank.nbytes / 2)
    np.testing.assert_array_equal(found, expected)
    stored[39_999, 3] = np.inf
    with self.assertRaisesRegex(ValueError, r'^bank: .* in 1 of 40000 rows .*row 39999'):
      evaluation.knn_predict(stored, labels, queries, **options)

  def test_memory_is_bounded_by_chunk_times_part(self):
    def peak(part):
      like = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
      compiled = search._nearest.lower(like(part, 64), like(128, 64), 50).compile()
      return compiled.memory_analysis().temp_size_in_bytes

    self.assertLess(peak(2_000), peak(20_000) / 5)

  def test_compiles_once_for_all_parts(self):
    bank, _, queries, _ = random_problem(bank=64, queries=32, dim=6)
    before = search._nearest._cache_size()
    evaluation.nearest_neighbors(bank, queries, 9, chunk_size=8, bank_chunk_size=16)
    self.assertEqual(search._nearest._cache_size(), before + 1)


class KnnErrorsTest(chex.TestCase):
  @parameterized.named_parameters(
    ('k_large', {'k': 500}, r'^k: found 500, must be at most 157, the size of the bank$'),
    ('k_zero', {'k': 0}, r'^k: found 0, must be a whole number >= 1'),
    ('temperature', {'temperature': 0.0}, r'^temperature: found 0\.0, must be .*greater than 0'),
    ('temperature_nan', {'temperature': float('nan')}, r'^temperature: found nan'),
    ('classes', {'num_classes': 3}, r'^num_classes: found 3, must be at least 7'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0'),
    ('bank_chunk', {'bank_chunk_size': 0}, r'^bank_chunk_size: found 0, must be a whole'),
    ('sharding', {'sharding': 'data'}, r'^sharding: found str, must be a NamedSharding'),
  )
  def test_options(self, options, message):
    bank, labels, queries, _ = random_problem()
    with self.assertRaisesRegex(ValueError, message):
      evaluation.knn_predict(bank, labels, queries, **({'k': 5} | options))

  def test_features(self):
    bank, labels, queries, _ = random_problem()
    broken = queries.copy()
    broken[3, 2] = np.nan
    for arguments, message in (
      ((bank, labels, broken), r'^queries: found NaN or infinite features in 1 of 45 rows .*row 3'),
      ((bank * np.inf, labels, queries), r'^bank: found NaN or infinite'),
      ((bank, labels, queries[:, :5]), r'^queries: found 5 features a row, must be 16'),
      ((bank[0], labels, queries), r'^bank: found shape \(16,\)'),
      ((bank, labels, queries[:0]), r'^queries: found shape \(0, 16\)'),
    ):
      with np.errstate(all='ignore'), self.assertRaisesRegex(ValueError, message):
        evaluation.knn_predict(*arguments, k=5)

  def test_sharding_splits_rows_alone(self):
    bank, labels, queries, _ = random_problem()
    columns = NamedSharding(over(4).mesh, P(None, 'data'))
    with self.assertRaisesRegex(ValueError, r'^sharding: .* must be split over the rows alone'):
      evaluation.knn_predict(bank, labels, queries, k=5, sharding=columns)

  def test_labels(self):
    bank, labels, queries, _ = random_problem()
    for bad, message in (
      (None, r'^bank_labels: found None'),
      (labels[:-1], r'^bank_labels: found int64 of shape \(156,\), must be .*\(157,\)'),
      (labels.astype(float), r'^bank_labels: found float64'),
      (labels - 1, r'^bank_labels: found -1, must be 0 or greater'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        evaluation.knn_predict(bank, bad, queries, k=5)
    with self.assertRaisesRegex(ValueError, r'^query_labels: found None'):
      evaluation.knn_accuracy(bank, labels, queries, None, k=5)
