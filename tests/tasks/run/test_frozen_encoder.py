"""Frozen encoders: what their features and digests depend on, and what not."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import data, models, views
from ssl_jax.tasks.run.frozen_encoder import PIXELS, FrozenEncoder
from ssl_jax.training import mesh as mesh_lib


class Convolution(nn.Module):
  """The least that an encoder is, so that it compiles at once."""

  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train):
    x = nn.Conv(WIDTH, (3, 3), dtype=self.dtype)(x)
    x = nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x)
    return nn.tanh(x).mean(axis=(1, 2))


WIDTH = 16
CONVOLUTION = models.Network(Convolution(), (None, None, 3), WIDTH, models.mlp(1).kernel_init)
NETWORKS = {'encoder': CONVOLUTION, 'projector': models.mlp(WIDTH, (6, 4))}
CROP = views.View(crop_scale=(0.1, 0.5), crop_ratio=(0.5, 2), flip_prob=0.5)
RECIPE = views.Recipe(views=(CROP, CROP), size=8)
PLAIN = dataclasses.replace(RECIPE, views=(views.View(),))


@functools.cache
def drawn():
  found = {'params': {}, 'batch_stats': {}}
  for index, (name, network) in enumerate(NETWORKS.items()):
    shape = (1, *(8 if size is None else size for size in network.in_shape))
    one = network.init(jax.random.key(index), jnp.zeros(shape))
    # Statistics that are not those at the start, of batches of another size.
    rng = np.random.default_rng(index)
    moved = jax.tree.map(
      lambda x, rng=rng: rng.uniform(0.3, 1, x.shape).astype('f4'), one['batch_stats']
    )
    found['params'][name], found['batch_stats'][name] = jax.device_get(one['params']), moved
  return found


def frozen(devices=1, variables=None, networks=None, recipe=RECIPE, seed=3):
  mesh = mesh_lib.make_mesh(jax.devices()[:devices])
  same = mesh_lib.replicated(mesh)
  placed = jax.tree.map(lambda x: mesh_lib.put(x, same), variables or drawn())
  return FrozenEncoder(networks or NETWORKS, placed, recipe, mesh, seed)


def source(count, height=8, width=8):
  rng = np.random.default_rng(0)
  return data.ArraySource(rng.integers(0, 256, (count, height, width, 3), np.uint8))


def embed(images, layer):
  """By the networks themselves, without jit and without batches."""
  for name in list(NETWORKS)[: 1 + list(NETWORKS).index(layer)]:
    own = {part: drawn()[part][name] for part in ('params', 'batch_stats')}
    images, _ = NETWORKS[name].apply(own, images, train=False)
  return np.asarray(images)


def assert_close(found, expected):
  chex.assert_equal_shape([found, expected])
  # Nothing is shown by features that do not depend on the image.
  assert np.ptp(expected, axis=0).min() > 1e-2
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class FeaturesTest(chex.TestCase):
  @parameterized.parameters(*NETWORKS)
  def test_of_the_image_as_it_is(self, layer):
    images = source(5)
    found = frozen().features(images, layer)
    self.assertEqual(found.dtype, np.float32)
    assert_close(found, embed(views.unaugmented(RECIPE, jnp.asarray(images.images)), layer))

  def test_pixels_are_what_the_encoder_is_given(self):
    images = source(5, 12, 10)
    found = frozen(3).features(images, PIXELS)
    expected = views.unaugmented(RECIPE, jnp.asarray(images.images)).reshape(5, -1)
    np.testing.assert_allclose(found, expected, atol=1e-6)

  def test_whole_images_of_any_shape(self):
    images = source(4, 12, 6)
    found = frozen().features(images, 'encoder', whole=True)
    pixels = jnp.asarray((images.images / np.float32(255) - RECIPE.mean) / RECIPE.std, jnp.float32)
    assert_close(found, embed(pixels, 'encoder'))
    self.assertGreater(np.abs(found - frozen().features(images, 'encoder')).max(), 1e-3)

  def test_devices_change_nothing(self):
    images = source(300)
    one = frozen().features(images, 'projector')
    for devices in (3, 4):
      assert_close(frozen(devices).features(images, 'projector'), one)


class ViewFeaturesTest(chex.TestCase):
  def test_devices_change_nothing(self):
    # More than a batch: positions go on in the next one, wherever it begins.
    images = source(300)
    one = frozen().view_features(images, 'encoder', 2)
    chex.assert_shape(one, (300, 2 * WIDTH))
    for devices in (3, 4):
      assert_close(frozen(devices).view_features(images, 'encoder', 2), one)

  def test_seed_position_and_number_decide(self):
    # Large enough for thousands of crops.
    same = data.ArraySource(source(1, 64, 64).images.repeat(258, axis=0))
    found = frozen().view_features(same, 'encoder', 3).reshape(258, 3, WIDTH)
    np.testing.assert_array_equal(
      found.reshape(258, -1), frozen().view_features(same, 'encoder', 3)
    )
    other = frozen(seed=4).view_features(same, 'encoder', 3).reshape(found.shape)
    # Equal images all have other views: by position, also in the next batch, number and seed.
    rows = np.concatenate([found.reshape(-1, WIDTH), other.reshape(-1, WIDTH)])
    # A crop may be drawn twice; keys of the second batch that were used before would be 12 rows.
    self.assertGreater(len(np.unique(rows.round(4), axis=0)), len(rows) - 5)

  def test_more_begin_with_the_same(self):
    many = frozen().view_features(source(20), 'encoder', 3)
    assert_close(frozen().view_features(source(20), 'encoder', 1), many[:, :WIDTH])
    assert_close(frozen().view_features(source(7), 'encoder', 3), many[:7])

  def test_are_of_augmented_images(self):
    images = source(6)
    without = frozen(recipe=PLAIN)
    plain = without.features(images, 'projector')
    # A recipe that changes nothing, with one view a draw.
    assert_close(without.view_features(images, 'projector', 3), np.tile(plain, 3))
    # The un-augmented image that a recipe may add is none of the views.
    added = dataclasses.replace(RECIPE, unaugmented=True)
    found = frozen(recipe=added).view_features(images, 'projector', 3)
    assert_close(found, frozen().view_features(images, 'projector', 3))

  @parameterized.parameters(0, -1)
  def test_no_views(self, count):
    with self.assertRaisesRegex(ValueError, f'^count: found {count}, must be a whole number >= 1$'):
      frozen().view_features(source(2), 'encoder', count)


class DigestTest(chex.TestCase):
  def test_every_number_counts(self):
    leaves, structure = jax.tree.flatten(drawn())
    names = list(models.flatten(drawn()))
    before = {layer: frozen().digest(layer) for layer in NETWORKS}
    self.assertNotEqual(before['encoder'], before['projector'])
    seen = set(before.values())
    for index, name in enumerate(names):
      changed = [leaf.copy() for leaf in leaves]
      last = changed[index].reshape(-1)[-1:]
      last[:] = np.nextafter(last, np.float32(9))
      encoder = frozen(variables=jax.tree.unflatten(structure, changed))
      after = {layer: encoder.digest(layer) for layer in NETWORKS}
      seen.add(after['projector'])
      if name.split('/')[1] == 'projector':
        self.assertEqual(after['encoder'], before['encoder'], name)
      else:
        self.assertNotEqual(after['encoder'], before['encoder'], name)
    self.assertLen(seen, 2 + len(names))

  def test_nothing_else_does(self):
    before = frozen().digest('projector')
    self.assertRegex(before, '^[0-9a-f]{64}$')
    turned = {part: dict(reversed(tree.items())) for part, tree in drawn().items()}
    self.assertEqual(frozen(variables=turned).digest('projector'), before)
    self.assertEqual(frozen(devices=4).digest('projector'), before)
    alone = {name: NETWORKS[name] for name in ('encoder',)}
    self.assertEqual(frozen(networks=alone).digest('encoder'), frozen().digest('encoder'))

  def test_what_becomes_of_the_numbers_counts(self):
    half = dataclasses.replace(CONVOLUTION, module=Convolution('bfloat16'), dtype='bfloat16')
    found = [
      frozen().digest('encoder'),
      frozen(networks={**NETWORKS, 'encoder': half}).digest('encoder'),
      frozen(recipe=PLAIN).digest('encoder'),
      frozen(seed=4).digest('encoder'),
    ]
    self.assertLen(set(found), 4)


class LayerTest(chex.TestCase):
  def test_that_is_not_there(self):
    encoder = frozen(networks={'encoder': NETWORKS['encoder']})
    for call in (
      encoder.digest,
      lambda layer: encoder.features(source(2), layer),
      lambda layer: encoder.view_features(source(2), layer, 2),
    ):
      with self.assertRaisesRegex(ValueError, '^--evaluate.layer: found projector, must be one'):
        call('projector')

  def test_no_images(self):
    with self.assertRaisesRegex(ValueError, 'found 0 images'):
      frozen().features(source(0), 'encoder')
