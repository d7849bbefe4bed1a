"""Across devices, blocks pass round a ring: each device needs less the more of them there are."""

import functools
import itertools
import re

import chex
import jax
import pytest
from absl.testing import parameterized

from benchmarks import losses as benchmark
from benchmarks.losses import CASES, inputs_like
from tests.losses import ways
from tests.losses.cases.contrastive import NUM_DRAWN

DEVICES = (1, 2, 4, 8)
BATCH, DIM, BLOCK_SIZE = 8192, 128, 512
# The queue of `info_nce` is whole on every device; groups of the adjuster stay where they are.
ON_A_RING = (
  'nt_xent',
  'supervised_contrastive',
  f'instance_contrastive, {NUM_DRAWN} drawn',
  'truncated_triplet',
)


@functools.cache
def compiled_on(way, name, num_devices, batch=BATCH):
  """Value and gradient with respect to both views, the rows split over devices."""
  size = batch, DIM, 'float32'
  return benchmark.compile_on_devices(way, name, num_devices, size, BLOCK_SIZE)


def device_mib(*chosen, **settings):
  return benchmark.temporary_bytes(compiled_on(*chosen, **settings)) / 2**20


class RingMemoryTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    chex.assert_devices_available(8, 'cpu')

  @parameterized.parameters(*benchmark.WAYS)
  @pytest.mark.slow
  def test_a_device_needs_less_the_more_there_are(self, way):
    found = [device_mib(way, 'nt_xent', num_devices) for num_devices in DEVICES]
    for fewer, more in itertools.pairwise(found):
      self.assertLess(more, 0.8 * fewer)
    self.assertLess(found[-1], found[0] / 4)

  @pytest.mark.slow
  def test_at_131072_embeddings(self):
    one, eight = (device_mib('shard_map', 'nt_xent', n, batch=65536) for n in (1, 8))
    self.assertLess(eight, one / 6)

  def test_blocks_are_passed_on_and_never_gathered(self):
    self.check_ring('nt_xent')

  @parameterized.parameters(*ON_A_RING)
  @pytest.mark.slow
  def test_blocks_are_passed_on_and_never_gathered_by(self, name):
    self.check_ring(name)

  def check_ring(self, name):
    text = compiled_on('shard_map', name, 8).as_text()
    self.assertRegex(text, r'\bcollective-permute(-start)?\(')
    self.assertNotRegex(text, r'\ball-gather(-start)?\(')
    self.assertLess(device_mib('shard_map', name, 8), device_mib('shard_map', name, 1) / 3)

  def test_the_search_finds_what_is_gathered(self):
    """The whole loss does gather, which the test above would see."""
    mesh = ways.make_mesh(8)
    call = functools.partial(CASES['nt_xent'].call, axis_name=ways.AXIS)
    mapped = jax.shard_map(call, mesh=mesh, in_specs=ways.ROWS, out_specs=ways.WHOLE)
    text = jax.jit(mapped).lower(inputs_like(64, 8, 'float32')).compile().as_text()
    self.assertTrue(re.search(r'\ball-gather(-start)?\(', text))
