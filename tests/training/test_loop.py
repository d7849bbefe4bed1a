"""On any number of devices, in any number of steps a call, resumed anywhere: the same run."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.training import loop, schedules, state
from ssl_jax.training.metrics import MetricsAccumulator, NonFiniteLossError
from tests.training import tiny_run

# Batch-wide, with a moving average, with groups; all the others: test_every_method_trains.py.
METHODS = ('simclr', 'byol', 'truncated_triplet')
CONVOLUTIONS = {'encoder': 'resnet', 'recipe': 'cifar_simclr'}
STEPS = 3


@functools.cache
def reference(name, **settings):
  """State and metrics after a few steps on one device."""
  return tiny_run.build(name, **settings).train(STEPS)


def assert_same_run(found, expected, atol=2e-5):
  """Equal but for the order of float32 additions."""
  for found_row, row in zip(found[1], expected[1], strict=True):
    # The accuracy counts winners, and near a tie rounding decides who wins.
    for name in row.keys() - {'images_per_second', 'contrast_accuracy'}:
      np.testing.assert_allclose(found_row[name], row[name], rtol=2e-4, atol=2e-6, err_msg=name)
  for part in ('params', 'batch_stats', 'target'):
    chex.assert_trees_all_close(
      getattr(found[0], part), getattr(expected[0], part), rtol=1e-3, atol=atol
    )
  chex.assert_trees_all_equal(found[0].key, expected[0].key)


class DeviceCountTest(chex.TestCase):
  @parameterized.parameters(('simclr', 2), ('simclr', 8), ('byol', 8), ('truncated_triplet', 8))
  def test_losses_and_parameters_do_not_depend_on_it(self, name, devices):
    assert_same_run(tiny_run.build(name, devices=devices).train(STEPS), reference(name))

  # Below `parameterized`, which drops the marks above it.
  @parameterized.product(name=METHODS, devices=(2, 4, 8))
  @pytest.mark.slow
  def test_nor_with_color_jitter(self, name, devices):
    found = tiny_run.build(name, devices=devices, recipe='cifar_simclr').train(STEPS)
    assert_same_run(found, reference(name, recipe='cifar_simclr'))

  @parameterized.parameters(('simclr', 8), ('byol', 2))
  @pytest.mark.slow
  def test_nor_with_convolutions(self, name, devices):
    found = tiny_run.build(name, devices=devices, **CONVOLUTIONS).train(STEPS)
    # Batch norm over few pixels multiplies the rounding of float32.
    assert_same_run(found, reference(name, **CONVOLUTIONS), atol=2e-4)

  def test_parameters_moved_at_all(self):
    before = tiny_run.host(tiny_run.build('simclr').state)
    after, metrics = reference('simclr')
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before.params, after.params)
    self.assertGreater(max(jax.tree.leaves(moved)), 1e-3)
    self.assertGreater(metrics[0]['gradient_norm'], 0)


class OneProgramTest(chex.TestCase):
  def test_one_trace_serves_the_whole_run(self):
    # A compiled program is all the loop is given, so calls of any length cannot trace again.
    run = tiny_run.build('simclr', steps_per_call=3)
    for _ in run.sync_points(9, log_every=2, sync_every=(3, 4)):
      pass
    self.assertLen(run.traces, 2)  # for the metrics' names, and for the program

  @parameterized.parameters(*METHODS)
  def test_no_implicit_transfer_in_a_step(self, name):
    run = tiny_run.build(name)
    with jax.transfer_guard('disallow'):
      steps = [at.step for at in run.sync_points(6, log_every=2)]
    self.assertEqual(steps, [2, 4, 6])

  def test_metrics_are_read_one_interval_late(self):
    run = tiny_run.build('simclr')
    known = [[i.step for i in at.intervals] for at in run.sync_points(8, log_every=2)]
    self.assertEqual(known, [[], [2], [4], [6, 8]])

  def test_everything_is_known_where_the_state_is_kept(self):
    run = tiny_run.build('simclr')
    seen = {at.step: at.synced for at in run.sync_points(8, log_every=2, sync_every=(3,))}
    self.assertEqual(seen, {2: False, 3: True, 4: False, 6: True, 8: True})

  def test_state_is_donated(self):
    run = tiny_run.build('simclr')
    leaf = jax.tree.leaves(run.state.params)[0]
    for _ in run.sync_points(1):
      pass
    self.assertTrue(leaf.is_deleted())

  def test_stops_when_asked(self):
    run = tiny_run.build('simclr')
    asked = iter([False, False, True, True])
    sync_points = list(
      loop.run(
        run.train_step,
        run.init_metrics,
        run.state,
        run.pixels,
        run.sampler,
        loop.Plan(total=50, log_every=20),
        run.mesh,
        should_stop=lambda: next(asked),
      )
    )
    self.assertEqual([(at.step, at.stopped) for at in sync_points], [(3, True)])
    self.assertEqual(int(sync_points[0].state.step), 3)


class StepsPerCallTest(chex.TestCase):
  def test_a_loop_of_steps_is_the_same_run(self):
    # 3 steps in calls of 2: the last call is cut short by the same program.
    assert_same_run(tiny_run.build('simclr', steps_per_call=2).train(STEPS), reference('simclr'))

  def test_means_over_an_interval(self):
    run = tiny_run.build('simclr', steps_per_call=2)
    intervals = [i for at in run.sync_points(STEPS) for i in at.intervals]
    losses = [row['loss'] for row in reference('simclr')[1]]
    self.assertLen(intervals, 1)
    np.testing.assert_allclose(intervals[0].metrics['loss'], np.mean(losses), rtol=1e-4)


class ResumeTest(chex.TestCase):
  @parameterized.parameters(*METHODS)
  def test_any_step_continues_byte_for_byte(self, name):
    run = tiny_run.build(name)
    start = tiny_run.host(run.state)
    whole, _ = run.train(6)  # 4 batches an epoch: the middle of the second
    run.state = tiny_run.place(start, run.mesh)
    half, _ = run.train(3)
    resumed, _ = run.train(6, tiny_run.place(half, run.mesh))
    chex.assert_trees_all_equal(whole, resumed)


class AccumulationTest(chex.TestCase):
  def test_gradient_is_the_mean_over_the_batches(self):
    # The first update shows the gradient itself: two batches at once against each alone.
    double = tiny_run.build('simclr', accumulation=2, batch=8)
    before = tiny_run.host(double.state)
    rows = np.stack([double.sampler.batch(0), double.sampler.batch(1)])
    both, metrics = jax.jit(double.update)(double.state, double.pixels, rows)
    single = tiny_run.build('simclr', batch=8)
    first, _ = jax.jit(single.update)(single.state, single.pixels, rows[:1])
    # The second batch alone, at the same position of the run and with the statistics of the first.
    late = dataclasses.replace(single.state, step=np.int32(1), batch_stats=first.batch_stats)
    second, _ = jax.jit(single.update)(late, single.pixels, rows[1:])
    step_of = lambda after: jax.tree.map(
      lambda a, b: np.asarray(a) - b, after.params, before.params
    )
    rate = schedules.warmup_cosine(0.05, total_steps=100)
    window = schedules.warmup_cosine(0.05, total_steps=100, steps_per_update=2)
    mean = jax.tree.map(
      lambda a, b: (a / rate(0) + b / rate(1)) / 2, step_of(first), step_of(second)
    )
    found = jax.tree.map(lambda a: a / window(0), step_of(both))
    chex.assert_trees_all_close(found, mean, rtol=2e-3, atol=2e-4)
    chex.assert_trees_all_close(both.batch_stats, second.batch_stats, rtol=1e-4, atol=1e-5)
    self.assertEqual(int(both.step), 1)
    self.assertTrue(np.isfinite(metrics['loss']))

  def test_a_window_may_cross_an_epoch(self):
    run = tiny_run.build('simclr', accumulation=3, batch=16)  # 4 batches an epoch
    final, metrics = run.train(2)
    self.assertEqual(int(final.step), 2)
    self.assertTrue(np.isfinite(metrics[-1]['loss']))


class TargetNetworkTest(chex.TestCase):
  def test_moving_average_after_the_update(self):
    run = tiny_run.build('byol')
    before = tiny_run.host(run.state)
    after, metrics = run.train(1)
    momentum = metrics[0]['target_momentum']
    np.testing.assert_allclose(momentum, 0.99, rtol=1e-6)
    expected = jax.tree.map(
      lambda old, new: momentum * old + (1 - momentum) * new,
      before.target,
      {name: after.params[name] for name in before.target},
    )
    chex.assert_trees_all_close(after.target, expected, rtol=1e-5, atol=1e-7)

  def test_its_momentum_counts_forward_batches(self):
    run = tiny_run.build('byol', accumulation=3)
    rows = np.stack([run.sampler.batch(index) for index in range(3)])
    update = jax.jit(run.update)
    current, first = update(run.state, run.pixels, rows)
    _, second = update(current, run.pixels, rows)
    # The batches of 100 after which the updates come are 2 and 5, counted from 0.
    for metrics, batch in ((first, 2), (second, 5)):
      expected = 1 - 0.01 * (np.cos(np.pi * batch / 100) + 1) / 2
      np.testing.assert_allclose(metrics['target_momentum'], expected, rtol=1e-6)
      rate = 0.05 * (np.cos(np.pi * batch / 100) + 1) / 2
      np.testing.assert_allclose(metrics['learning_rate'], rate, rtol=1e-5)


class NonFiniteTest(chex.TestCase):
  def test_the_message_names_what_is_not_finite_with_its_value(self):
    metrics = {'loss': 4.125, 'gradient_norm': np.inf, 'alignment': np.nan, 'learning_rate': 1e30}
    accumulator = MetricsAccumulator.init(list(metrics))
    good = {name: jnp.float32(1) for name in metrics}
    bad = {name: jnp.float32(value) for name, value in metrics.items()}
    for step, values in ((6, good), (7, bad), (8, good)):
      accumulator = accumulator.update(jnp.int32(step), values)
    with pytest.raises(NonFiniteLossError) as stop:
      accumulator.compute()
    self.assertEqual(
      str(stop.value),
      'not finite at step 8: gradient_norm inf, alignment nan; finite: loss 4.125, '
      'learning_rate 1e+30',
    )

  def test_stops_with_the_step_and_the_parts_of_the_loss(self):
    run = tiny_run.build('simclr', learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match='not finite at step') as stop:
      for _ in run.sync_points(40, log_every=5):
        pass
    self.assertIn('gradient_norm', stop.value.metrics)
    self.assertLess(stop.value.step, 10)


class PlanTest(chex.TestCase):
  def test_next_yield(self):
    plan = loop.Plan(total=10, log_every=4, sync_every=(0, 5))
    self.assertEqual([plan.next_yield(s) for s in (0, 4, 5, 8)], [4, 5, 8, 10])
    self.assertEqual([plan.syncs_at(s) for s in (4, 5, 8, 10)], [False, True, False, True])


class CountersTest(chex.TestCase):
  def test_batches_beyond_int32_are_refused(self):
    run = tiny_run.build('simclr')
    with self.assertRaisesRegex(ValueError, 'total: found 2147483648, must be a whole number from'):
      next(run.sync_points(2**31, log_every=5))
    run = dataclasses.replace(run, accumulation=4)
    with self.assertRaisesRegex(ValueError, 'total: found 536870912, must be'):
      next(run.sync_points(2**29, log_every=5))

  def test_a_seed_of_more_than_32_bits_is_refused(self):
    run = tiny_run.build('simclr')
    for seed in (2**32, -1):
      with self.assertRaisesRegex(ValueError, f'seed: found {seed}, must be a whole number from 0'):
        state.create(run.method, None, seed, 8, run.mesh)


class StateTest(chex.TestCase):
  def test_created_from_the_seed_alone(self):
    one, again = tiny_run.build('byol').state, tiny_run.build('byol', devices=2).state
    chex.assert_trees_all_equal(tiny_run.host(one), tiny_run.host(again))
    self.assertIsInstance(one, state.TrainState)
