"""Prototype representation bias: the worked example, identities, the estimator, errors."""

import dataclasses
import itertools

import chex
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.analysis import prototype_bias
from tests.analysis.features.bias_inputs import THREE_CLASSES, TWO_CLASSES, random_views

few_examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def pair_form(features, labels):
  """For each class: similarity of views of one image, minus that of views of different images."""
  views = unit(np.float64(features))
  found = {}
  for label in np.unique(labels):
    images = views[labels == label]
    same = [a @ b for image in images for a, b in itertools.permutations(image, 2)]
    other = [a @ b for x, y in itertools.permutations(images, 2) for a in x for b in y]
    if other:
      found[label] = np.mean(same) - np.mean(other)
  return found


class PrototypeBiasTest(chex.TestCase):
  def test_worked_example(self):
    found = prototype_bias(*TWO_CLASSES)
    expected = {
      'squared': 0.21629639634250258,
      'l2': 0.4373005580586521,
      'unit_l2': 0.4797942956573437,
      'cosine': 0.13244443529530575,
      'augmentation_variance': 0.09118027094651716,
      'class_energy': 0.6925233327109802,
      'instance_energy': 0.9088197290534828,
      'squared_unbiased': 0.3414125217384879,
    }
    for name, value in expected.items():
      # Balanced classes: every image and every class weigh the same.
      self.assertAlmostEqual(getattr(found, name), value, places=12, msg=name)
      self.assertAlmostEqual(getattr(found.macro, name), value, places=12, msg=name)
    self.assertEqual(found.single_image_classes, 0)

  @few_examples
  @given(seeds)
  def test_identities(self, seed):
    features, labels = random_views(seed)
    found = prototype_bias(features, labels)
    for part in (found, found.macro):
      total = part.augmentation_variance + part.squared + part.class_energy
      self.assertAlmostEqual(total, 1, places=12)
      self.assertAlmostEqual(part.instance_energy, part.class_energy + part.squared, places=12)
      self.assertGreaterEqual(part.share, 0)
      self.assertLessEqual(part.share, 1)
      self.assertLessEqual(part.l2**2, part.squared + 1e-12)
    mean = unit(features).mean((0, 1))
    variance = found.squared + found.class_energy - mean @ mean
    self.assertAlmostEqual(found.share, found.squared / variance, places=9)

  @few_examples
  @given(seeds)
  def test_unbiased_form_equals_pair_form(self, seed):
    features, labels = random_views(seed)
    by_class = pair_form(features, labels)
    counts = np.array([np.sum(labels == label) for label in by_class])
    values = np.array(list(by_class.values()))
    found = prototype_bias(features, labels)
    self.assertAlmostEqual(found.squared_unbiased, np.average(values, weights=counts), places=11)
    self.assertAlmostEqual(found.macro.squared_unbiased, np.mean(values), places=11)

  def test_unbiased_estimate_is_right_on_average(self):
    # Samples of 2 images a class and 2 views an image, drawn with replacement from a population of
    # 2 images a class and 3 views an image: all choices of images, random ones of views.
    features, labels = random_views(0, images=4, views=3, classes=2)
    labels = np.array([0, 0, 1, 1])
    population = prototype_bias(features, labels)
    unbiased, plain = [], []
    for first, second in itertools.product(itertools.product(range(2), repeat=2), repeat=2):
      images = np.array([*first, *(2 + i for i in second)])
      rng = np.random.default_rng(0)
      for _ in range(200):
        chosen = rng.integers(0, 3, (4, 2))
        sample = prototype_bias(features[images[:, None], chosen], labels)
        unbiased.append(sample.squared_unbiased)
        plain.append(sample.squared)
    error = 4 * np.std(unbiased) / np.sqrt(len(unbiased))
    self.assertLess(abs(np.mean(unbiased) - population.squared), error)
    self.assertGreater(abs(np.mean(plain) - population.squared), 2 * error)

  def test_macro_gives_classes_equal_weight(self):
    features, labels = np.array(THREE_CLASSES[0]), np.array(THREE_CLASSES[1])
    found = prototype_bias(features, labels)
    images = unit(features).mean(1)
    means = np.stack([images[labels == label].mean(0) for label in range(3)])
    squared = np.sum((images - means[labels]) ** 2, axis=1)
    by_class = [np.mean(squared[labels == label]) for label in range(3)]
    self.assertAlmostEqual(found.squared, np.mean(squared), places=12)
    self.assertAlmostEqual(found.macro.squared, np.mean(by_class), places=12)
    self.assertAlmostEqual(found.macro.class_energy, np.mean(np.sum(means**2, axis=1)), places=12)
    between = np.mean(np.sum((means - means.mean(0)) ** 2, axis=1))
    share = np.mean(by_class) / (np.mean(by_class) + between)
    self.assertAlmostEqual(found.macro.share, share, places=12)
    self.assertEqual(found.single_image_classes, 1)

  def test_row_lengths_and_order_do_not_matter(self):
    features, labels = random_views(3)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    scaled = (features * rng.uniform(0.1, 10, (*features.shape[:2], 1)))[order][:, ::-1]
    chex.assert_trees_all_close(
      dataclasses.asdict(prototype_bias(scaled, labels[order])),
      dataclasses.asdict(prototype_bias(features, labels)),
      rtol=1e-11,
    )

  def test_collapse_and_zero_rows_stay_finite(self):
    labels = [0, 0, 1, 1]
    collapsed = prototype_bias(np.full((4, 2, 3), 0.1), labels)
    self.assertAlmostEqual(collapsed.class_energy, 1, places=12)
    self.assertEqual(collapsed.share, 0)
    zero = dataclasses.asdict(prototype_bias(np.zeros((4, 2, 3)), labels))
    chex.assert_tree_all_finite(zero)

  @parameterized.named_parameters(
    ('rank', np.ones((4, 3)), [0, 0, 1, 1], r'^features: found shape \(4, 3\), must be \[image, v'),
    ('one_view', np.ones((4, 1, 3)), [0, 0, 1, 1], r'^features: found 1 view an image'),
    ('nan', np.full((4, 2, 3), np.nan), [0, 0, 1, 1], r'^features: found NaN .* in 4 of 4 rows'),
    ('lengths', np.ones((4, 2, 3)), [0, 0, 1], r'^labels: found int64 of shape \(3,\)'),
    ('single', np.ones((4, 2, 3)), [0, 0, 0, 0], r'^labels: found the single class 0'),
    ('alone', np.ones((4, 2, 3)), [0, 1, 2, 3], r'^labels: found 4 classes in 4 images'),
  )
  def test_errors(self, features, labels, message):
    with self.assertRaisesRegex(ValueError, message):
      prototype_bias(features, labels)
