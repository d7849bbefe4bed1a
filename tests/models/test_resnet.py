"""Residual networks against NumPy, published parameter counts, and the contract of `Network`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import models
from tests.models import reference_resnet


@functools.partial(jax.jit, static_argnums=(0, 3))
def _apply(network, variables, x, train):
  return network.apply(variables, x, train=train)


def _images(*shape, seed=1, dtype=jnp.float32):
  return jax.random.normal(jax.random.key(seed), shape, dtype)


def _tiny(**settings):
  return models.resnet('resnet10', **{'stem': 'cifar', 'width': 4, **settings})


def _count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _shapes(network, size=32):
  image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  return jax.eval_shape(network.init, jax.random.key(0), image)


class ArchitectureTest(chex.TestCase):
  @parameterized.parameters(
    ('resnet18', 'cifar', 11_168_832, 512),
    ('resnet18', 'imagenet', 11_176_512, 512),
    ('resnet34', 'imagenet', 21_284_672, 512),
    ('resnet50', 'imagenet', 23_508_032, 2048),
    ('resnet101', 'imagenet', 42_500_160, 2048),
    ('resnet152', 'imagenet', 58_143_808, 2048),
  )
  def test_parameter_count_is_the_published_one(self, name, stem, count, out_features):
    network = models.resnet(name, stem=stem)
    variables = _shapes(network)
    self.assertEqual(_count(variables['params']), count)
    self.assertEqual(network.out_features, out_features)
    # One mean and one variance for each gain and bias.
    norms = [leaf for leaf in jax.tree.leaves(variables['params']) if leaf.ndim == 1]
    self.assertEqual(_count(variables['batch_stats']), _count(norms))

  @parameterized.parameters(
    ('resnet50', 'imagenet', 224, (56, 28, 14, 7)),
    ('resnet18', 'imagenet', 96, (24, 12, 6, 3)),
    ('resnet18', 'cifar', 32, (32, 16, 8, 4)),
    ('resnet10', 'cifar', 33, (33, 17, 9, 5)),
    ('resnet18', 'cifar_padded', 32, (36, 18, 9, 5)),
    ('resnet18', 'cifar_pooled', 64, (32, 16, 8, 4)),
  )
  def test_feature_map_sizes(self, name, stem, size, sides):
    network = models.resnet(name, stem=stem, width=8)
    variables = _shapes(network, size)
    found = jax.eval_shape(
      functools.partial(
        network.module.apply, train=False, capture_intermediates=True, mutable=['intermediates']
      ),
      {'params': variables['params'], 'batch_stats': variables['batch_stats']},
      jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
    )[1]['intermediates']
    for stage, side in enumerate(sides, 1):
      (shape,) = (leaf.shape for leaf in found[f'stage{stage}_block1']['__call__'])
      self.assertEqual(shape[1:3], (side, side))
      self.assertEqual(shape[3], 8 * 2 ** (stage - 1) * (4 if name == 'resnet50' else 1))

  @parameterized.parameters(
    ('resnet10', 'cifar', 3, 9), ('resnet10', 'imagenet', 2, 40), ('resnet50', 'imagenet', 1, 33)
  )
  def test_equals_numpy_in_training_and_evaluation(self, name, stem, width, size):
    with jax.enable_x64(True):
      network = models.resnet(name, stem=stem, width=width, dtype='float64')
      images = _images(6, size, size, 3, dtype=jnp.float64)
      variables = network.init(jax.random.key(0), images)
      host = jax.device_get(variables)
      features, batch_stats = _apply(network, variables, images, True)
      expected, expected_stats = reference_resnet.resnet(name, stem, host, np.array(images), True)
      np.testing.assert_allclose(features, expected, rtol=1e-8, atol=1e-10)
      chex.assert_trees_all_close(batch_stats, expected_stats, rtol=1e-8, atol=1e-12)
      if name == 'resnet50':
        return  # its evaluation compiles for long, and differs from the others in nothing

      host['batch_stats'] = jax.device_get(batch_stats)
      features, unchanged = _apply(network, host, images, False)
      expected, _ = reference_resnet.resnet(name, stem, host, np.array(images), False)
      np.testing.assert_allclose(features, expected, rtol=1e-8, atol=1e-10)
      chex.assert_trees_all_equal(unchanged, host['batch_stats'])

  def test_the_padded_stem_is_the_other_one_on_a_framed_image(self):
    images = _images(2, 12, 12, 3)
    padded, plain = _tiny(stem='cifar_padded'), _tiny()
    variables = plain.init(jax.random.key(0), images)
    chex.assert_trees_all_equal(variables, padded.init(jax.random.key(0), images))
    framed = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found, _ = _apply(padded, variables, images, True)
    expected, _ = _apply(plain, variables, framed, True)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)

  def test_names_that_masks_and_exports_rely_on(self):
    params = _shapes(models.resnet('resnet50', width=2))['params']
    self.assertEqual(
      set(params['stage1_block1']),
      {'conv1', 'norm1', 'conv2', 'norm2', 'conv3', 'norm3', 'shortcut_conv', 'shortcut_norm'},
    )
    self.assertNotIn('shortcut_conv', params['stage1_block2'])
    self.assertEqual(set(params['stem_norm']), {'scale', 'bias'})
    self.assertEqual(set(params['stem_conv']), {'kernel'})
    self.assertLen([scope for scope in params if scope.startswith('stage')], 16)
    # Basic blocks keep the width of the stem in stage 1, and so have no shortcut to project there.
    self.assertNotIn('shortcut_conv', _shapes(_tiny())['params']['stage1_block1'])


class InitTest(chex.TestCase):
  def test_depends_on_the_key_alone(self):
    network = _tiny()
    first = network.init(jax.random.key(3), _images(2, 8, 8, 3))
    chex.assert_trees_all_equal(first, network.init(jax.random.key(3), _images(5, 32, 16, 3)))
    chex.assert_trees_all_equal(
      first, jax.jit(network.init)(jax.random.key(3), _images(2, 8, 8, 3))
    )
    other = network.init(jax.random.key(4), _images(2, 8, 8, 3))
    for old, new in zip(*map(jax.tree.leaves, (first['params'], other['params'])), strict=True):
      self.assertEqual(bool(jnp.all(old == new)), old.ndim == 1)

  def test_is_compiled_once_for_equal_networks(self):
    self.assertEqual(_tiny(), _tiny())
    self.assertEqual(hash(_tiny()), hash(_tiny()))
    self.assertNotEqual(_tiny(), _tiny(width=5))

  def test_kaiming_normal_fan_in(self):
    params = _tiny(width=32).init(jax.random.key(0), _images(2, 8, 8, 3))['params']
    kernel = params['stage4_block1']['conv1']['kernel']  # [3, 3, 128, 256]
    np.testing.assert_allclose(jnp.std(kernel), (2 / (9 * 128)) ** 0.5, rtol=0.01)
    # Not truncated: a normal sample of this size reaches beyond four deviations.
    self.assertGreater(float(jnp.max(jnp.abs(kernel)) / jnp.std(kernel)), 4)

  def test_kaiming_normal_fan_out(self):
    network = _tiny(width=32, conv_init='kaiming_normal_fan_out')
    params = network.init(jax.random.key(0), _images(2, 8, 8, 3))['params']
    kernel = params['stage4_block1']['conv1']['kernel']  # [3, 3, 128, 256]
    np.testing.assert_allclose(jnp.std(kernel), (2 / (9 * 256)) ** 0.5, rtol=0.01)
    self.assertGreater(float(jnp.max(jnp.abs(kernel)) / jnp.std(kernel)), 4)

  def test_kaiming_uniform_fan_out(self):
    network = _tiny(width=32, conv_init='kaiming_uniform_fan_out')
    kernel = network.init(jax.random.key(0), _images(2, 8, 8, 3))['params']['stage4_block1'][
      'conv1'
    ]
    limit = (6 / (9 * 256)) ** 0.5
    np.testing.assert_allclose(jnp.max(jnp.abs(kernel['kernel'])), limit, rtol=1e-3)
    np.testing.assert_allclose(jnp.std(kernel['kernel']), limit / 3**0.5, rtol=0.01)

  def test_torch_default_of_the_stem_alone(self):
    settings = {'width': 32, 'conv_init': 'kaiming_normal_fan_out'}
    images = _images(2, 8, 8, 3)
    expected, found = (
      _tiny(**settings, **stem).init(jax.random.key(0), images)['params']
      for stem in ({}, {'stem_init': 'torch_default'})
    )
    kernel = found.pop('stem_conv')['kernel']  # [3, 3, 3, 32]
    del expected['stem_conv']
    chex.assert_trees_all_equal(found, expected)
    limit = 27**-0.5
    self.assertLess(float(jnp.max(jnp.abs(kernel))), limit)
    np.testing.assert_allclose(jnp.max(jnp.abs(kernel)), limit, rtol=0.01)
    np.testing.assert_allclose(jnp.std(kernel), limit / 3**0.5, rtol=0.06)

  @parameterized.parameters(True, False)
  def test_zero_init_residual_silences_the_branches(self, zero_init_residual):
    network = _tiny(zero_init_residual=zero_init_residual)
    images = _images(4, 8, 8, 3)
    variables = network.init(jax.random.key(0), images)
    features, _ = _apply(network, variables, images, True)

    def shuffle(path, leaf):
      in_branch = path[-2].key.startswith('conv') and path[0].key.startswith('stage')
      return leaf[::-1] if in_branch else leaf

    changed = {
      **variables,
      'params': jax.tree_util.tree_map_with_path(shuffle, variables['params']),
    }
    same = np.array_equal(features, _apply(network, changed, images, True)[0])
    self.assertEqual(same, zero_init_residual)


class ApplyTest(chex.TestCase):
  def test_training_moves_the_statistics_and_evaluation_only_reads_them(self):
    network, images = _tiny(), 3 * _images(16, 8, 8, 3) + 1
    variables = network.init(jax.random.key(0), images)
    _, batch_stats = _apply(network, variables, images, True)
    convolved = jax.lax.conv_general_dilated(
      images,
      variables['params']['stem_conv']['kernel'],
      (1, 1),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    np.testing.assert_allclose(
      batch_stats['stem_norm']['mean'], 0.1 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
      batch_stats['stem_norm']['var'], 0.9 + 0.1 * convolved.var((0, 1, 2)), rtol=1e-4
    )
    features, same = _apply(network, {**variables, 'batch_stats': batch_stats}, images, False)
    chex.assert_trees_all_equal(same, batch_stats)
    # With running statistics the images do not see each other; with those of the batch they do.
    alone, _ = _apply(network, {**variables, 'batch_stats': batch_stats}, images[:4], False)
    np.testing.assert_allclose(alone, features[:4], rtol=1e-5, atol=1e-6)
    together, _ = _apply(network, variables, images, True)
    apart, _ = _apply(network, variables, images[:4], True)
    self.assertGreater(float(jnp.max(jnp.abs(together[:4] - apart))), 1e-3)

  def test_many_devices_are_one(self):
    with jax.enable_x64(True):
      network, images = _tiny(dtype='float64'), _images(16, 8, 8, 3, dtype=jnp.float64)
      variables = network.init(jax.random.key(0), images)

      @jax.jit
      def step(params, images):
        def loss(params):
          features, batch_stats = network.apply({**variables, 'params': params}, images, train=True)
          return jnp.sum(jnp.sin(features)), (features, batch_stats)

        return jax.grad(loss, has_aux=True)(params)

      expected = jax.device_get(step(variables['params'], images))
      mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
      split = jax.device_put(images, NamedSharding(mesh, PartitionSpec('data')))
      params = jax.device_put(variables['params'], NamedSharding(mesh, PartitionSpec()))
      found = step(params, split)
      self.assertLen(found[1][0].sharding.device_set, 8)
      chex.assert_trees_all_close(jax.device_get(found), expected, rtol=1e-9, atol=1e-11)

  def test_bfloat16_keeps_parameters_statistics_and_output_in_float32(self):
    images = _images(16, 16, 16, 3)
    full, half = _tiny(width=16), _tiny(width=16, dtype='bfloat16')
    variables = full.init(jax.random.key(0), images)
    chex.assert_trees_all_equal(variables, half.init(jax.random.key(0), images))
    expected, expected_stats = _apply(full, variables, images, True)
    features, batch_stats = _apply(half, variables, images, True)
    chex.assert_trees_all_equal_shapes_and_dtypes(batch_stats, expected_stats)
    chex.assert_type([features, *jax.tree.leaves(variables)], jnp.float32)
    error = jnp.linalg.norm(features - expected) / jnp.linalg.norm(expected)
    self.assertBetween(float(error), 1e-5, 2e-2)
    chex.assert_trees_all_close(batch_stats, expected_stats, rtol=2e-2, atol=2e-3)

  @parameterized.parameters(jnp.float16, jnp.bfloat16)
  def test_any_float_image_gives_float32_features(self, dtype):
    network, images = _tiny(), _images(2, 8, 8, 3).astype(dtype)
    variables = network.init(jax.random.key(0), images)
    features, _ = jax.eval_shape(functools.partial(network.apply, train=True), variables, images)
    chex.assert_shape(features, (2, network.out_features))
    chex.assert_type(features, jnp.float32)

  def test_a_constant_batch_has_finite_gradients(self):
    network, images = _tiny(), jnp.ones((4, 8, 8, 3))
    variables = network.init(jax.random.key(0), images)
    loss = lambda params: jnp.sum(
      network.apply({**variables, 'params': params}, images, train=True)[0]
    )
    chex.assert_tree_all_finite(jax.jit(jax.grad(loss))(variables['params']))


class RefusalTest(chex.TestCase):
  @parameterized.parameters(
    ({'name': 'resnet181'}, '; nearest: resnet18'),
    ({'name': 'vgg'}, "name: found 'vgg', must be one of resnet10, resnet18, resnet34"),
    (
      {'stem': 'cifar10'},
      "stem: found 'cifar10', must be one of imagenet, cifar, cifar_padded, cifar_pooled; nearest: "
      'cifar, ',
    ),
    ({'conv_init': 'zeros'}, "conv_init: found 'zeros'"),
    ({'stem_init': 'zeros'}, "stem_init: found 'zeros'"),
    ({'dtype': 'float16'}, "dtype: found 'float16', must be one of float32, "),
    ({'width': 0}, 'width: found 0, must be a whole number >= 1'),
    ({'width': 1.5}, 'width: found 1.5'),
  )
  def test_settings(self, settings, message):
    with self.assertRaises(ValueError) as caught:
      models.resnet(**{'name': 'resnet18', **settings})
    self.assertIn(message, str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))

  @parameterized.parameters(
    ((2, 8, 8), jnp.float32, 'x: found shape (2, 8, 8), must be [batch, any, any, 3]'),
    ((2, 8, 8, 1), jnp.float32, 'x: found shape (2, 8, 8, 1)'),
    ((0, 8, 8, 3), jnp.float32, 'x: found shape (0, 8, 8, 3)'),
    ((2, 8, 8, 3), jnp.uint8, 'x: found dtype uint8, must be a floating-point dtype'),
  )
  def test_images(self, shape, dtype, message):
    network = _tiny()
    for call in (
      lambda x: network.init(jax.random.key(0), x),
      lambda x: network.apply({'params': {}, 'batch_stats': {}}, x, train=True),
    ):
      with self.assertRaises(ValueError) as caught:
        call(jnp.zeros(shape, dtype))
      self.assertIn(message, str(caught.exception))
      self.assertNotIn('\n', str(caught.exception))
