"""Heads: the published shapes, NumPy's forward pass, initialization."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import models
from tests.models import reference_resnet

HEADS = {
  # Wang et al. (ICCV 2021): projector and predictor of a ResNet-50.
  'triplet_projector': ((2048, (4096, 256)), {}, 2048 * 4096 + 3 * 4096 + 4096 * 256 + 256),
  'triplet_predictor': (
    (256, (4096, 256)),
    {'kernel_init': 'normal_0.01'},
    256 * 4096 + 3 * 4096 + 4096 * 256 + 256,
  ),
  # Ge et al. (IEEE TIP 2023): ImageNet, then Imagenette.
  'iccl_projector': (
    (2048, (4096, 4096, 512)),
    {'norms': (True, True, False), 'biases': (False,) * 3, 'kernel_init': 'lecun_uniform'},
    27_279_360,
  ),
  'iccl_predictor': (
    (512, (4096, 512)),
    {'biases': (False, False), 'kernel_init': 'lecun_uniform'},
    4_202_496,
  ),
  'imagenette_projector': (
    (512, (512, 512, 512)),
    {
      'norms': (True, True, True),
      'biases': (False,) * 3,
      'kernel_init': 'torch_default',
      'last_norm_affine': False,
    },
    788_480,
  ),
  'imagenette_predictor': (
    (512, (512, 512)),
    {'biases': (False, True), 'kernel_init': 'torch_default'},
    525_824,
  ),
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def _apply(network, variables, x, train):
  return network.apply(variables, x, train=train)


def _features(*shape, dtype=jnp.float32):
  return jax.random.normal(jax.random.key(5), shape, dtype)


def _reference(network, variables, x, train):
  params, batch_stats, new = variables['params'], variables['batch_stats'], {}
  count = len(network.module.layers)
  for index in range(1, count + 1):
    linear = params[f'linear{index}']
    x = x @ linear['kernel'] + linear.get('bias', 0.0)
    name = f'norm{index}'
    if name in batch_stats:
      x, new[name] = reference_resnet.norm(x, params.get(name, {}), batch_stats[name], train)
    x = np.maximum(x, 0) if index < count else x
  return x, new


class MlpTest(chex.TestCase):
  @parameterized.named_parameters((name, *spec) for name, spec in HEADS.items())
  def test_parameter_count(self, arguments, settings, count):
    network = models.mlp(*arguments, **settings)
    x = jax.ShapeDtypeStruct((2, arguments[0]), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    self.assertEqual(sum(leaf.size for leaf in jax.tree.leaves(variables['params'])), count)
    self.assertEqual(network.out_features, arguments[1][-1])

  @parameterized.parameters(
    ({},),
    ({'biases': (False, True), 'norms': (True, True)},),
    ({'norms': (False, True), 'last_norm_affine': False, 'kernel_init': 'torch_default'},),
    ({'norms': (False, False), 'biases': (True, False)},),
  )
  def test_equals_numpy_in_training_and_evaluation(self, settings):
    with jax.enable_x64(True):
      network = models.mlp(6, (9, 5), dtype='float64', **settings)
      x = _features(12, 6, dtype=jnp.float64)
      variables = network.init(jax.random.key(0), x)
      host = jax.device_get(variables)
      out, batch_stats = _apply(network, variables, x, True)
      expected, expected_stats = _reference(network, host, np.array(x), True)
      np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-12)
      chex.assert_trees_all_close(batch_stats, expected_stats, rtol=1e-9, atol=1e-12)
      host['batch_stats'] = jax.device_get(batch_stats)
      out, unchanged = _apply(network, host, x, False)
      np.testing.assert_allclose(
        out, _reference(network, host, np.array(x), False)[0], rtol=1e-9, atol=1e-12
      )
      chex.assert_trees_all_equal(unchanged, host['batch_stats'])

  @parameterized.parameters(
    ('kaiming_normal', (2 / 256) ** 0.5, None),
    ('lecun_uniform', (1 / 256) ** 0.5, (3 / 256) ** 0.5),
    ('normal_0.01', 0.01, None),
    ('torch_default', (1 / 768) ** 0.5, (1 / 256) ** 0.5),
  )
  def test_initialization(self, kernel_init, deviation, limit):
    network = models.mlp(256, (512, 8), kernel_init=kernel_init)
    params = network.init(jax.random.key(1), _features(2, 256))['params']
    kernel, bias = params['linear1']['kernel'], params['linear1']['bias']
    np.testing.assert_allclose(jnp.std(kernel), deviation, rtol=0.01)
    if limit is not None:
      np.testing.assert_allclose(jnp.max(jnp.abs(kernel)), limit, rtol=1e-3)
    if kernel_init == 'torch_default':
      np.testing.assert_allclose(jnp.std(bias), deviation, rtol=0.1)
      self.assertLessEqual(float(jnp.max(jnp.abs(bias))), limit)
    else:
      np.testing.assert_array_equal(bias, 0)

  def test_bfloat16_keeps_parameters_statistics_and_output_in_float32(self):
    x = _features(64, 32)
    full, half = (models.mlp(32, (64, 16), dtype=dtype) for dtype in ('float32', 'bfloat16'))
    variables = full.init(jax.random.key(0), x)
    chex.assert_trees_all_equal(variables, half.init(jax.random.key(0), x))
    expected, expected_stats = _apply(full, variables, x, True)
    out, batch_stats = _apply(half, variables, x, True)
    chex.assert_type([out, *jax.tree.leaves(batch_stats)], jnp.float32)
    error = jnp.linalg.norm(out - expected) / jnp.linalg.norm(expected)
    self.assertBetween(float(error), 1e-5, 2e-2)
    chex.assert_trees_all_close(batch_stats, expected_stats, rtol=2e-2, atol=2e-3)

  @parameterized.parameters(
    ({'layers': ()}, 'layers: found (), must be at least one width'),
    ({'layers': (8, 0)}, 'layers: found 0, must be a whole number >= 1'),
    ({'in_features': -1}, 'in_features: found -1'),
    ({'norms': (True,)}, 'norms: found (True,), must be 2 entries'),
    ({'biases': (True,) * 3}, 'biases: found (True, True, True), must be 2 entries'),
    (
      {'kernel_init': 'kaiming'},
      "kernel_init: found 'kaiming', must be one of kaiming_normal, ",
    ),
    ({'dtype': 'int8'}, "dtype: found 'int8'"),
  )
  def test_refuses_in_one_line(self, settings, message):
    with self.assertRaises(ValueError) as caught:
      models.mlp(**{'in_features': 4, 'layers': (8, 2), **settings})
    self.assertIn(message, str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))

  def test_refuses_features_of_another_width(self):
    network = models.mlp(4, (8, 2))
    with self.assertRaisesRegex(ValueError, r'x: found shape \(3, 5\), must be \[batch, 4\]'):
      network.init(jax.random.key(0), _features(3, 5))
