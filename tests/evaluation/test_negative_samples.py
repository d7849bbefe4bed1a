"""The estimator: exact enumeration of a toy world, worked batches, devices, errors, time."""

import collections
import dataclasses
import doctest
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax.analysis import expected_log_collisions
from ssl_jax.evaluation import (
  collision_bound,
  collision_upper_bound,
  negative_sample_bounds,
  negative_samples,
)

# Degrees on the circle: [class, image, augmentation].
WORLD = np.array([[(0, 20), (30, -10)], [(120, 100), (90, 150)], [(240, 260), (210, 270)]])
NAMES = {
  'L_Info': 'info_nce',
  'coverage': 'coverage',
  'col': 'collision',
  'sup': 'supervised_covered',
  'sub': 'sub_class',
  'proposed': 'proposed_bound',
  'CURL': 'curl_bound',
}
EVEN = {
  1: (
    0.3060201866233605,
    0,
    0.2310490601866484,
    0,
    0.0572735734875631,
    0.0934447722293179,
    0.2376060890664237,
  ),
  2: (
    0.5506031629126860,
    2 / 9,
    0.4301334456564323,
    0.0371060601671551,
    0.0572735734875631,
    0.2115399950477874,
    0.4356141523783206,
  ),
  3: (
    0.7523980910605693,
    4 / 9,
    0.6035457133276997,
    0.0742121203343101,
    0.0445461127125490,
    0.3104354285794916,
    0.5962989592745740,
  ),
  4: (
    0.9231559767215555,
    50 / 81,
    0.7561382408314334,
    0.1030723893532085,
    0.0318186519375350,
    0.3947980964533007,
    0.7364032087050463,
  ),
}
# E l(mu): the loss with class means for features.
CLASS_MEANS = {
  1: 0.2883226336742115,
  2: 0.5230591860237543,
  3: 0.7190989078879332,
  4: 0.8863311735946453,
}
UNEVEN_3 = (
  0.8211453603516427,
  1 / 3,
  0.6776779781356730,
  0.0559114482681997,
  0.0596150235443273,
  0.3530111000189303,
  0.6712223328009734,
)
UPPER = {2: 3.2185457815, 3: 2.1558092519, 4: 1.8788568028}

BATCHES = (
  ((5, 25, 110, 250), (15, -5, 130, 215), (0, 0, 1, 2)),
  ((5, 25, 110, 95), (15, -5, 130, 140), (0, 0, 1, 1)),
)
WORKED = {
  'info_nce': 0.680139621262481,
  'symmetric_info_nce': 1.070293503349087,
  'coverage': 0.5,
  'supervised_covered': 0.069050917353076,
  'sub_class': 0.064935794249901,
  'collision': 0.519860385419959,
  'collision_probability': 0.75,
  'curl_supervised': 0.030550644386231,
  'curl_sub_class': 0,
  'gap': -0.044186952502518,
  'proposed_bound': 0.282736596008950,
  'curl_bound': 0.506224077303672,
}


def on_circle(degrees):
  angles = np.deg2rad(np.asarray(degrees, np.float64))
  return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def enumerate_world(negatives, probs):
  """Terms averaged over every draw of images and augmentations, and the worlds' class means."""
  means = on_circle(WORLD).mean(axis=2)
  images = [(c, i) for c in range(3) for i in range(2)]
  views = [(c, i, a, b) for c, i in images for a in range(2) for b in range(2)]
  table = np.array(views)
  # Terms are means over anchors, so the order of a batch is nothing to them: each set of views
  # stands for all its orders.
  sets = itertools.combinations_with_replacement(range(len(views)), negatives + 1)
  draws = np.array(list(sets))
  repeats = [collections.Counter(row).values() for row in draws.tolist()]
  orders = [math.factorial(negatives + 1) / math.prod(map(math.factorial, r)) for r in repeats]
  c, i, a, b = np.moveaxis(table[draws], -1, 0)
  points = on_circle(WORLD)
  pairs = np.stack([points[c, i, a], points[c, i, b]], axis=2)
  weights = np.array(orders) * np.prod(np.array(probs)[c] / 8, axis=1)
  of_one = lambda *batch: negative_samples.terms_of_batch(
    *batch, jnp.asarray(means.mean(axis=1)), 0.5, negatives, jax.random.key(0)
  )
  terms = jax.jit(jax.vmap(of_one))(pairs, c.astype(np.int32), means[c, i])
  return {name: float(weights @ np.asarray(value)) for name, value in terms.items()}


def worked_batches():
  first, second, labels = (np.concatenate(parts) for parts in zip(*BATCHES, strict=True))
  views = np.stack([on_circle(first), on_circle(second)], axis=1)
  means = on_circle(WORLD).mean(axis=(1, 2))
  return views, labels, views.mean(axis=1), means


def random_images(count=96, classes=5, dim=8, passes=2, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, count)
  centers = rng.normal(size=(classes, dim))
  views = centers[labels][:, None] + rng.normal(size=(passes, count, 2, dim))
  unit = views / np.linalg.norm(views, axis=-1, keepdims=True)
  means = unit.mean(axis=(0, 2))
  class_means = np.stack([means[labels == c].mean(axis=0) for c in range(classes)])
  return views.astype(np.float32), labels, means, class_means


class ExactWorldTest(chex.TestCase):
  @parameterized.parameters(1, 2, 4)
  def test_even_classes(self, negatives):
    with jax.enable_x64(True):
      found = enumerate_world(negatives, [1 / 3] * 3)
    self.check(found, EVEN[negatives])
    self.assertAlmostEqual(found['class_mean_loss'], CLASS_MEANS[negatives], places=12)
    self.assertAlmostEqual(found['gap'], -0.050716544607787814, places=13)
    self.assertAlmostEqual(found['supervised'], 0.166977270752197790, places=13)
    if negatives == 1:
      # What the notebook divides by 1-tau lies below the loss that it should bound.
      bounds = self.bounds(found)
      self.assertAlmostEqual(bounds.curl_upper_bound(notebook_compat=True), 0.10262, places=5)
      self.assertEqual(bounds.curl_upper_bound(), math.inf)
      self.assertEqual(bounds.supervised_upper_bound(), math.inf)
    else:
      self.assertAlmostEqual(
        self.bounds(found).supervised_upper_bound(), UPPER[negatives], places=9
      )

  def test_three_negatives(self):
    with jax.enable_x64(True):
      even = enumerate_world(3, [1 / 3] * 3)
      uneven = enumerate_world(3, [1 / 2, 1 / 3, 1 / 6])
    self.check(even, EVEN[3])
    self.assertAlmostEqual(even['class_mean_loss'], CLASS_MEANS[3], places=12)
    self.assertAlmostEqual(self.bounds(even).supervised_upper_bound(), UPPER[3], places=9)
    self.check(uneven, UNEVEN_3)
    self.assertAlmostEqual(uneven['gap'], -0.043591124955169715, places=13)
    self.assertAlmostEqual(uneven['supervised'], 0.170005566961802784, places=13)
    # Of unequal classes, coverage and the anchor's class are not independent.
    product = uneven['coverage'] * uneven['supervised']
    self.assertAlmostEqual(product, 0.0566685223, places=9)
    self.assertGreater(product, uneven['supervised_covered'])

  def check(self, found, expected):
    for name, value in zip(NAMES.values(), expected, strict=True):
      self.assertAlmostEqual(found[name], value, places=12, msg=name)
    self.assertLess(found['class_mean_loss'] + found['gap'], found['info_nce'])
    self.assertLess(found['proposed_bound'], found['info_nce'])
    self.assertLess(found['curl_bound'], found['info_nce'])

  def bounds(self, terms):
    return negative_samples.NegativeSampleBounds(
      **terms, standard_errors={}, num_batches=1, batch_size=2, num_negatives=1, temperature=0.5
    )


class WorkedBatchesTest(chex.TestCase):
  @parameterized.parameters((True, 1e-13), (False, 2e-6))
  def test_two_batches(self, x64, tolerance):
    with jax.enable_x64(x64):
      found = negative_sample_bounds(*worked_batches(), batch_size=4, shuffle=False)
    for name, value in WORKED.items():
      np.testing.assert_allclose(getattr(found, name), value, atol=tolerance, err_msg=name)
    upper = found.supervised_upper_bound()
    np.testing.assert_allclose(upper, 1.727713935720273, rtol=10 * tolerance)
    upper = found.supervised_upper_bound(notebook_compat=True)
    np.testing.assert_allclose(upper, 1.792649729970174, rtol=10 * tolerance)
    upper = found.curl_upper_bound(notebook_compat=True)
    np.testing.assert_allclose(upper, 0.817864753380158, rtol=10 * tolerance)
    self.assertEqual((found.num_batches, found.num_negatives), (2, 3))
    # Two batches, one of which is covered.
    self.assertAlmostEqual(found.standard_errors['coverage'], 0.5)

  @parameterized.parameters((True, 1e-13), (False, 1e-6))
  def test_collision_upper_bound(self, x64, tolerance):
    first, second = on_circle((0, 20, 40)), on_circle((10, 5, 60))
    with jax.enable_x64(x64):
      found = collision_upper_bound(first, second, [0, 0, 0])
      self.assertAlmostEqual(found, 0.151527633580560, delta=tolerance)
      # A class beside it changes the mean only; one of a single image nothing.
      twice = collision_upper_bound(
        np.tile(first, (3, 1))[:7], np.tile(second, (3, 1))[:7], [0, 0, 0, 4, 4, 4, 9], chunk_size=2
      )
      self.assertAlmostEqual(twice, found, delta=tolerance)
      warm = collision_upper_bound(first, second, [0, 0, 0], temperature=0.5)
    self.assertAlmostEqual(warm, 2 * found, delta=tolerance)


class EstimatorTest(chex.TestCase):
  def test_equal_on_one_and_four_devices(self):
    inputs = random_images()
    for num_negatives in (15, 6):
      one = negative_sample_bounds(*inputs, batch_size=16, epochs=3, num_negatives=num_negatives)
      mesh = Mesh(np.asarray(jax.devices()[:4]), ('data',), axis_types=(AxisType.Auto,))
      four = negative_sample_bounds(
        *inputs,
        batch_size=16,
        epochs=3,
        num_negatives=num_negatives,
        sharding=NamedSharding(mesh, P('data')),
      )
      self.assertEqual(one.num_batches, 18)
      chex.assert_trees_all_close(
        dataclasses.asdict(four), dataclasses.asdict(one), rtol=1e-6, atol=1e-9
      )

  def test_epochs_and_seed(self):
    inputs = random_images()
    once = negative_sample_bounds(*inputs, batch_size=40)
    self.assertEqual(once.num_batches, 4)  # two passes, two batches each, 16 images dropped
    again = negative_sample_bounds(*inputs, batch_size=40)
    self.assertEqual(once, again)
    other = negative_sample_bounds(*inputs, batch_size=40, seed=1)
    self.assertNotEqual(once.info_nce, other.info_nce)

  def test_parts_make_the_bounds(self):
    found = negative_sample_bounds(*random_images(), batch_size=8)
    parts = found.supervised_covered + found.sub_class + found.collision
    self.assertAlmostEqual(found.proposed_bound, parts / 2 + found.gap, places=6)
    parts = found.curl_supervised + found.curl_sub_class + found.collision
    self.assertAlmostEqual(found.curl_bound, parts + found.gap, places=6)
    self.assertLess(max(found.proposed_bound, found.curl_bound), found.info_nce)
    self.assertLessEqual(found.gap, 0)
    chex.assert_tree_all_finite(dict(found.standard_errors))

  def test_collisions_agree_with_drawing_without_replacement(self):
    inputs = random_images(count=200, classes=4)
    counts = np.bincount(inputs[1])
    for negatives in (19, 5):
      found = negative_sample_bounds(*inputs, batch_size=20, epochs=40, num_negatives=negatives)
      expected = expected_log_collisions(negatives, class_counts=counts)
      error = found.standard_errors['collision']
      self.assertLess(abs(found.collision - expected), 5 * error + 1e-6)

  def test_all_negatives_drawn_is_the_whole_batch(self):
    inputs = random_images()
    whole = negative_sample_bounds(*inputs, batch_size=16)
    drawn = negative_sample_bounds(*inputs, batch_size=16, num_negatives=15)
    self.assertEqual(whole, drawn)
    fewer = negative_sample_bounds(*inputs, batch_size=16, num_negatives=4)
    self.assertLess(fewer.info_nce, whole.info_nce)
    self.assertLess(fewer.collision, whole.collision)

  def test_a_single_batch_has_no_error(self):
    found = negative_sample_bounds(*random_images(passes=1), batch_size=96)
    self.assertEqual(found.standard_errors['info_nce'], math.inf)

  def test_examples(self):
    for module in (negative_samples, collision_bound):
      self.assertEqual(doctest.testmod(module).failed, 0)


class RefusalTest(chex.TestCase):
  @parameterized.named_parameters(
    ('labels', {'labels': None}, r'^labels: found None, must be one integer an image'),
    ('floats', {'labels': np.zeros(96)}, r'^labels: found float64 of shape \(96,\), must be int'),
    ('range', {'labels': np.full(96, 5)}, r'^labels: found 5 to 5, must be from 0 to 4'),
    ('batch', {'batch_size': 97}, r'^batch_size: found 97, must be at most 96, the number of im'),
    ('one', {'batch_size': 1}, r'^batch_size: found 1, must be a whole number >= 2$'),
    ('k', {'num_negatives': 16}, r'^num_negatives: found 16, must be below batch_size 16$'),
    ('none', {'num_negatives': 0}, r'^num_negatives: found 0, must be a whole number >= 1$'),
    ('cold', {'temperature': 0.0}, r'^temperature: found 0\.0'),
    ('epochs', {'epochs': 0.5}, r'^epochs: found 0\.5'),
    ('views', {'views': np.ones((96, 3, 8))}, r'^views: found shape \(96, 3, 8\)'),
    ('nan', {'views': np.full((96, 2, 8), np.nan)}, r'^views: found NaN'),
    ('means', {'image_means': np.ones((95, 8))}, r'^image_means: found \(95, 8\), must be \(96, 8'),
    ('classes', {'class_means': np.ones((5, 7))}, r'^class_means: found \(5, 7\), must be \[class'),
  )
  def test_bad_input(self, changed, message):
    names = ('views', 'labels', 'image_means', 'class_means')
    valid = {**dict(zip(names, random_images(), strict=True)), 'batch_size': 16}
    with self.assertRaisesRegex(ValueError, message):
      negative_sample_bounds(**(valid | changed))

  def test_bad_input_of_the_collision_bound(self):
    views = np.ones((3, 2))
    with self.assertRaisesRegex(ValueError, r'^labels: found None'):
      collision_upper_bound(views, views, None)
    with self.assertRaisesRegex(ValueError, r'^labels: found no class with 2 images'):
      collision_upper_bound(views, views, [0, 1, 2])
    with self.assertRaisesRegex(ValueError, r'^second_views: found shapes'):
      collision_upper_bound(views, views[:2], [0, 1, 2])


@pytest.mark.slow
class SpeedTest(chex.TestCase):
  def test_ten_epochs_of_ten_thousand_images_in_a_minute(self):
    import time

    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, 10_000, 2, 128)).astype(np.float32)
    labels = np.arange(10_000) % 10
    start = time.perf_counter()
    found = negative_sample_bounds(
      views, labels, views[0, :, 0], views[0, :10, 0], batch_size=512, epochs=10
    )
    self.assertLess(time.perf_counter() - start, 60)
    self.assertEqual(found.num_batches, 190)
