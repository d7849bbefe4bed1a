"""Facts of processes are compared through the coordinator's store; the processes are threads."""

import concurrent.futures
import queue
import threading
from unittest import mock

import chex
import jax
from absl.testing import parameterized
from jax._src import distributed

from ssl_jax.training import multihost
from ssl_jax.training.rendezvous import RendezvousError


class Store:
  """The two functions of the coordinator's store that are used."""

  def __init__(self):
    self._values = {}
    self._lock = threading.Lock()

  def _queue(self, key):
    with self._lock:
      return self._values.setdefault(key, queue.Queue())

  def key_value_set(self, key, value):
    self._queue(key).put(value)

  def blocking_key_value_get(self, key, milliseconds):
    value = self._queue(key).get(timeout=20)
    self._queue(key).put(value)
    return value


class RequireSameTest(chex.TestCase):
  def compare(self, *facts):
    """What each process is told: '' or the difference."""
    own = threading.local()

    def one(process):
      own.index = process
      try:
        multihost.require_same('data', facts[process])
      except RendezvousError as error:
        return str(error)
      return ''

    with (
      mock.patch.object(distributed.global_state, 'client', Store()),
      mock.patch.object(jax, 'process_count', lambda: len(facts)),
      mock.patch.object(jax, 'process_index', lambda: own.index),
      concurrent.futures.ThreadPoolExecutor() as pool,
    ):
      return list(pool.map(one, range(len(facts))))

  def test_the_same(self):
    self.assertEqual(self.compare({'a': '1'}, {'a': '1'}, {'a': '1'}), [''] * 3)
    self.assertEqual(self.compare({'a': '1'}), [''])

  @parameterized.parameters(1, 2)
  def test_the_first_difference_on_all(self, process):
    facts = [{'number of images': '5', 'pixels': 'x'} for _ in range(3)]
    facts[process] = {'number of images': '6', 'pixels': 'y'}
    words = f'number of images: found 6 in process {process}, must be 5, as in process 0'
    self.assertEqual(self.compare(*facts), [words] * 3)
