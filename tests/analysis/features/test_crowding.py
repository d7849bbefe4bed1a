"""Crowding metrics: the worked example, references, invariances, memory and errors."""

import dataclasses
import tracemalloc

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from ssl_jax.analysis import Crowding, crowding

FEATURES = np.array([[0, 0], [1, 0], [0, 1], [4, 0], [5, 1], [4, 2], [1, 5], [2, 5]])
LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2])
few_examples = settings(max_examples=20, deadline=None, derandomize=True)


def random_problem(seed=0, count=60, dim=5, classes=4):
  rng = np.random.default_rng(seed)
  labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
  return rng.normal(size=(count, dim)) + rng.normal(size=(classes, dim))[labels], labels


def reference(features, labels):
  """All metrics by their definitions, from loops over rows, pairs and classes."""
  features = np.float64(features)
  count, present = len(features), np.unique(labels)
  means = {label: features[labels == label].mean(0) for label in present}
  within = np.mean([np.sum((f - means[y]) ** 2) for f, y in zip(features, labels, strict=True)])
  pairs = [(a, b) for a in present for b in present if a < b]
  apart = [np.linalg.norm(means[a] - means[b]) for a, b in pairs]
  between = sum(
    np.mean(labels == label) * np.sum((means[label] - features.mean(0)) ** 2) for label in present
  )
  distances = np.linalg.norm(features[:, None] - features, axis=-1)
  same = labels[:, None] == labels
  off = ~np.eye(count, dtype=bool)
  silhouettes, first, five = [], [], []
  for i, own in enumerate(labels):
    order = [j for j in np.argsort(distances[i], kind='stable') if j != i]
    first.append(labels[order[0]] != own)
    five.append(np.argmax(np.bincount(labels[order[:5]])) == own)
    if np.sum(labels == own) == 1:
      silhouettes.append(0.0)
      continue
    a = np.mean(distances[i][same[i] & off[i]])
    b = min(np.mean(distances[i][labels == other]) for other in present if other != own)
    silhouettes.append((b - a) / max(a, b))
  return Crowding(
    intra_class_variance=within,
    inter_class_distance=np.mean(apart),
    inter_class_distance_squared=np.mean(np.square(apart)),
    crowding_ratio=within / np.mean(np.square(apart)),
    scatter_within=within,
    scatter_between=between,
    scatter_ratio=within / between,
    same_class_distance=np.mean(distances[same & off]),
    different_class_distance=np.mean(distances[~same]),
    distance_ratio=np.mean(distances[same & off]) / np.mean(distances[~same]),
    nearest_neighbor_error=np.mean(first),
    five_nn_accuracy=np.mean(five),
    silhouette=np.mean(silhouettes),
  )


class CrowdingTest(chex.TestCase):
  def assertMeters(self, found, expected, rtol=1e-11):
    for name, value in dataclasses.asdict(expected).items():
      np.testing.assert_allclose(getattr(found, name), value, rtol=rtol, atol=rtol, err_msg=name)

  def test_worked_example(self):
    found = crowding(FEATURES, LABELS)
    expected = {
      'intra_class_variance': 0.5625,
      'inter_class_distance': 4.5890928800,
      'inter_class_distance_squared': 21.2037037037,
      'crowding_ratio': 0.0265283843,
      'scatter_within': 0.5625,
      'scatter_between': 6.734375,
      'scatter_ratio': 0.0835266821,
      'same_class_distance': 1.3203772410,
      'different_class_distance': 4.5926491405,
      'distance_ratio': 0.2874979561,
      'nearest_neighbor_error': 0,
      'silhouette': 0.6926743277,
    }
    for name, value in expected.items():
      np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-9, err_msg=name)
    self.assertAlmostEqual(found.scatter_within + found.scatter_between, 7.296875, places=9)

  @parameterized.parameters(0, 1, 2)
  def test_equals_definitions(self, seed):
    features, labels = random_problem(seed)
    self.assertMeters(crowding(features, labels), reference(features, labels))

  @parameterized.parameters(3, 4, 5)
  def test_equals_definitions_where_distances_tie(self, seed):
    # Small whole numbers: many duplicates and equal distances, which rounding must not order.
    rng = np.random.default_rng(seed)
    grid, labels = rng.integers(0, 3, (40, 3)), rng.integers(0, 3, 40)
    expected = reference(grid, labels)
    self.assertMeters(crowding(grid, labels), expected, 1e-9)
    moved = crowding(grid * 0.1 + 7, labels)
    for name in ('nearest_neighbor_error', 'five_nn_accuracy', 'silhouette', 'crowding_ratio'):
      self.assertAlmostEqual(getattr(moved, name), getattr(expected, name), places=7, msg=name)

  @parameterized.parameters(0, 1)
  def test_silhouette_equals_scikit_learn(self, seed):
    features, labels = random_problem(seed, count=200, dim=8, classes=7)
    labels[labels == 6] = 5
    labels[0] = 6  # a class of one row
    expected = silhouette_score(features, labels)
    np.testing.assert_allclose(crowding(features, labels).silhouette, expected, rtol=1e-10)

  @parameterized.parameters(1, 7, 60)
  def test_independent_of_chunk_size(self, chunk_size):
    features, labels = random_problem()
    self.assertMeters(crowding(features, labels, chunk_size=chunk_size), crowding(features, labels))

  @few_examples
  @given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
  def test_invariances(self, seed, scale):
    features, labels = random_problem(seed, count=30)
    found = crowding(features, labels)
    order = np.random.default_rng(seed).permutation(30)
    names = (5 - labels) * 3  # other numbers in another order
    moved = crowding(scale * features[order] + 5, names[order])
    powers = {
      'intra_class_variance': 2,
      'scatter_within': 2,
      'scatter_between': 2,
      'inter_class_distance': 1,
      'inter_class_distance_squared': 2,
      'same_class_distance': 1,
      'different_class_distance': 1,
      'five_nn_accuracy': None,  # equal votes go to the smallest label
    }
    for name, value in dataclasses.asdict(found).items():
      power = powers.get(name, 0)
      if power is not None:
        np.testing.assert_allclose(getattr(moved, name), value * scale**power, rtol=1e-8, atol=1e-8)

  def test_normalize_brings_rows_to_unit_length(self):
    features, labels = random_problem()
    features[3] = 0
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-300)
    lengths = np.random.default_rng(1).uniform(0.1, 10, (len(features), 1))
    found = crowding(unit * lengths, labels, normalize=True)
    self.assertMeters(found, crowding(unit, labels))

  def test_majority_vote_goes_to_the_smallest_label(self):
    # Row 0 sees two rows of its own class, two of another and one of a third.
    features = np.array([[0.0], [1], [2], [3], [4], [5], [100], [101]])
    labels = np.array([0, 1, 1, 0, 0, 2, 2, 2])
    swapped = np.array([1, 0, 0, 1, 1, 2, 2, 2])
    found = [crowding(features, y).five_nn_accuracy for y in (labels, swapped)]
    self.assertEqual(found, [reference(features, y).five_nn_accuracy for y in (labels, swapped)])
    self.assertNotEqual(*found)

  def test_collapse(self):
    features, labels = np.full((12, 3), 0.1), np.arange(12) % 3
    found = crowding(features, labels)
    self.assertEqual(found.intra_class_variance, 0)
    self.assertEqual(found.crowding_ratio, np.inf)
    self.assertEqual(found.silhouette, 0)
    self.assertFalse(any(np.isnan(value) for value in dataclasses.asdict(found).values()))

  def test_takes_other_dtypes(self):
    features, labels = random_problem()
    half = features.astype(np.float16)
    self.assertMeters(crowding(half, labels), crowding(half.astype(np.float64), labels))
    self.assertEqual(crowding(FEATURES.tolist(), LABELS.tolist()), crowding(FEATURES, LABELS))

  def test_memory_is_bounded_by_chunk_times_rows(self):
    features, labels = random_problem(count=3000, dim=64, classes=10)
    tracemalloc.start()
    crowding(features, labels, chunk_size=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertLess(peak, 8 * 32 * 3000 * 8 + 6 * features.nbytes)

  @parameterized.named_parameters(
    ('nan', {'features': FEATURES * np.nan}, r'^features: found NaN .* in 8 of 8 rows .*row 0'),
    ('rank', {'features': FEATURES[None]}, r'^features: found shape \(1, 8, 2\), must be \[n, dim'),
    ('empty', {'features': FEATURES[:, :0]}, r'^features: found shape \(8, 0\)'),
    ('complex', {'features': FEATURES * 1j}, r'^features: found dtype complex128'),
    ('none', {'labels': None}, r'^labels: found None'),
    ('short', {'labels': LABELS[:-1]}, r'^labels: found int64 of shape \(7,\), must .*\(8,\)'),
    ('real', {'labels': LABELS * 1.0}, r'^labels: found float64'),
    ('negative', {'labels': LABELS - 1}, r'^labels: found -1, must be 0 or greater'),
    ('single', {'labels': LABELS * 0 + 4}, r'^labels: found the single class 4'),
    ('alone', {'labels': np.arange(8)}, r'^labels: found 8 classes in 8 rows'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0, must be a whole number >= 1'),
  )
  def test_errors(self, changed, message):
    with self.assertRaisesRegex(ValueError, message):
      crowding(**({'features': FEATURES, 'labels': LABELS} | changed))
