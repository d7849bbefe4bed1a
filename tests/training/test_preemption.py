"""Signals become a flag, once; the handlers that were there come back."""

import os
import signal
import subprocess
import sys
import threading

import chex
from absl.testing import parameterized

from ssl_jax.training.preemption import Preemption

SECOND_SIGNAL = """
import os, signal
from ssl_jax.training.preemption import Preemption
with Preemption() as preemption:
  os.kill(os.getpid(), signal.SIGTERM)
  print(preemption.requested, flush=True)
  os.kill(os.getpid(), signal.SIGTERM)
  print('survived', flush=True)
"""


class PreemptionTest(chex.TestCase):
  @parameterized.parameters(signal.SIGTERM, signal.SIGINT)
  def test_first_signal_sets_the_flag(self, number):
    before = signal.getsignal(number)
    with Preemption() as preemption:
      self.assertIsNot(signal.getsignal(number), before)
      self.assertFalse(preemption.requested)
      self.assertFalse(preemption.agree())
      os.kill(os.getpid(), number)
      self.assertTrue(preemption.requested)
      self.assertTrue(preemption.agree())
      self.assertEqual(preemption.signum, number)
    self.assertIs(signal.getsignal(number), before)
    self.assertTrue(preemption.requested)

  def test_handlers_come_back_without_a_signal_and_after_an_exception(self):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with self.assertRaises(KeyError), Preemption():
      raise KeyError
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    self.assertEqual(before, after)

  @parameterized.parameters(signal.SIGTERM, signal.SIGINT)
  def test_second_interrupt_is_an_ordinary_one(self, first):
    # A shell starts background jobs with SIGINT ignored, and then nothing would be raised.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with self.assertRaises(KeyboardInterrupt), Preemption() as preemption:
      os.kill(os.getpid(), first)
      self.assertTrue(preemption.requested)
      os.kill(os.getpid(), signal.SIGINT)

  def test_second_terminate_kills(self):
    run = subprocess.run([sys.executable, '-c', SECOND_SIGNAL], capture_output=True, text=True)
    self.assertEqual((run.returncode, run.stdout), (-signal.SIGTERM, 'True\n'))

  def test_inert_outside_the_main_thread(self):
    seen = []

    def work():
      with Preemption() as preemption:
        seen.append(preemption.requested)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    self.assertEqual(seen, [False])
    self.assertIs(signal.getsignal(signal.SIGTERM), before)
