"""Learning rate and target momentum of a run that goes on after its end."""

import chex
import jax.numpy as jnp
import numpy as np

from ssl_jax.methods.base.online_target import cosine_momentum
from ssl_jax.training import schedules
from ssl_jax.training.extension import Extension, learning_rate, momentum_batch


def cosine(updates, accumulation=1):
  return schedules.warmup_cosine(
    0.5, total_steps=updates * accumulation, warmup_steps=2, steps_per_update=accumulation
  )


def values(schedule, start, end):
  return [float(schedule(jnp.int32(at))) for at in range(start, end)]


class LearningRateTest(chex.TestCase):
  def test_without_extensions_nothing_changes(self):
    schedule = cosine(10)
    self.assertIs(learning_rate(schedule, (), cosine), schedule)
    self.assertEqual(momentum_batch((), 3)(17), 17)

  def test_the_run_before_is_as_it_was(self):
    for rewarms in (False, True):
      extended = learning_rate(cosine(10), (Extension(10, 5, rewarms),), cosine)
      np.testing.assert_array_equal(values(extended, 0, 10), values(cosine(10), 0, 10))

  def test_rewarm_is_a_run_of_that_length(self):
    extended = learning_rate(cosine(10), (Extension(10, 5, True), Extension(15, 4, True)), cosine)
    np.testing.assert_array_equal(values(extended, 10, 15), values(cosine(5), 0, 5))
    np.testing.assert_array_equal(values(extended, 15, 19), values(cosine(4), 0, 4))
    self.assertAlmostEqual(max(values(extended, 10, 15)), 0.5)

  def test_constant_is_the_rate_of_the_last_update(self):
    last = float(cosine(10)(9))
    parts = (Extension(10, 5, False), Extension(15, 4, True), Extension(19, 2, False))
    extended = learning_rate(cosine(10), parts, cosine)
    np.testing.assert_allclose(values(extended, 10, 15), [last] * 5)
    np.testing.assert_allclose(values(extended, 19, 30), [float(cosine(4)(3))] * 11)

  def test_updates_of_several_batches(self):
    of_length = lambda updates: cosine(updates, 3)
    extended = learning_rate(of_length(10), (Extension(10, 5, True),), of_length)
    np.testing.assert_array_equal(values(extended, 10, 15), values(of_length(5), 0, 5))


class MomentumTest(chex.TestCase):
  def momenta(self, extensions, batches, accumulation=1):
    batch = momentum_batch(extensions, accumulation)
    total = extensions[0].start * accumulation
    return [float(cosine_momentum(batch(jnp.int32(at)), total, 0.9)) for at in batches]

  def test_the_run_before_is_as_it_was(self):
    plain = [float(cosine_momentum(at, 10, 0.9)) for at in range(10)]
    for rewarms in (False, True):
      found = self.momenta((Extension(10, 5, rewarms),), range(10))
      np.testing.assert_array_equal(found, plain)

  def test_rewarm_passes_through_the_schedule_again(self):
    found = self.momenta((Extension(10, 5, True),), range(10, 15))
    np.testing.assert_allclose(found, [float(cosine_momentum(at, 5, 0.9)) for at in range(5)])
    self.assertAlmostEqual(found[0], 0.9)

  def test_constant_stays_at_the_end(self):
    last = float(cosine_momentum(19, 20, 0.9))
    parts = (Extension(10, 5, True), Extension(15, 5, False))
    np.testing.assert_allclose(self.momenta(parts, range(30, 40), 2), [last] * 10, rtol=1e-6)
