"""Crops against Pillow, and the boxes against torchvision's rules."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from PIL import Image

from ssl_jax import views
from ssl_jax.views import crop

FILTERS = {'bilinear': Image.Resampling.BILINEAR, 'bicubic': Image.Resampling.BICUBIC}


crop_resize = jax.jit(views.crop_resize, static_argnums=(2, 3))


def random_images(count, height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def pillow_crop(image, box, size, interpolation):
  top, left, height, width = (int(x) for x in box)
  cut = Image.fromarray(image).crop((left, top, left + width, top + height))
  return np.asarray(cut.resize((size, size), FILTERS[interpolation], reducing_gap=None))


class CropResizeTest(chex.TestCase):
  @parameterized.product(interpolation=sorted(FILTERS), size=[7, 32, 60], overshoots=[False, True])
  def test_equals_pillow(self, interpolation, size, overshoots):
    # White noise of full range overshoots under a bicubic filter, of half the range it does not.
    images = random_images(8, 48, 40)
    images = images if overshoots else images // 2 + 64
    boxes = np.array(
      [
        [0, 0, 48, 40],
        [3, 5, 20, 30],
        [47, 39, 1, 1],
        [0, 0, 1, 40],
        [10, 11, 32, 24],
        [1, 2, 5, 4],
        [8, 0, 40, 33],
        [20, 20, 13, 17],
      ]
    )
    ours = crop_resize(images, boxes, size, interpolation)
    chex.assert_shape(ours, (8, size, size, 3))
    pillow = np.stack(
      [pillow_crop(*pair, size, interpolation) for pair in zip(images, boxes, strict=True)]
    )
    difference = np.abs(np.asarray(ours) * 255 - pillow)
    clipped = overshoots and interpolation == 'bicubic'
    self.assertLess(difference.max(), 30.0 if clipped else 1.5)
    self.assertLess(difference.mean(), 0.5 if clipped else 0.3)

  @parameterized.parameters(*FILTERS)
  def test_whole_image_at_its_own_size_is_the_image(self, interpolation):
    images = random_images(2, 24, 24)
    boxes = jnp.array([[0, 0, 24, 24]] * 2)
    ours = crop_resize(images, boxes, 24, interpolation)
    chex.assert_trees_all_close(ours, images / np.float32(255), atol=1e-6)

  def test_pixels_outside_the_box_do_not_count(self):
    images = random_images(1, 32, 32)
    box = jnp.array([[8, 10, 12, 9]])
    outside = images.copy()
    outside[:] = 255 - outside
    outside[:, 8:20, 10:19] = images[:, 8:20, 10:19]
    for interpolation in FILTERS:
      chex.assert_trees_all_equal(
        crop_resize(images, box, 16, interpolation),
        crop_resize(outside, box, 16, interpolation),
      )

  def test_flip_mirrors_the_result(self):
    images, boxes = random_images(2, 20, 26), jnp.array([[2, 3, 11, 17]] * 2)
    kept = crop_resize(images, boxes, 12, 'bicubic')
    flipped = crop_resize(images, boxes, 12, 'bicubic', flip=jnp.array([True, False]))
    chex.assert_trees_all_close(flipped[0], kept[0, :, ::-1], atol=1e-6)
    chex.assert_trees_all_equal(flipped[1], kept[1])

  def test_constant_image_stays_constant(self):
    images = np.full((1, 50, 50, 3), 77, np.uint8)
    boxes = jnp.array([[1.25, 2.5, 33.3, 21.7]])
    for interpolation in FILTERS:
      ours = crop_resize(images, boxes, 13, interpolation)
      chex.assert_trees_all_close(ours, jnp.full_like(ours, 77 / 255), atol=1e-6)

  def test_unknown_interpolation_is_refused(self):
    with self.assertRaisesRegex(ValueError, "interpolation: found 'nearest', must be one of"):
      crop_resize(random_images(1, 4, 4), jnp.zeros((1, 4)), 4, 'nearest')


class BoxTest(chex.TestCase):
  def boxes(self, height, width, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), count=20_000):
    uniform = jax.random.uniform(jax.random.key(0), (count, crop.BOX_DRAWS))
    sample = jax.jit(functools.partial(views.sample_boxes, height=height, width=width))
    return np.asarray(sample(uniform, scale=jnp.array(scale), ratio=jnp.array(ratio)))

  @parameterized.parameters((224, 224), (100, 300), (37, 20))
  def test_boxes_lie_in_the_image_and_in_the_ranges(self, height, width):
    top, left, box_height, box_width = self.boxes(height, width).T
    self.assertGreaterEqual(min(top.min(), left.min()), 0)
    self.assertGreaterEqual(min(box_height.min(), box_width.min()), 1)
    self.assertTrue((top + box_height <= height).all())
    self.assertTrue((left + box_width <= width).all())
    # Sides are rounded, by half a pixel each.
    self.assertTrue(((box_height + 0.5) / (box_width - 0.5) >= 3 / 4).all())
    self.assertTrue(((box_height - 0.5) / (box_width + 0.5) <= 4 / 3).all())
    self.assertTrue(((box_height + 0.5) * (box_width + 0.5) >= 0.08 * height * width).all())

  def test_area_and_ratio_follow_their_distributions(self):
    # Up to 60 % of the area every attempt fits, so nothing is rejected.
    _, _, height, width = self.boxes(224, 224, scale=(0.1, 0.6)).T.astype(float)
    area = height * width / 224**2
    uniform = (np.sort(area) - 0.1) / 0.5
    # Kolmogorov-Smirnov at 20,000 draws: 0.0138 has a probability of 1e-3; rounding adds a little.
    self.assertLess(np.abs(uniform - np.linspace(0, 1, len(area))).max(), 0.015)
    log_ratio = np.sort(np.log(width / height)) / np.log(4 / 3) / 2 + 0.5
    self.assertLess(np.abs(log_ratio - np.linspace(0, 1, len(area))).max(), 0.02)

  def test_position_is_uniform(self):
    top, left, height, width = self.boxes(32, 32, scale=(0.25, 0.25), ratio=(1.0, 1.0)).T
    np.testing.assert_array_equal(height, 16)
    np.testing.assert_array_equal(width, 16)
    for start in (top, left):
      counts = np.bincount(start, minlength=17)
      self.assertLen(counts, 17)
      self.assertLess(np.sum((counts - 20_000 / 17) ** 2) / (20_000 / 17), 45.0)  # p = 1e-4

  @parameterized.parameters(
    # The cases of torchvision's fall-back: too wide, too high, and a ratio that is allowed.
    (10, 100, (3 / 4, 4 / 3), (0, 43, 10, 13)),
    (100, 10, (3 / 4, 4 / 3), (43, 0, 13, 10)),
    (1, 1000, (3 / 4, 4 / 3), (0, 499, 1, 1)),
    (8, 10, (1.0, 1.0), (0, 1, 8, 8)),
  )
  def test_fallback_is_the_largest_centered_box(self, height, width, ratio, box):
    boxes = self.boxes(height, width, scale=(1.0, 1.0), ratio=ratio, count=4)
    np.testing.assert_array_equal(boxes, [box] * 4)
