"""Histograms of cosines: every pair by hand, one view, collapse, memory, errors."""

import dataclasses
import itertools
import tracemalloc

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.analysis import cluster_granularity, similarity_histograms
from tests.analysis.features.bias_inputs import random_views

KINDS = ('same_image', 'same_class', 'other_class')


def pairs(features, labels):
  """The cosine of every pair of views, by kind."""
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
  found = {kind: [] for kind in KINDS}
  views = [(image, view) for image in range(len(unit)) for view in range(unit.shape[1])]
  for (i, v), (j, w) in itertools.combinations(views, 2):
    kind = 'same_image' if i == j else 'same_class' if labels[i] == labels[j] else 'other_class'
    found[kind].append(unit[i, v] @ unit[j, w])
  return found


class SimilarityHistogramsTest(chex.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_every_pair_counts_once(self, seed):
    features, labels = random_views(seed)
    found = similarity_histograms(features, labels, bins=17)
    np.testing.assert_allclose(found.edges, np.linspace(-1, 1, 18))
    for kind, cosines in pairs(features, labels).items():
      counts = getattr(found, kind)
      self.assertEqual(counts.dtype, np.int64)
      np.testing.assert_array_equal(counts, np.histogram(cosines, bins=found.edges)[0])
      self.assertAlmostEqual(getattr(found, f'{kind}_mean'), np.mean(cosines), places=12)
      self.assertAlmostEqual(getattr(found, f'{kind}_std'), np.std(cosines), places=12)

  @parameterized.parameters(1, 5, 26, 27)
  def test_independent_of_chunk_size(self, chunk_size):
    features, labels = random_views(4)
    chex.assert_trees_all_close(
      dataclasses.asdict(similarity_histograms(features, labels, chunk_size=chunk_size)),
      dataclasses.asdict(similarity_histograms(features, labels)),
      rtol=1e-12,
    )

  def test_one_view(self):
    features, labels = random_views(5, images=30)
    flat = similarity_histograms(features[:, 0], labels)
    chex.assert_trees_all_equal(
      dataclasses.asdict(similarity_histograms(features[:, :1], labels)), dataclasses.asdict(flat)
    )
    self.assertEqual(np.sum(flat.same_image), 0)
    self.assertTrue(np.isnan(flat.same_image_mean) and np.isnan(flat.same_image_std))
    self.assertEqual(np.sum(flat.same_class) + np.sum(flat.other_class), 30 * 29 // 2)
    cosines = cluster_granularity(features[:, 0], labels, factors=(1,), restarts=1)
    self.assertAlmostEqual(flat.same_class_mean, cosines.same_class_cosine, places=12)
    self.assertAlmostEqual(flat.other_class_mean, cosines.different_class_cosine, places=12)

  def test_densities_have_area_one(self):
    features, labels = random_views(6)
    found = similarity_histograms(features, labels, bins=8).densities()
    self.assertEqual(tuple(found), KINDS)
    for density in found.values():
      self.assertAlmostEqual(np.sum(density) * 0.25, 1, places=12)
    empty = similarity_histograms(features[:, 0], labels).densities()
    np.testing.assert_array_equal(empty['same_image'], np.zeros(100))

  def test_ends_of_the_range_and_zero_rows(self):
    views = [[[3.0, 0], [1, 0]], [[-2, 0], [0, 0]]]
    found = similarity_histograms(views, [0, 1], bins=2)
    np.testing.assert_array_equal(found.same_image, [0, 2])
    np.testing.assert_array_equal(found.other_class, [2, 2])  # cosine -1 twice, 0 twice
    np.testing.assert_array_equal(found.same_class, [0, 0])
    self.assertEqual((found.other_class_mean, found.other_class_std), (-0.5, 0.5))

  def test_collapse(self):
    found = similarity_histograms(np.full((30, 2, 7), 0.1), np.arange(30) % 3, chunk_size=7)
    for kind in KINDS:
      counts = getattr(found, kind)
      self.assertEqual(counts[-1], np.sum(counts))
      self.assertAlmostEqual(getattr(found, f'{kind}_mean'), 1, places=12)
      self.assertLess(getattr(found, f'{kind}_std'), 1e-12)

  def test_memory_is_bounded_by_chunk_times_rows(self):
    features = np.random.default_rng(0).normal(size=(1500, 2, 16))
    tracemalloc.start()
    similarity_histograms(features, np.arange(1500) % 5, chunk_size=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertLess(peak, 8 * 32 * 3000 * 8 + 6 * features.nbytes)

  @parameterized.named_parameters(
    ('nan', {'features': np.full((4, 2, 3), np.nan)}, r'^features: found NaN .* in 4 of 4 rows'),
    ('one_nan', {'features': np.full((4, 1, 3), np.nan)}, r'^features: found NaN .* in 4 of 4'),
    ('rank', {'features': np.ones(4)}, r'^features: found shape \(4,\), must be \[image, view'),
    ('none', {'labels': None}, r'^labels: found None'),
    ('single', {'labels': [2] * 4}, r'^labels: found the single class 2'),
    ('lengths', {'labels': [0, 1]}, r'^labels: found int64 of shape \(2,\), must .*\(4,\)'),
    ('bins', {'bins': 0}, r'^bins: found 0, must be a whole number >= 1'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0'),
  )
  def test_errors(self, changed, message):
    valid = {'features': np.ones((4, 2, 3)), 'labels': [0, 0, 1, 1]}
    with self.assertRaisesRegex(ValueError, message):
      similarity_histograms(**(valid | changed))
