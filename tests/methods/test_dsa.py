"""DSA with a base method: the base method's loss plus the adjuster's, with each prior."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import losses, methods
from ssl_jax.methods import dsa
from tests.methods import tiny


def run(name='simclr+dsa', **hyperparameters):
  """Method, state, and what it makes of a batch."""
  method = tiny.method(name, 'float32', **hyperparameters)
  state = method.init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
  batch = jax.tree.map(
    lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, tiny.batch()
  )
  embeddings, new = jax.jit(method.embed)(state, batch, 0, jax.random.key(1))
  return method, state, batch, embeddings, new


class WithDSATest(chex.TestCase):
  def test_adds_the_adjuster_to_the_base_loss(self):
    self.check_sum('simclr+dsa', 'calibrated')

  @parameterized.product(
    name=('simclr+dsa', 'byol+dsa'), preset=('paper', 'calibrated', 'released')
  )
  @pytest.mark.slow
  def test_adds_every_preset_to_the_base_loss(self, name, preset):
    self.check_sum(name, preset)

  def check_sum(self, name, preset):
    method, state, _, found, _ = run(name, dsa_preset=preset)
    loss, metrics = method.loss_from_embeddings(found, state, 0)
    base = tiny.method(name.partition('+')[0], 'float32')
    expected, _ = base.loss_from_embeddings(found, state, 0)
    np.testing.assert_allclose(metrics['base_loss'], expected, rtol=1e-6)
    settings = dataclasses.replace(losses.ADJUSTER_PRESETS[preset], num_neighbors=2)
    term, _ = losses.semantic_adjuster(
      state['params']['dsa'],
      found.online,
      found.target,
      found.context['dsa_priors'],
      found.context['dsa_unaugmented'],
      preset=settings,
      prior_temperature=found.context.get('dsa_temperature'),
      group_size=4,
    )
    np.testing.assert_allclose(loss - expected, term, rtol=1e-4)

  def test_weights_override_the_preset(self):
    method, state, _, found, _ = run(dsa_arranging_weight=0.0, dsa_regularizer_weight=0.0)
    loss, metrics = method.loss_from_embeddings(found, state, 0)
    np.testing.assert_allclose(loss, metrics['base_loss'], rtol=1e-6)

  def test_prior_of_the_moving_average_reads_running_statistics(self):
    method, state, batch, found, _ = run()
    self.assertEqual((method.target_network, method.averaged_networks), ('ema', ('encoder',)))
    self.assertEqual(float(method.target_momentum(3)), np.float32(0.99))
    frozen = {'params': state['target']['encoder'], 'batch_stats': state['batch_stats']['encoder']}
    unaugmented, _ = method.encoder.apply(frozen, batch.unaugmented, train=False)
    np.testing.assert_allclose(found.context['dsa_unaugmented'], unaugmented, rtol=2e-5, atol=1e-6)

  def test_the_host_keeps_its_own_moving_average(self):
    method = tiny.method('byol+dsa')
    self.assertEqual(method.averaged_networks, ('encoder', 'projector'))
    np.testing.assert_allclose(method.target_momentum(0), 0.99, rtol=1e-6)
    simsiam = tiny.method('simsiam+dsa', dsa_prior='pixel')
    self.assertEqual((simsiam.target_network, simsiam.averaged_networks), ('stop_gradient', ()))

  def test_prior_of_pixels(self):
    _, state, batch, found, _ = run(dsa_prior='pixel')
    self.assertNotIn('encoder', state['target'])
    rows = dsa.coarse_pixels(batch.unaugmented)
    self.assertEqual(rows.shape, (8, 8 * 8 * 3))
    np.testing.assert_allclose(
      found.context['dsa_unaugmented'] - found.context['dsa_unaugmented'][0],
      rows - rows[0],
      atol=1e-5,
    )
    halves = dsa.coarse_pixels(jnp.arange(32.0).reshape(1, 16, 2, 1))
    np.testing.assert_allclose(
      halves[0], [1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22, 25, 26, 29, 30]
    )

  def test_frozen_priors_lie_in_the_state(self):
    _, state, _, _, new = run(dsa_prior='random')
    chex.assert_trees_all_equal(
      new['method_state']['dsa_prior'], state['method_state']['dsa_prior']
    )
    filled = dsa.init_from(
      state['method_state'], state['params']['encoder'], state['batch_stats']['encoder']
    )
    chex.assert_trees_all_equal(filled['dsa_prior']['params'], state['params']['encoder'])
    reading = methods.create('simclr+dsa', dsa_prior='checkpoint', dsa_prior_run='runs/a')
    self.assertEqual(dsa.frozen_encoder_run(reading), 'runs/a')
    self.assertEqual(dsa.frozen_encoder_run(methods.create('simclr')), '')

  @pytest.mark.slow
  def test_calibrated_temperature_is_averaged_over_steps(self):
    method, state, batch, found, new = run()
    first = new['method_state']['dsa_temperature']
    np.testing.assert_allclose(
      first,
      losses.calibrated_temperature(found.context['dsa_unaugmented'], group_size=4),
      rtol=1e-6,
    )
    later = {**state, 'method_state': {'dsa_temperature': 2 * first}}
    _, again = jax.jit(method.embed)(later, batch, 0, jax.random.key(1))
    np.testing.assert_allclose(again['method_state']['dsa_temperature'], 1.99 * first, rtol=1e-5)
    _, fixed, *_ = run(dsa_preset='paper')
    self.assertNotIn('dsa_temperature', fixed['method_state'])

  @parameterized.parameters(
    ({'dsa_prior': 'checkpoint'}, 'dsa_prior_run: found , must be the folder of a run'),
    ({'dsa_prior_run': 'runs/a'}, 'dsa_prior_run: found runs/a, must be empty unless'),
    ({'dsa_preset': 'best'}, "dsa_preset: found 'best', must be one of paper"),
    ({'dsa_group_size': -1}, 'dsa_group_size: found -1'),
    (
      {'dsa_regularizer_weight': -0.5},
      'dsa_regularizer_weight: found -0.5, must be >= 0 and finite, or -1',
    ),
  )
  def test_wrong_values(self, hyperparameters, pattern):
    with self.assertRaisesRegex(ValueError, f'{pattern}'):
      methods.create('simclr+dsa', **hyperparameters)

  def test_groups_divide_the_batch_and_hold_the_neighbors(self):
    with self.assertRaisesRegex(ValueError, 'dsa_group_size: found 3, must be a divisor'):
      tiny.method('simclr+dsa', dsa_group_size=3).validate_batch(8, 8)
    with self.assertRaisesRegex(ValueError, 'dsa_neighbors: found 4, must be at most 3'):
      tiny.method('simclr+dsa', dsa_neighbors=4).validate_batch(8, 8)

  def test_needs_the_unaugmented_images(self):
    with self.assertRaisesRegex(ValueError, 'unaugmented: found None'):
      tiny.method('simclr+dsa').embed(
        tiny.variables('simclr+dsa'), tiny.batch().views, 0, jax.random.key(0)
      )
