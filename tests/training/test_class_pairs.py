"""Second views of another image of the class: which images are drawn, and what becomes of them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import data, views
from ssl_jax.training import class_pairs, inputs
from tests.methods import tiny

# Classes of 4, 3, 1 and two images without a label.
LABELS = np.array([2, 0, 0, -1, 2, 5, 0, 2, 0, -1], np.int32)


@functools.cache
def drawn(probability, draws=2000):
  """Partners of every image in each of the draws, `[draw, image]`."""
  table = class_pairs.class_table(LABELS)
  keys = jax.random.split(jax.random.key(0), draws)
  one = lambda key: class_pairs.draw_partners(probability, key, table, jnp.arange(len(LABELS)))
  return np.asarray(jax.jit(jax.vmap(one))(keys))


class DrawTest(chex.TestCase):
  def test_every_other_image_of_the_class_is_equally_likely(self):
    found = drawn(1.0)
    for image, label in enumerate(LABELS):
      others = [i for i, its in enumerate(LABELS) if its == label and i != image]
      if label < 0 or not others:
        np.testing.assert_array_equal(found[:, image], image)
        continue
      counts = np.bincount(found[:, image], minlength=len(LABELS))
      self.assertEqual(counts[others].sum(), len(found))
      # Four standard deviations of a share of 2,000 draws are at most 4.5 points.
      np.testing.assert_allclose(counts[others] / len(found), 1 / len(others), atol=0.045)

  @parameterized.parameters(0.0, 0.3)
  def test_the_probability_of_another_image(self, probability):
    several = np.isin(LABELS, (0, 2))
    swapped = drawn(probability)[:, several] != np.flatnonzero(several)
    np.testing.assert_allclose(swapped.mean(), probability, atol=0.02)

  def test_labels_are_needed(self):
    with self.assertRaisesRegex(ValueError, 'same_class_prob: found images without labels'):
      class_pairs.class_table(None)


class BatchTest(chex.TestCase):
  def test_only_the_second_view_is_of_the_partner(self):
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 3), np.uint8)
    method = tiny.method('supcon', 'float32')
    stored = inputs.stored_rows(method, data.ArraySource(images, LABELS), same_class=True)
    key, rows = jax.random.key(3), np.array([7, 1, 5, 4])
    batch = inputs.gather_pairs(1.0, key, stored, rows)
    np.testing.assert_array_equal(batch['images'], images[rows])
    np.testing.assert_array_equal(batch['labels'], LABELS[rows])
    partners = np.asarray(class_pairs.draw_partners(1.0, key, stored['classes'], rows))
    np.testing.assert_array_equal(LABELS[partners], LABELS[rows])
    recipe = views.recipe('none', size=8, mean=(0, 0, 0), std=(1, 1, 1))
    found = jax.jit(functools.partial(inputs.augment, method, recipe))(key, batch)
    expected = np.stack([images[rows], images[partners]], axis=1) / 255
    np.testing.assert_allclose(found.views, expected, atol=1e-6)
    np.testing.assert_array_equal(found.labels, LABELS[rows])
