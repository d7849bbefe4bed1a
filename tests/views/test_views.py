"""The whole pipeline: against Pillow, deterministic, independent of batch and devices."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ssl_jax import views
from ssl_jax.views import jitter

KEY = jax.random.key(0)


def smooth_images(count, height, width, seed=0):
  """Natural enough: low-resolution noise enlarged, plus fine noise."""
  rng = np.random.default_rng(seed)
  images = []
  for coarse in rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8):
    large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    images.append(np.asarray(large) + rng.normal(0, 4, (height, width, 3)))
  return np.clip(np.stack(images), 0, 255).astype(np.uint8)


@functools.cache
def compiled(recipe):
  return jax.jit(functools.partial(views.apply, recipe))


plain_view = jax.jit(views.unaugmented, static_argnums=0)


def pillow_view(view, size, image, p):
  """The same view by Pillow; p holds the parameters of this one view."""
  top, left, height, width = p.boxes.tolist()
  filters = {'bilinear': Image.Resampling.BILINEAR, 'bicubic': Image.Resampling.BICUBIC}
  image = Image.fromarray(image).crop((left, top, left + width, top + height))
  image = image.resize((size, size), filters[view.interpolation])
  if p.flip:
    image = ImageOps.mirror(image)
  for operation in p.order.tolist():
    if operation == jitter.BRIGHTNESS:
      image = ImageEnhance.Brightness(image).enhance(float(p.brightness))
    elif operation == jitter.CONTRAST:
      image = ImageEnhance.Contrast(image).enhance(float(p.contrast))
    elif operation == jitter.SATURATION:
      image = ImageEnhance.Color(image).enhance(float(p.saturation))
    elif p.hue != 0:
      hue, saturation, value = image.convert('HSV').split()
      turned = (np.asarray(hue, int) + round(float(p.hue) * 255)) % 256
      hue = Image.fromarray(turned.astype(np.uint8))
      image = Image.merge('HSV', (hue, saturation, value)).convert('RGB')
  if p.grayscale:
    image = image.convert('L').convert('RGB')
  if p.sigma > 0:
    image = image.filter(ImageFilter.GaussianBlur(float(p.sigma)))
  if p.solarize:
    image = ImageOps.solarize(image, view.solarize_threshold)
  return np.asarray(image)[..., p.permutation]


class PipelineTest(chex.TestCase):
  @parameterized.parameters(('byol', 24, 40, 36), ('iccl', 32, 32, 32), ('simclr', 32, 20, 50))
  def test_equals_pillow(self, name, size, height, width):
    recipe = views.recipe(name, size=size)
    images = smooth_images(24, height, width)
    parameters = views.draw_parameters(recipe, KEY, len(images), height, width)
    parameters = jax.tree.map(np.asarray, parameters)
    ours = self.checked(recipe, images) * 255
    for i, image in enumerate(images):
      for v, view in enumerate(recipe.views):
        p = views.Parameters(*(x[i, v] for x in parameters))
        difference = np.abs(ours[i, v] - pillow_view(view, size, image, p))
        # Pillow rounds to a byte after every step, and factors up to 1.8 amplify that.
        self.assertLess(difference.mean(), 2.5)
        self.assertLess(np.percentile(difference, 95), 8.0)

  def checked(self, recipe, images):
    """The views of images in [0, 1], after a check of their shape, type and range."""
    ours = compiled(recipe)(KEY, images)
    chex.assert_shape(ours, (len(images), 2, recipe.size, recipe.size, 3))
    chex.assert_type(ours, jnp.float32)
    pixels = np.asarray(ours) * np.array(recipe.std) + np.array(recipe.mean)
    self.assertGreaterEqual(pixels.min(), -1e-5)
    self.assertLessEqual(pixels.max(), 1 + 1e-5)
    return np.asarray(views.denormalize(recipe, ours))

  # Those of the other recipes are checked where they are compared with Pillow.
  @parameterized.parameters('cifar_byol', 'none')
  def test_shape_range_and_dtype(self, name):
    self.checked(views.recipe(name, size=16), smooth_images(3, 16, 28))

  def test_colors_may_change_before_the_crop(self):
    recipe = views.recipe('cifar_dsa', size=16)
    images = smooth_images(24, 20, 28)
    p = views.draw_parameters(recipe, KEY, len(images), 20, 28)
    ours = self.checked(recipe, images)

    @jax.jit
    def colors_first(pixels, p):
      whole = views.color_jitter(pixels, p.brightness, p.contrast, p.saturation, p.hue, p.order)
      whole = views.grayscale(whole, p.grayscale)
      # Rounding to a byte lets the public function crop, at half a level.
      whole = jnp.round(whole * 255).astype(jnp.uint8)
      return views.crop_resize(whole, p.boxes, 16, 'bicubic', p.flip)

    for v in range(2):
      own = jax.tree.map(lambda parameter, v=v: parameter[:, v], p)
      expected = colors_first(jnp.asarray(images / 255, jnp.float32), own)
      chex.assert_trees_all_close(ours[:, v], np.asarray(expected), atol=1.1 / 255)

  @parameterized.parameters('none', 'cifar_byol')
  def test_the_order_is_free_where_colors_stay(self, name):
    recipe = views.recipe(name, size=16, jitter_strength=0.0)
    still = tuple(dataclasses.replace(view, grayscale_prob=0.0) for view in recipe.views)
    after = dataclasses.replace(recipe, views=still)
    before = dataclasses.replace(after, color_first=True)
    images = smooth_images(4, 20, 28)
    found, expected = compiled(before)(KEY, images), compiled(after)(KEY, images)
    chex.assert_trees_all_close(found, expected, atol=1e-5)

  def test_local_crops_follow_the_order_of_their_views(self):
    recipe = views.recipe('cifar_dsa', size=16, local_crops=2)
    self.assertTrue(recipe.local_crops.color_first)

  @parameterized.parameters((32, 32, 32), (8, 9, 16), (44, 30, 24))
  def test_without_augmentation_it_is_the_plain_image(self, height, width, size):
    images = smooth_images(4, height, width)
    for interpolation in views.INTERPOLATIONS:
      recipe = views.recipe('none', size=size, interpolation=interpolation)
      plain = plain_view(recipe, images)
      ours = compiled(recipe)(KEY, images)
      chex.assert_trees_all_close(ours, jnp.stack([plain] * 2, axis=1), atol=1e-5)

  def test_probability_zero_skips_every_operation(self):
    images = smooth_images(4, 32, 32)
    strong = views.recipe('iccl', size=32, crop_scale_min=1.0).views[0]
    never = {f.name: 0.0 for f in dataclasses.fields(strong) if f.name.endswith('_prob')}
    never = dataclasses.replace(strong, **never, crop_ratio=(1.0, 1.0))
    # The second view uses everything, so that the first passes through it all.
    recipe = views.Recipe(views=(never, strong), size=32)
    ours = compiled(recipe)(KEY, images)
    chex.assert_trees_all_close(ours[:, 0], plain_view(recipe, images), atol=1e-5)

  def test_plain_is_the_central_square_normalized(self):
    images = smooth_images(2, 20, 26)
    recipe = views.recipe('cifar_simclr', size=20, unaugmented=True)
    expected = images[:, :, 3:23] / np.float32(255)
    expected = (expected - np.array(recipe.mean)) / np.array(recipe.std)
    plain = plain_view(recipe, images)
    chex.assert_trees_all_close(plain, expected.astype(np.float32), atol=1e-5)
    ours = compiled(recipe)(KEY, images)
    chex.assert_shape(ours, (2, 3, 20, 20, 3))
    chex.assert_trees_all_close(ours[:, -1], plain, atol=1e-5)
    without = compiled(dataclasses.replace(recipe, unaugmented=False))(KEY, images)
    chex.assert_trees_all_close(ours[:, :-1], without, atol=1e-5)

  @parameterized.parameters('bilinear', 'bicubic')
  def test_whole_equals_plain_where_nothing_is_resized(self, interpolation):
    recipe = views.recipe('none', size=24, interpolation=interpolation)
    images = smooth_images(3, 24, 24)
    chex.assert_trees_all_close(
      views.whole(recipe, jnp.asarray(images)), plain_view(recipe, images), atol=1e-5
    )

  @parameterized.parameters((24, 24), (16, 40), (50, 7))
  def test_whole_keeps_every_pixel(self, height, width):
    recipe = views.recipe('byol', size=24)
    images = smooth_images(2, height, width)
    found = jax.jit(views.whole, static_argnums=0)(recipe, images)
    chex.assert_shape(found, (2, height, width, 3))
    chex.assert_type(found, jnp.float32)
    expected = (images / 255 - np.array(recipe.mean)) / np.array(recipe.std)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(
      np.rint(np.asarray(views.denormalize(recipe, found)) * 255), images
    )

  def test_denormalize_undoes_the_normalization(self):
    images = smooth_images(2, 16, 16)
    recipe = views.recipe('byol', size=16)
    restored = views.denormalize(recipe, plain_view(recipe, images))
    chex.assert_trees_all_close(restored, images / np.float32(255), atol=1e-6)

  def test_views_may_use_different_filters(self):
    images = smooth_images(3, 32, 32)
    pair = tuple(views.View(crop_scale=(0.2, 0.5), interpolation=i) for i in views.INTERPOLATIONS)
    mixed = compiled(views.Recipe(views=pair, size=24))(KEY, images)
    for v, view in enumerate(pair):
      same = compiled(views.Recipe(views=(view, view), size=24))(KEY, images)
      chex.assert_trees_all_close(mixed[:, v], same[:, v], atol=1e-5)
    self.assertGreater(float(jnp.abs(mixed - same).max()), 1e-2)


class RandomnessTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.apply = compiled(views.recipe('iccl', size=16))
    self.images = smooth_images(8, 16, 16)

  def test_the_key_decides(self):
    first = self.apply(KEY, self.images)
    chex.assert_trees_all_equal(first, self.apply(KEY, self.images))
    other = self.apply(jax.random.fold_in(KEY, 1), self.images)
    self.assertGreater(float(jnp.abs(first - other).mean(axis=(2, 3, 4)).min()), 0.01)
    self.assertGreater(float(jnp.abs(first[:, 0] - first[:, 1]).mean(axis=(1, 2, 3)).min()), 0.01)

  def test_positions_get_different_views(self):
    same = np.repeat(self.images[:1], 8, axis=0)
    ours = np.asarray(self.apply(KEY, same)).reshape(16, -1)
    distance = np.abs(ours[:, None] - ours).mean(-1) + np.eye(16)
    self.assertGreater(distance.min(), 0.01)

  def test_a_view_does_not_depend_on_the_other_images(self):
    changed = self.images.copy()
    changed[3:] = 255 - changed[3:]
    first, second = self.apply(KEY, self.images), self.apply(KEY, changed)
    chex.assert_trees_all_equal(first[:3], second[:3])
    self.assertGreater(float(jnp.abs(first[3:] - second[3:]).max()), 0.1)
    chex.assert_trees_all_close(self.apply(KEY, self.images[:4]), first[:4], atol=1e-5)

  def test_four_devices_equal_one_without_communication(self):
    mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    sharded = jax.device_put(self.images, NamedSharding(mesh, P('data')))
    key = jax.device_put(KEY, NamedSharding(mesh, P()))
    executable = self.apply.lower(key, sharded).compile()
    ours = executable(key, sharded)
    self.assertEqual(ours.sharding.spec[0], 'data')
    chex.assert_trees_all_close(
      np.asarray(ours), np.asarray(self.apply(KEY, self.images)), atol=1e-5
    )
    for collective in ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute'):
      self.assertNotIn(collective, executable.as_text())

  def test_one_trace_serves_every_key(self):
    chex.clear_trace_counter()
    recipe = views.recipe('cifar_simclr', size=16)
    traced = jax.jit(chex.assert_max_traces(lambda *args: views.apply(recipe, *args), n=1))
    for step in range(3):
      traced(jax.random.fold_in(KEY, step), self.images)


class ArgumentTest(chex.TestCase):
  @parameterized.parameters(
    (np.zeros((2, 8, 8, 3), np.float32), r'float32 \[2, 8, 8, 3\]'),
    (np.zeros((8, 8, 3), np.uint8), r'uint8 \[8, 8, 3\]'),
    (np.zeros((2, 8, 8, 1), np.uint8), r'uint8 \[2, 8, 8, 1\]'),
  )
  def test_other_arrays_are_refused(self, images, found):
    recipe = views.recipe('none', size=8)
    for function in (
      functools.partial(views.apply, recipe, KEY),
      functools.partial(views.unaugmented, recipe),
      functools.partial(views.whole, recipe),
    ):
      with self.assertRaisesRegex(ValueError, f'images: found {found}, must be uint8'):
        function(images)

  def test_the_smallest_images_work(self):
    recipe = views.recipe('byol', size=4)
    ours = compiled(recipe)(KEY, np.full((3, 1, 2, 3), 9, np.uint8))
    self.assertTrue(bool(jnp.isfinite(ours).all()))
