"""Color operations against Pillow and the standard library's colorsys."""

import colorsys
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from PIL import Image, ImageEnhance, ImageOps

from ssl_jax import views
from ssl_jax.views import jitter

COUNT = 12
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (COUNT, 20, 24, 3), dtype=np.uint8)
FLOATS = jnp.asarray(NOISE, jnp.float32) / 255
FACTORS = np.linspace(0.0, 2.0, COUNT, dtype=np.float32)
SHIFTS = np.linspace(-0.5, 0.5, COUNT, dtype=np.float32)
ALL = jnp.ones(COUNT, bool)


def pillow(operation, *parameters):
  results = [
    np.asarray(operation(Image.fromarray(image), *(p.item() for p in values)).convert('RGB'))
    for image, *values in zip(NOISE, *parameters, strict=True)
  ]
  return np.stack(results).astype(np.float32)


def rotate_hue(image, shift):
  hue, saturation, value = image.convert('HSV').split()
  hue = Image.fromarray(((np.asarray(hue, int) + round(shift * 255)) % 256).astype(np.uint8))
  return Image.merge('HSV', (hue, saturation, value))


class PillowTest(chex.TestCase):
  @parameterized.named_parameters(
    ('brightness', views.adjust_brightness, ImageEnhance.Brightness, 1.01),
    ('contrast', views.adjust_contrast, ImageEnhance.Contrast, 2.0),
    ('saturation', views.adjust_saturation, ImageEnhance.Color, 2.0),
  )
  def test_enhance(self, ours, theirs, tolerance):
    expected = pillow(lambda image, factor: theirs(image).enhance(factor), FACTORS)
    difference = np.abs(np.asarray(jax.jit(ours)(FLOATS, FACTORS)) * 255 - expected)
    self.assertLess(difference.max(), tolerance)
    self.assertLess(difference.mean(), 0.6)

  def test_hue(self):
    expected = pillow(rotate_hue, SHIFTS)
    difference = np.abs(np.asarray(jax.jit(views.adjust_hue)(FLOATS, SHIFTS)) * 255 - expected)
    self.assertLess(difference.max(), 15.0)
    self.assertLess(difference.mean(), 1.0)

  def test_grayscale(self):
    expected = pillow(lambda image: image.convert('L'))
    self.assertLess(np.abs(views.grayscale(FLOATS, ALL) * 255 - expected).max(), 0.6)

  @parameterized.parameters(0, 1, 128, 255)
  def test_solarize_is_exact(self, threshold):
    expected = pillow(lambda image: ImageOps.solarize(image, threshold))
    ours = np.asarray(views.solarize(FLOATS, ALL, threshold)) * 255
    np.testing.assert_array_equal(np.round(ours), expected)


class ColorTest(chex.TestCase):
  def test_hue_equals_colorsys(self):
    # The corners of the cube hold every tie between channels.
    colors = np.array([*itertools.product((0, 0.5, 1), repeat=3), *RNG.random((300, 3))])
    shift = np.float32(0.17)
    ours = views.adjust_hue(jnp.asarray(colors, jnp.float32)[None, None], jnp.array([shift]))
    expected = []
    for color in colors.astype(np.float32):
      hue, saturation, value = colorsys.rgb_to_hsv(*color.tolist())
      expected.append(colorsys.hsv_to_rgb((hue + float(shift)) % 1.0, saturation, value))
    np.testing.assert_allclose(np.asarray(ours)[0, 0], expected, atol=1e-5)

  def test_a_whole_turn_of_hue_changes_nothing(self):
    for turns in (-1.0, 0.0, 1.0):
      ours = views.adjust_hue(FLOATS, jnp.full(COUNT, turns))
      chex.assert_trees_all_close(ours, FLOATS, atol=2e-6)

  def test_only_selected_images_change(self):
    selected = jnp.arange(COUNT) % 2 == 0
    for ours in (views.grayscale(FLOATS, selected), views.solarize(FLOATS, selected)):
      chex.assert_trees_all_equal(ours[1::2], FLOATS[1::2])
      self.assertGreater(float(jnp.abs(ours[::2] - FLOATS[::2]).max(axis=(1, 2, 3)).min()), 0.1)

  def test_permutation_takes_the_source_channels(self):
    orders = np.array([*itertools.permutations(range(3))] * 2)
    ours = np.asarray(views.permute_channels(FLOATS, orders))
    for image, result, order in zip(np.asarray(FLOATS), ours, orders, strict=True):
      np.testing.assert_array_equal(result, image[..., order])

  def test_channel_axis(self):
    planar = jnp.moveaxis(FLOATS, -1, 2)
    orders = np.array([*itertools.permutations(range(3))] * 2)
    for function, parameter in (
      (views.adjust_contrast, FACTORS),
      (views.adjust_saturation, FACTORS),
      (views.adjust_hue, SHIFTS),
      (views.grayscale, ALL),
      (views.permute_channels, orders),
    ):
      function = jax.jit(function, static_argnames='channel_axis')
      ours = jnp.moveaxis(function(planar, parameter, channel_axis=2), 2, -1)
      chex.assert_trees_all_close(ours, function(FLOATS, parameter), atol=2e-6)


class JitterTest(chex.TestCase):
  def test_equals_the_operations_one_after_the_other(self):
    functions = {
      jitter.BRIGHTNESS: jax.jit(views.adjust_brightness),
      jitter.CONTRAST: jax.jit(views.adjust_contrast),
      jitter.SATURATION: jax.jit(views.adjust_saturation),
      jitter.HUE: jax.jit(views.adjust_hue),
    }
    images = jnp.tile(FLOATS, (2, 1, 1, 1))
    factors = np.random.default_rng(1).uniform(0.5, 1.5, (4, 24)).astype(np.float32)
    factors[jitter.HUE] -= 1.0
    ours = jax.jit(views.color_jitter)(images, *factors, jitter.ORDERS)
    for i, order in enumerate(jitter.ORDERS):
      expected = images[i : i + 1]
      for operation in order:
        expected = functions[int(operation)](expected, factors[operation, i : i + 1])
      chex.assert_trees_all_close(ours[i], expected[0], atol=1e-5)

  def test_the_identity_is_exact(self):
    one, zero = jnp.ones(COUNT), jnp.zeros(COUNT)
    ours = views.color_jitter(FLOATS, one, one, one, zero, jitter.ORDERS[:COUNT])
    chex.assert_trees_all_equal(ours, FLOATS)

  def test_orders_are_all_permutations(self):
    self.assertLen({tuple(order) for order in jitter.ORDERS.tolist()}, 24)
    np.testing.assert_array_equal(np.sort(jitter.ORDERS, axis=1), [[0, 1, 2, 3]] * 24)
