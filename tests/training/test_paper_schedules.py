"""Published schedules in the terms of this library, and the momentum of their target networks.

The learning rates and LARS steps of ICCL are in `test_schedules.py` and `test_optimizers.py`.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized

from ssl_jax import config
from ssl_jax.config.flags import UsageError
from ssl_jax.methods.base.online_target import cosine_momentum
from ssl_jax.tasks.run import experiment
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
# Its usual recipe is Adam with steps: 200 epochs of 30 batches, warm-up over 100 batches.
ADJUSTER_STEPS = (
  '--epochs=200',
  '--optimizer.name=adam',
  '--optimizer.learning_rate=3e-3',
  '--optimizer.schedule=step',
  '--optimizer.decay_factor=0.2',
  '--optimizer.warmup_steps=99',
  '--optimizer.warmup_ratio=0.01',
)
ADJUSTER_STEP_RATES = {
  0: 3e-5,
  49: 1.5e-3,
  99: 3e-3,
  100: 3e-3,
  149 * 30: 3e-3,
  150 * 30 - 1: 3e-3,
  150 * 30: 6e-4,
  175 * 30 - 1: 6e-4,
  175 * 30: 1.2e-4,
  199 * 30: 1.2e-4,
  200 * 30 - 1: 1.2e-4,
}


def _assemble(*flags):
  """A run of 30 batches an epoch."""
  data = ('--data.source=digits', '--data.image_size=8', '--data.train_limit=240')
  return experiment.build_experiment(
    config.parse([*data, '--data.batch_size=8', *flags]), log=lambda line: None
  )


class MomentumTest(chex.TestCase):
  @parameterized.parameters((True, 1e-12), (False, 1.2e-7))
  def test_iccl(self, x64, tolerance):
    with jax.enable_x64(x64):
      momentum = jax.jit(functools.partial(cosine_momentum, total_steps=ICCL_BATCHES, base=0.99))
      for batch, expected in ICCL_MOMENTUM.items():
        found = momentum(np.int32(batch))  # as the train state counts
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)

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
            base, total_steps=3000, warmup_steps=300, warmup_ratio=0.0, min_lr_ratio=1e-3
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

  @parameterized.parameters('150,175', '-50,-25')
  def test_adjuster_with_adam_by_flags(self, epochs):
    run = _assemble(*ADJUSTER_STEPS, f'--optimizer.decay_epochs={epochs}')
    for batch, expected in ADJUSTER_STEP_RATES.items():
      np.testing.assert_allclose(run.schedule(batch), expected, rtol=2e-6)

  def test_adjuster_with_lars_by_flags(self):
    # Plain SGD in place of LARS: a gradient of one then moves a parameter by its learning rate.
    run = _assemble(
      '--epochs=100',
      '--optimizer.name=sgd',
      '--optimizer.momentum=0',
      '--optimizer.weight_decay=0',
      '--optimizer.weight_decay_exclude=norm_and_bias',
      '--optimizer.learning_rate=3.2',
      '--optimizer.excluded_lr_scale=0.024',
      '--optimizer.min_lr_ratio=0.001',
      '--optimizer.warmup_epochs=10',
      '--optimizer.warmup_ratio=0',
    )
    params = {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}
    state = run.optimizer.init(params)
    for batch, rates in ADJUSTER_RATES.items():
      moved, _ = run.optimizer.update(params, optax.tree.set(state, count=batch), params)
      found = (-moved['kernel'][0, 0], -moved['bias'][0])
      np.testing.assert_allclose(found, rates, rtol=2e-6, atol=5e-11)


class RefusalTest(chex.TestCase):
  @parameterized.parameters(
    (('warmup_steps=5', 'warmup_epochs=1'), 'warmup_steps: found 5, must be 0 with'),
    (('warmup_steps=-1',), 'warmup_steps: found -1'),
    (('schedule=step',), 'decay_epochs: found (none), must be given'),
    (('decay_epochs=3,-4',), 'decay_epochs: found 3,-4, must be empty'),
    (
      ('schedule=step', 'decay_epochs=inf'),
      "decay_epochs: found 'inf', must be comma-separated finite numbers",
    ),
    (('schedule=step', 'decay_epochs=1', 'decay_factor=0'), 'decay_factor: found 0'),
    (('min_lr_ratio=2',), 'min_lr_ratio: found 2'),
    (('schedule=constant', 'min_lr_ratio=0.5'), 'min_lr_ratio: found 0.5, must be 0'),
    (('excluded_lr_scale=0.5',), 'excluded_lr_scale: found 0.5, must be 1'),
    (('exclude=norm_and_bias', 'excluded_lr_scale=-1'), 'excluded_lr_scale: found -1'),
  )
  def test_in_one_line(self, flags, message):
    with self.assertRaises(UsageError) as caught:
      config.parse([f'--optimizer.{flag}' for flag in flags])
    self.assertIn(f'--optimizer.{message}', str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))
