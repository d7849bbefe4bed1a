"""The chain of bounds: the worked examples, its order on random features, errors."""

import dataclasses

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import bound_chain, prototype_bias
from tests.analysis.features.bias_inputs import THREE_CLASSES, TWO_CLASSES, random_views

GOLDENS = {
  'two_classes': (
    TWO_CLASSES,
    {
      'attract_class_prototype': -0.8274317539995064,
      'attract_class_pairs': -0.6925233327109802,
      'attract_image_prototype': -0.9530856641416601,
      'attract_image_pairs': -0.9088197290534827,
      'squared_bias': 0.21629639634250258,
      'repel_hardest': 0.40802916192619465,
      'repel_soft_maximum': 0.40802916192619465,
      'repel_images': 0.43827039753346575,
      'repel_views': 0.4749626350861434,
      'repel_label_free': 0.9986364633205426,
    },
  ),
  'three_classes': (
    THREE_CLASSES,
    {
      'attract_class_prototype': -0.9383899487234443,
      'attract_class_pairs': -0.8812827765119184,
      'attract_image_prototype': -0.9638002194452128,
      'attract_image_pairs': -0.9292367457475542,
      'squared_bias': 0.047953969235635795,
      'repel_hardest': 0.4160491352161579,
      'repel_soft_maximum': 0.6678527275031222,
      'repel_images': 0.6773296283651516,
      'repel_views': 0.7032111446024363,
      'repel_label_free': 1.5292694563806786,
    },
  ),
}
SLACK = 1e-9


class BoundChainTest(chex.TestCase):
  @parameterized.named_parameters((name, name) for name in GOLDENS)
  def test_worked_example(self, name):
    (features, labels), expected = GOLDENS[name]
    found = bound_chain(features, labels, 2.0)
    for field, value in expected.items():
      self.assertAlmostEqual(getattr(found, field), value, places=12, msg=field)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 2, 10, 200]), st.sampled_from([0.5, 2]))
  def test_order(self, seed, sharpness, repel_weight):
    features, labels = random_views(seed)
    found = bound_chain(features, labels, sharpness, repel_weight=repel_weight)
    chex.assert_tree_all_finite(dataclasses.asdict(found))
    for names in (
      ('attract_class_prototype', 'attract_class_pairs'),
      ('attract_image_prototype', 'attract_image_pairs'),
      ('prototype_gap', 'prototype_gap_bound'),
      ('repel_hardest', 'repel_soft_maximum', 'repel_images', 'repel_views', 'repel_label_free'),
      ('supervised', 'bound'),
    ):
      values = [getattr(found, name) for name in names]
      self.assertGreaterEqual(np.min(np.diff(values)), -SLACK, names)
    # The two slacks that are known: of the soft maximum, and of a product of lengths below 1.
    slack = found.repel_soft_maximum - found.repel_hardest
    self.assertLessEqual(slack, np.log(2) / sharpness + SLACK)
    gap = found.attract_image_pairs - found.attract_image_prototype
    self.assertLessEqual(gap, 0.25 + SLACK)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1))
  def test_identities(self, seed):
    features, labels = random_views(seed)
    found, bias = bound_chain(features, labels, 3.0), prototype_bias(features, labels)
    pairs = found.attract_image_pairs + found.squared_bias
    self.assertAlmostEqual(found.attract_class_pairs, pairs, places=12)
    self.assertAlmostEqual(found.squared_bias, bias.squared, places=12)
    self.assertAlmostEqual(found.prototype_gap_bound, bias.unit_l2, places=12)
    # The loss needs no labels: it is the same under other ones.
    other = bound_chain(features, labels[::-1], 3.0)
    self.assertAlmostEqual(found.contrastive, other.contrastive, places=12)

  def test_contrastive_part_from_its_definition(self):
    features, labels = random_views(5)
    views = features / np.linalg.norm(features, axis=-1, keepdims=True)
    rows = views.reshape(-1, views.shape[-1])
    positives = np.mean(views @ np.swapaxes(views, 1, 2))
    repel = np.mean(np.log(np.mean(np.exp(4 * rows @ rows.T), axis=1))) / 4
    found = bound_chain(features, labels, 4.0, repel_weight=0.7)
    self.assertAlmostEqual(found.contrastive, -positives + 0.7 * repel, places=12)

  @parameterized.parameters(1, 5)
  def test_independent_of_chunk_size(self, chunk_size):
    features, labels = random_views(1)
    chex.assert_trees_all_close(
      dataclasses.asdict(bound_chain(features, labels, 5.0, chunk_size=chunk_size)),
      dataclasses.asdict(bound_chain(features, labels, 5.0)),
      rtol=1e-12,
    )

  def test_large_sharpness_and_zero_rows(self):
    features, labels = random_views(2)
    features[0] = 0
    found = bound_chain(features, labels, 1e4)
    chex.assert_tree_all_finite(dataclasses.asdict(found))
    self.assertAlmostEqual(found.repel_soft_maximum, found.repel_hardest, places=3)
    self.assertLessEqual(found.supervised, found.bound)

  @parameterized.named_parameters(
    ('sharpness', {'sharpness': 0.0}, r'^sharpness: found 0\.0, must be > 0 and finite$'),
    ('weight', {'repel_weight': -1}, r'^repel_weight: found -1'),
    ('chunk', {'chunk_size': 1.5}, r'^chunk_size: found 1\.5'),
    ('rank', {'features': np.ones((4, 3))}, r'^features: found shape \(4, 3\)'),
    ('single', {'labels': [1, 1, 1, 1]}, r'^labels: found the single class 1'),
  )
  def test_errors(self, changed, message):
    valid = {'features': TWO_CLASSES[0], 'labels': TWO_CLASSES[1], 'sharpness': 2.0}
    with self.assertRaisesRegex(ValueError, message):
      bound_chain(**(valid | changed))
