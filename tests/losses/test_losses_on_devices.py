"""Every loss has one value and one encoder gradient on 1, 2, 4 and 8 devices, however they run."""

import functools

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from tests.losses import tiny_encoder, ways
from tests.losses.cases import representatives, themes
from tests.losses.tiny_encoder import WHOLE

ALL = themes()
GROUPS = {**ALL, 'representatives': representatives()}
# The way, the devices, and the block sizes, where a block may be less than a device's rows, as many
# or more, and need not divide them. Compiling takes all the time: not every size with every way.
# `pmap` is `jit` of an unchecked `shard_map`, so it runs on one number of devices.
SETTINGS = {
  'jit_1': (ways.sharded_jit, 1, (WHOLE,)),
  'jit_2': (ways.sharded_jit, 2, (WHOLE, 12)),
  'jit_4': (ways.sharded_jit, 4, (WHOLE,)),
  'jit_8': (ways.sharded_jit, 8, (WHOLE, 8)),
  'shard_map_1': (ways.shard_map, 1, (WHOLE,)),
  'shard_map_2': (ways.shard_map, 2, (WHOLE, 8)),
  'shard_map_4': (ways.shard_map, 4, (WHOLE, 12)),
  'shard_map_8': (ways.shard_map, 8, (WHOLE, 8)),
  'unchecked_shard_map_2': (ways.unchecked_shard_map, 2, (WHOLE,)),
  'unchecked_shard_map_4': (ways.unchecked_shard_map, 4, (8,)),
  'pmap_2': (ways.pmap, 2, (WHOLE, 8)),
}


def _results(group, blocks, run):
  def function(parameters, inputs, axis_name=None):
    return tiny_encoder.every_result(
      GROUPS[group], parameters, inputs, blocks=blocks, axis_name=axis_name
    )

  with jax.enable_x64(True):
    return jax.device_get(
      run(function, tiny_encoder.random_parameters(0), tiny_encoder.random_inputs())
    )


@functools.cache
def _on_one_device(group):
  return _results(group, (WHOLE,), ways.one_device)


def _assert_close(found, expected):
  # A leading axis of devices, where there is one, is compared device by device.
  expected = np.broadcast_to(expected, found.shape)
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class DevicesTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    chex.assert_devices_available(8, 'cpu')

  @parameterized.parameters('jit_4', 'shard_map_8')
  def test_representatives_with(self, setting):
    self.check('representatives', *SETTINGS[setting])

  @parameterized.named_parameters(
    (f'{setting}_{theme}', theme, *SETTINGS[setting]) for setting in SETTINGS for theme in ALL
  )
  @pytest.mark.slow
  def test_with_(self, theme, way, num_devices, blocks):
    self.check(theme, way, num_devices, blocks)

  def check(self, group, way, num_devices, blocks):
    expected = _on_one_device(group)
    found = _results(group, blocks, functools.partial(way, mesh=ways.make_mesh(num_devices)))
    self.assertEqual({name for name, _ in expected}, {name for name, _ in found})
    for (name, block_size), result in found.items():
      with self.subTest(case=name, block_size=block_size):
        jax.tree.map(_assert_close, result, expected[name, WHOLE])
