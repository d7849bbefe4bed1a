"""Published schedules in the terms of this library, and the momentum of their target networks.

The learning rates and LARS steps of ICCL are in `test_schedules.py` and `test_optimizers.py`.
"""

import functools

import chex
import jax
import numpy as np
from absl.testing import parameterized

from ssl_jax.methods.momentum import cosine_momentum
from ssl_jax.training import schedules

# Ge et al. (IEEE TIP 2023): 300 epochs of 626 batches, counted from 1.
ICCL_BATCHES = 300 * 626
ICCL_MOMENTUM = {
  1: 0.990000000001,
  626: 0.990000274153,
  93_900: 0.995,
  187_799: 0.999999999999,
  187_800: 1.0,
}
# The semantic adjuster with BYOL, by the share of the run that is done.
ADJUSTER_MOMENTUM = {0.0: 0.99, 0.25: 0.9914644661, 0.5: 0.995, 0.9: 0.9997552826}
# Its LARS recipe: 30 batches an epoch, 100 epochs, 10 of them warm-up; weights, then biases.
ADJUSTER_RATES = {
  150: (1.6, 0.0384),
  300: (3.2, 0.0768),
  1650: (1.6016, 0.0384384),
  2999: (0.0032010820, 0.0000768260),
}


class MomentumTest(chex.TestCase):
  @parameterized.parameters((True, 1e-12), (False, 1.2e-7))
  def test_iccl(self, x64, tolerance):
    with jax.enable_x64(x64):
      momentum = jax.jit(functools.partial(cosine_momentum, total_steps=ICCL_BATCHES, base=0.99))
      for batch, expected in ICCL_MOMENTUM.items():
        np.testing.assert_allclose(momentum(batch), expected, rtol=0, atol=tolerance)

  @parameterized.parameters((True, 1e-10), (False, 1.2e-7))
  def test_adjuster(self, x64, tolerance):
    with jax.enable_x64(x64):
      momentum = jax.jit(functools.partial(cosine_momentum, total_steps=200, base=0.99))
      for progress, expected in ADJUSTER_MOMENTUM.items():
        found = momentum(round(200 * progress))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


class RateTest(chex.TestCase):
  @parameterized.parameters((True, 1e-9), (False, 2e-6))
  def test_adjuster_with_lars(self, x64, tolerance):
    with jax.enable_x64(x64):
      for group, base in enumerate((0.2 * 16, 0.0048 * 16)):
        rate = jax.jit(
          schedules.warmup_cosine(
            base, total_steps=3000, warmup_steps=300, warmup_ratio=0.0, final=base / 1000
          )
        )
        for batch, rates in ADJUSTER_RATES.items():
          # The last values are printed to ten decimals.
          np.testing.assert_allclose(rate(batch), rates[group], rtol=tolerance, atol=5e-11)

  @parameterized.parameters((True, 1e-12), (False, 2e-6))
  def test_adjuster_warmup_reaches_the_base_within_its_last_batch(self, x64, tolerance):
    # (t + 1) / 100 at batch t: a ramp of 99 steps that starts at one of them.
    with jax.enable_x64(x64):
      rate = jax.jit(schedules.constant(3e-3, warmup_steps=99, warmup_ratio=1 / 100))
      for batch, expected in ((0, 3e-5), (49, 1.5e-3), (99, 3e-3), (1000, 3e-3)):
        np.testing.assert_allclose(rate(batch), expected, rtol=tolerance)
