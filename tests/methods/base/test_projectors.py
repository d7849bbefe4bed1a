"""What the last layer of a projector has, and how its weights start."""

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
