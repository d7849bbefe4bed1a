"""What the layers of a projector have, and how the weights of heads start."""

import chex
import jax
import jax.numpy as jnp
from absl.testing import parameterized

from tests.methods import tiny


def _projector(**hyperparameters):
  method = tiny.method('simclr', 'float32', projector_layers=2, **hyperparameters)
  network = method.networks()['projector']
  shape = jax.ShapeDtypeStruct((2, method.require_encoder().out_features), jnp.float32)
  return network.init(jax.random.key(0), shape)['params']


class LastBiasTest(chex.TestCase):
  @parameterized.parameters(True, False)
  def test_only_the_last_layer_is_meant(self, bias):
    params = _projector(projector_last_bias=bias)
    self.assertIn('bias', params['linear1'])
    self.assertEqual('bias' in params['linear2'], bias)


class InitTest(chex.TestCase):
  def test_torch_default_draws_the_biases_too(self):
    self.assertTrue(jnp.any(_projector(projector_init='torch_default')['linear2']['bias'] != 0))
    self.assertTrue(jnp.all(_projector()['linear2']['bias'] == 0))

  def test_the_distribution_is_the_one_asked_for(self):
    kernel = _projector(projector_init='torch_default')['linear1']['kernel']
    self.assertLessEqual(float(jnp.max(jnp.abs(kernel))), kernel.shape[0] ** -0.5)
    self.assertRaises(ValueError, lambda: _projector(projector_init='zeros'))


class ProjectorInitTest(chex.TestCase):
  @parameterized.parameters(
    ('byol', {}, (2 / 4096) ** 0.5),
    ('byol', {'projector_init': 'lecun_uniform'}, 4096**-0.5),
    ('moco_v3', {'projector_init': 'torch_default'}, (3 * 4096) ** -0.5),
    ('simsiam', {}, (3 * 4096) ** -0.5),
    ('iccl', {}, 4096**-0.5),
    ('iccl', {'target': 'stop_gradient'}, (3 * 4096) ** -0.5),
    ('iccl', {'projector_init': 'kaiming_normal'}, (2 / 4096) ** 0.5),
  )
  def test_deviation_of_the_last_layer(self, name, hyperparameters, expected):
    method = tiny.method(name, 'float32', projector_hidden=4096, **hyperparameters)
    shape = jax.ShapeDtypeStruct((2, method.require_encoder().out_features), jnp.float32)
    params = method.networks()['projector'].init(jax.random.key(0), shape)['params']
    deviation = float(jnp.std(params['linear2']['kernel']))
    self.assertAlmostEqual(deviation / expected, 1, delta=0.02)


class MoCoTest(chex.TestCase):
  def test_the_projector_is_linear_relu_linear(self):
    network = tiny.method('moco_v2', 'float32').networks()['projector']
    x = jax.random.normal(jax.random.key(1), (4, *network.in_shape))
    variables = network.init(jax.random.key(0), x)
    first, second = (variables['params'][name] for name in ('linear1', 'linear2'))
    expected = jax.nn.relu(x @ first['kernel'] + first['bias']) @ second['kernel'] + second['bias']
    found, batch_stats = network.apply(variables, x, train=True)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-6)
    self.assertEmpty(batch_stats)
    # PyTorch's start, which draws the biases too.
    self.assertGreater(float(jnp.min(jnp.abs(first['bias']))), 0)
    self.assertLessEqual(float(jnp.max(jnp.abs(first['kernel']))), x.shape[1] ** -0.5)


def _predictor(name, **hyperparameters):
  method = tiny.method(name, 'float32', **hyperparameters)
  network = method.networks()['predictor']
  shape = jax.ShapeDtypeStruct((2, method.networks()['projector'].out_features), jnp.float32)
  return network.init(jax.random.key(0), shape)['params']


class PredictorInitTest(chex.TestCase):
  @parameterized.parameters(
    ('byol', {}, 0.01),
    ('byol', {'predictor_init': 'lecun_uniform'}, 4096**-0.5),
    ('byol', {'predictor_init': 'kaiming_normal'}, (2 / 4096) ** 0.5),
    ('byol+dsa', {'predictor_init': 'torch_default'}, (3 * 4096) ** -0.5),
    ('simsiam', {}, (3 * 4096) ** -0.5),
    ('moco_v3', {}, (2 / 4096) ** 0.5),
    ('iccl', {}, 4096**-0.5),
    ('iccl', {'target': 'stop_gradient'}, (3 * 4096) ** -0.5),
    ('iccl', {'predictor_init': 'normal_0.01'}, 0.01),
  )
  def test_deviation_of_the_last_layer(self, name, hyperparameters, expected):
    # At a hidden width of 4,096 the deviation of 4,096 x 6 draws is within 2 % of its expectation.
    kernel = _predictor(name, predictor_hidden=4096, **hyperparameters)['linear2']['kernel']
    self.assertAlmostEqual(float(jnp.std(kernel)) / expected, 1, delta=0.02)

  def test_other_names_are_refused(self):
    with self.assertRaisesRegex(
      ValueError, 'predictor_init: found .*must be one of kaiming_normal'
    ):
      tiny.method('byol', 'float32', predictor_init='zeros')
