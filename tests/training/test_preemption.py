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


CLOSED_TERMINAL = """
import os, sys, time
from ssl_jax.training.preemption import Preemption
with Preemption('stopping') as preemption:
  print('ready', flush=True)
  while not preemption.agree():
    time.sleep(0.01)
  print('stopped', flush=True)
  os.write(int(os.environ['SAVED']), b'saved')
sys.exit(128 + preemption.signum)
"""


class PreemptionTest(chex.TestCase):
  @parameterized.parameters(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
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

  def test_warnings_may_come_again_and_a_request_after_them_waits(self):
    with Preemption() as preemption:
      for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
      self.assertEqual(preemption.signum, signal.SIGHUP)

  @parameterized.parameters(signal.SIGHUP, signal.SIGUSR1)
  def test_what_nohup_has_silenced_stays_silent(self, number):
    before = signal.signal(number, signal.SIG_IGN)
    self.addCleanup(signal.signal, number, before)
    with Preemption() as preemption:
      os.kill(os.getpid(), number)
      self.assertFalse(preemption.requested)
    self.assertIs(signal.getsignal(number), signal.SIG_IGN)

  def test_a_terminal_that_closes(self):
    leader, follower = os.openpty()
    run = subprocess.Popen(
      [sys.executable, '-c', CLOSED_TERMINAL],
      stdout=follower,
      stderr=follower,
      stdin=follower,
      pass_fds=(saved := os.memfd_create('saved'),),
      env={**os.environ, 'SAVED': str(saved)},
      start_new_session=True,
    )
    os.close(follower)
    self.assertEqual(os.read(leader, 5), b'ready')
    os.close(leader)
    run.send_signal(signal.SIGHUP)
    self.assertEqual(run.wait(60), 128 + signal.SIGHUP)
    self.assertEqual(os.pread(saved, 5, 0), b'saved')

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
