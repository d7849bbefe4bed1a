"""Phases add up to the time that passed."""

import json

import chex

from ssl_jax.reporting import Stopwatch


class StopwatchTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.now = 100.0

  def clock(self):
    return self.now

  def test_phases_nest_and_add_up(self):
    stopwatch = Stopwatch(clock=self.clock)
    self.now += 1
    with stopwatch.phase('step'):
      self.now += 2
      with stopwatch.phase('evaluation'):
        self.now += 4
      self.now += 8
    with self.assertRaises(KeyError), stopwatch.phase('checkpoint'):
      self.now += 16
      raise KeyError
    self.now += 32
    totals = stopwatch.totals()
    self.assertEqual(
      totals,
      {'compile': 0, 'data': 0, 'step': 10, 'evaluation': 4, 'checkpoint': 16, 'other': 33},
    )
    self.assertEqual(sum(totals.values()), self.now - 100)

  def test_carries_on_from_stored_totals(self):
    first = Stopwatch(clock=self.clock)
    with first.phase('data'):
      self.now += 3
    second = Stopwatch(json.loads(json.dumps(first.totals())), clock=self.clock)
    with second.phase('data'):
      self.now += 4
      self.assertEqual(second.totals()['data'], 7)  # a phase that still runs counts

  def test_unknown_phases(self):
    stopwatch = Stopwatch()
    message = r"phase: found 'lunch', must be one of compile, data"
    with self.assertRaisesRegex(ValueError, message), stopwatch.phase('lunch'):
      pass
    with self.assertRaisesRegex(ValueError, r"found 'lunch'"):
      Stopwatch({'lunch': 1.0})
    with stopwatch.phase('step'):  # a refused phase leaves nothing behind
      pass
    self.assertLen(stopwatch._running, 1)
