"""The cosine temperature against golden values, and as an argument of a traced loss."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import nt_xent
from ssl_jax.losses.schedules import cosine_temperature

GOLDENS = (
  (0, 1.0),
  (50, 0.8681980515339464),
  (100, 0.55),
  (150, 0.23180194846605365),
  (200, 0.1),
  (300, 0.5499999999999999),
  (400, 1.0),
)


class CosineTemperatureTest(chex.TestCase):
  @parameterized.parameters(*GOLDENS)
  def test_golden(self, epoch, expected):
    with jax.enable_x64(True):
      found = cosine_temperature(epoch), jax.jit(cosine_temperature)(epoch)
      assert found[0].dtype == found[1].dtype == jnp.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    single = cosine_temperature(epoch), jax.jit(cosine_temperature)(epoch)
    assert single[0].dtype == single[1].dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-6)

  def test_options(self):
    with jax.enable_x64(True):
      found = cosine_temperature(2.5, low=0.2, high=0.6, half_period=10)
    np.testing.assert_allclose(found, 0.4 + 0.2 * np.sqrt(0.5), rtol=1e-12)
    np.testing.assert_allclose(cosine_temperature(123, low=0.3, high=0.3), 0.3, rtol=1e-6)

  def test_late_epochs_keep_their_digits(self):
    # 2500.5 periods of 2 * 200: the cosine of pi * 5001 itself would have lost four decimals.
    np.testing.assert_allclose(cosine_temperature(400 * 2500 + 50.0), GOLDENS[1][1], rtol=2e-6)

  def test_feeds_a_traced_loss(self):
    view1, view2 = np.float32(np.random.default_rng(0).normal(size=(2, 4, 3)))

    @jax.jit
    def scheduled(epoch):
      return nt_xent(view1, view2, temperature=cosine_temperature(epoch))[0]

    for epoch, temperature in GOLDENS[1:3]:
      expected, _ = nt_xent(view1, view2, temperature=temperature)
      np.testing.assert_allclose(scheduled(epoch), expected, rtol=2e-6)
