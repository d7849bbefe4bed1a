"""Processes meet before JAX connects them; here they are threads."""

import concurrent.futures
import socket
import time

import chex
from absl.testing import parameterized

from ssl_jax.training import rendezvous
from ssl_jax.training.rendezvous import RendezvousError

FACTS = {'version of jax': '1', '--seed': '0', '--steps': '4'}
COORDINATION = 'is not a run that is starting'


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


class RendezvousTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.address = f'127.0.0.1:{free_port()}'
    self.lines = []

  def meet(self, *members, processes=None, late=0.0, **options):
    """What becomes of so many (number, facts): '' or the message."""

    def one(process, facts):
      try:
        if process:
          time.sleep(late)
        rendezvous.meet(
          self.address,
          processes or len(members),
          process,
          facts,
          log=self.lines.append,
          **{'connect_seconds': 5, 'wait_seconds': 5, **options},
        )
      except RendezvousError as error:
        return str(error)
      return ''

    with concurrent.futures.ThreadPoolExecutor() as pool:
      return list(pool.map(lambda member: one(*member), members))

  def test_the_same_facts_in_any_order_of_arrival(self):
    for late in (0, 0.3):
      self.assertEqual(self.meet((0, FACTS), (2, FACTS), (1, FACTS), late=late), [''] * 3)
    # The port is free for the coordinator of JAX.
    self.assertEqual(self.meet((0, FACTS)), [''])
    self.assertEmpty(self.lines)

  @parameterized.parameters(
    ({'--seed': '1', '--steps': '5'}, '--seed: found 1 in process 2, must be 0, as in process 0'),
    ({'version of jax': '2'}, 'version of jax: found 2 in process 2, must be 1, as in process 0'),
    ({'--new': 'x'}, '--new: found x in process 2, must be (none), as in process 0'),
  )
  def test_the_first_difference_is_told_to_all(self, other, words):
    found = self.meet((0, FACTS), (1, FACTS), (2, {**FACTS, **other}))
    self.assertEqual(found, [words] * 3)

  def test_a_number_taken_twice(self):
    words = f'{self.address}: process number 1 is taken twice'
    found = self.meet((0, FACTS), (1, FACTS), (1, FACTS), processes=3)
    self.assertEqual(found, [words] * 3)

  def test_a_process_that_was_started_again_replaces_the_one_that_died(self):
    with concurrent.futures.ThreadPoolExecutor() as pool:
      first = pool.submit(self.meet, (0, FACTS), processes=3)
      port = rendezvous.split_address(self.address)
      with rendezvous._connect(self.address, port, 5) as died:
        hello = {'greeting': rendezvous._GREETING, 'process': 1, 'facts': FACTS}
        died.sendall(rendezvous._line(hello))
        died.recv(100)
      self.assertEqual(self.meet((1, FACTS), (2, FACTS), processes=3), ['', ''])
      self.assertEqual(first.result(), [''])

  def test_a_port_that_is_taken(self):
    port = rendezvous.split_address(self.address)[1]
    with socket.create_server(('127.0.0.1', port)):
      started = time.monotonic()
      (found,) = self.meet((0, FACTS), processes=2)
      words = 'process 0 cannot listen there (Address already in use); take another port'
      self.assertEqual(found, f'{self.address}: {words}')
      # The other one connects to a stranger, who never answers.
      (found,) = self.meet((1, FACTS), processes=2, connect_seconds=0.5)
      self.assertStartsWith(found, f'{self.address}: {COORDINATION}')
      self.assertLess(time.monotonic() - started, 5)

  @parameterized.parameters(
    ('127.0.0.1', 'Connection refused'), ('no.such.host.invalid', 'the name of the host is not')
  )
  def test_a_coordinator_that_cannot_be_reached(self, host, words):
    self.address = f'{host}:{free_port()}'
    (found,) = self.meet((1, FACTS), processes=2, connect_seconds=0.5)
    self.assertRegex(found, f'^{self.address}: process 0 cannot be reached in 0.5 s .{words}')

  def test_strangers_are_ignored(self):
    port = rendezvous.split_address(self.address)
    with concurrent.futures.ThreadPoolExecutor() as pool:
      first = pool.submit(self.meet, (0, FACTS), processes=2)
      for junk in (b'GET / HTTP/1.1\r\n\r\n', b'\xff\n', b'[]\n', b'{"process": 1}\n', b'[' * 9999):
        with rendezvous._connect(self.address, port, 5) as stranger:
          stranger.sendall(junk)
      self.assertEqual(self.meet((1, FACTS), processes=2), [''])
      self.assertEqual(first.result(), [''])

  def test_a_process_that_does_not_come(self):
    found = self.meet((0, FACTS), (1, FACTS), processes=3, wait_seconds=0.5)
    self.assertEqual(found[0], f'{self.address}: process 2 did not come in 0.5 s')
    self.assertEqual(found[1], found[0])

  @parameterized.parameters('', 'host', ':80', 'host:', 'host:0', 'host:65536', 'host:x', 'host:-1')
  def test_what_is_no_address(self, address):
    with self.assertRaisesRegex(RendezvousError, f'found {address}, must be HOST:PORT'):
      rendezvous.split_address(address)

  def test_addresses(self):
    self.assertEqual(rendezvous.split_address('[::1]:80'), ('::1', 80))
    self.assertEqual(rendezvous.split_address('node-3.local:1234'), ('node-3.local', 1234))
