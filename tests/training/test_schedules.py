"""Schedules: the published values, the parametrizations, float32 accuracy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.training import schedules

# Wang et al. (ICCV 2021): 100 epochs of 10 batches, 10 of them warm-up per batch, cosine per epoch.
TRIPLET = {
  'base': 4.8,
  'total_steps': 1000,
  'warmup_steps': 100,
  'warmup_ratio': 1e-4,
  'epoch_steps': 10,
  'schedule_by_epoch': True,
  'cosine_after_warmup': False,
}
TRIPLET_RATES = {
  0: 0.00048,
  5: 0.240456,
  10: 0.4803134679,
  50: 2.3854645313,
  99: 4.6576625019,
  100: 4.6825356391,
  105: 4.6825356391,
  110: 4.6581138455,
  500: 2.4,
  999: 0.0011842551,
}
# Ge et al. (IEEE TIP 2023): 626 batches an epoch, 300 epochs, 40 of warm-up, both per epoch.
ICCL = {
  'base': 2.4,
  'total_steps': 300 * 626,
  'warmup_steps': 40 * 626,
  'epoch_steps': 626,
  'schedule_by_epoch': True,
  'warmup_by_epoch': True,
}
ICCL_RATES = {
  0: 0.00024,
  1: 0.060234,
  20: 1.20012,
  39: 2.340006,
  40: 2.4,
  41: 2.399912401027,
  170: 1.2,
  299: 0.000087598973,
}


def _make(base, **settings):
  return jax.jit(schedules.warmup_cosine(base, **settings))


class WarmupCosineTest(chex.TestCase):
  @parameterized.parameters((True, 1e-9), (False, 2e-6))
  def test_batch_warmup_under_a_cosine_per_epoch(self, x64, tolerance):
    with jax.enable_x64(x64):
      schedule = _make(**TRIPLET)
      for batch, rate in TRIPLET_RATES.items():
        np.testing.assert_allclose(schedule(batch), rate, rtol=tolerance, atol=1e-10)

  @parameterized.parameters((True, 1e-9), (False, 2e-6))
  def test_epoch_warmup_before_a_cosine_per_epoch(self, x64, tolerance):
    with jax.enable_x64(x64):
      schedule = _make(**ICCL)
      for epoch, rate in ICCL_RATES.items():
        for batch in (epoch * 626, epoch * 626 + 625):
          np.testing.assert_allclose(schedule(batch), rate, rtol=tolerance, atol=1e-12)

  @parameterized.parameters(1, 4, 6)
  def test_an_update_has_the_rate_of_its_last_batch(self, steps_per_update):
    per_batch, per_update = _make(**TRIPLET), _make(**TRIPLET, steps_per_update=steps_per_update)
    for update in (0, 3, 17, 160):
      batch = update * steps_per_update + steps_per_update - 1
      np.testing.assert_array_equal(per_update(update), per_batch(batch))

  def test_defaults_warm_up_then_decay_over_the_rest(self):
    schedule = schedules.warmup_cosine(2.0, total_steps=110, warmup_steps=10, warmup_ratio=0.0)
    rates = jax.jit(jax.vmap(schedule))(jnp.arange(130))
    np.testing.assert_allclose(rates[:11], np.linspace(0, 2, 11), rtol=1e-6)
    np.testing.assert_allclose(rates[35:110:25], [1 + 0.5**0.5, 1, 1 - 0.5**0.5], rtol=1e-6)
    np.testing.assert_array_equal(rates[110:], 0)
    self.assertTrue(bool(jnp.all(jnp.diff(rates[10:111]) < 0)))

  def test_ends_at_the_smallest_rate(self):
    schedule = _make(2.0, total_steps=100, min_lr_ratio=0.25)
    np.testing.assert_allclose(
      [schedule(0), schedule(50), schedule(100)], [2, 1.25, 0.5], rtol=1e-6
    )

  def test_a_run_shorter_than_its_warmup_follows_the_ramp(self):
    short, long = (_make(1.0, total_steps=n, warmup_steps=50) for n in (20, 500))
    for batch in (0, 10, 19):
      np.testing.assert_array_equal(short(batch), long(batch))

  def test_float32_keeps_the_last_tiny_rates(self):
    total = 1_000_000
    schedule = _make(1.0, total_steps=total)
    for left in (1, 7, 300):
      expected = np.sin(0.5 * np.pi * left / total) ** 2
      np.testing.assert_allclose(schedule(total - left), expected, rtol=1e-6)

  def test_returns_a_strong_float32_scalar_for_a_traced_count(self):
    rate = _make(**TRIPLET)(jnp.int32(3))
    chex.assert_shape(rate, ())
    chex.assert_type(rate, jnp.float32)

  @parameterized.parameters(
    ({'base': -1.0}, 'base: found -1.0'),
    ({'total_steps': 0}, 'total_steps: found 0'),
    ({'warmup_steps': -1}, 'warmup_steps: found -1'),
    ({'warmup_ratio': 2.0}, 'warmup_ratio: found 2.0'),
    ({'epoch_steps': 0}, 'epoch_steps: found 0'),
    ({'steps_per_update': 0}, 'steps_per_update: found 0'),
    ({'min_lr_ratio': 2.0}, 'min_lr_ratio: found 2.0'),
    ({'warmup_by_epoch': True}, 'epoch_steps: found None, must be given with warmup_by_epoch'),
    ({'schedule_by_epoch': True}, 'epoch_steps: found None, must be given with schedule_by_epoch'),
  )
  def test_refuses_in_one_line(self, settings, message):
    settings = {'base': 1.0, 'total_steps': 10, **settings}
    with self.assertRaises(ValueError) as caught:
      schedules.warmup_cosine(**settings)
    self.assertIn(message, str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))


class StepDecayTest(chex.TestCase):
  @parameterized.parameters((1,), (4,))
  def test_decays_from_the_given_batches_on(self, steps_per_update):
    schedule = schedules.step_decay(
      2.0, decay_steps=(40, 20), factor=0.5, steps_per_update=steps_per_update
    )
    batches = np.arange(60)[steps_per_update - 1 :: steps_per_update]
    rates = jax.jit(jax.vmap(schedule))(jnp.arange(len(batches)))
    np.testing.assert_array_equal(rates, np.select([batches < 20, batches < 40], [2, 1], 0.5))

  def test_a_decay_before_the_start_has_passed(self):
    schedule = schedules.step_decay(1.0, decay_steps=(-10, 5), factor=0.5)
    np.testing.assert_array_equal([schedule(0), schedule(4), schedule(5)], [0.5, 0.5, 0.25])

  def test_without_decays_it_is_constant(self):
    schedule = schedules.step_decay(0.3, decay_steps=(), warmup_steps=8)
    expected = schedules.constant(0.3, warmup_steps=8)
    np.testing.assert_array_equal(
      [schedule(t) for t in range(12)], [expected(t) for t in range(12)]
    )

  @parameterized.parameters((0.0,), (float('inf'),))
  def test_refuses_a_factor_out_of_range(self, factor):
    with self.assertRaisesRegex(ValueError, f'factor: found {factor}'):
      schedules.step_decay(1.0, decay_steps=(1,), factor=factor)


class ConstantTest(chex.TestCase):
  def test_is_constant_after_the_warmup(self):
    schedule = schedules.constant(0.3, warmup_steps=8, warmup_ratio=0.0, steps_per_update=2)
    rates = jax.jit(jax.vmap(schedule))(jnp.arange(8))
    np.testing.assert_allclose(rates, 0.3 * np.minimum(np.arange(1, 17, 2) / 8, 1), rtol=1e-6)

  def test_without_warmup_starts_at_the_base(self):
    np.testing.assert_allclose(schedules.constant(0.3)(0), 0.3, rtol=1e-6)
