"""The memory of the truncated triplet loss, and what its devices send each other."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import pytest
from absl.testing import parameterized

from ssl_jax.losses.triplet.truncated_triplet import truncated_triplet
from tests.losses.ways import AXIS, ROWS, WHOLE, make_mesh

MIB = 2**20


def compile_loss(batch, num_devices, way, **options):
  """Value and gradient at dim 128 in float32, compiled and not run."""
  mesh = make_mesh(num_devices)
  rows = jax.ShapeDtypeStruct((batch, 128), jnp.float32, sharding=jax.NamedSharding(mesh, ROWS))

  def value_and_grad(prediction, target):
    loss = functools.partial(truncated_triplet, **options)
    return jax.value_and_grad(lambda p: loss(p, target)[0])(prediction)

  if way == 'shard_map':
    options['axis_name'] = AXIS
    value_and_grad = jax.shard_map(
      value_and_grad, mesh=mesh, in_specs=ROWS, out_specs=(WHOLE, ROWS)
    )
  return jax.jit(value_and_grad).lower(rows, rows).compile()


def memory(compiled):
  return compiled.memory_analysis().temp_size_in_bytes


class MemoryTest(chex.TestCase):
  def test_of_the_full_loss(self):
    assert memory(compile_loss(4096, 1, 'jit')) < 2.5 * 64 * MIB

  def test_with_blocks_it_grows_with_the_batch_only(self):
    small, large = (memory(compile_loss(n, 1, 'jit', block_size=1024)) for n in (4096, 16384))
    assert small < 24 * MIB and large < 4 * small

  @parameterized.parameters('jit', 'shard_map')
  @pytest.mark.slow
  def test_falls_with_the_number_of_devices(self, way):
    compiled = [compile_loss(4096, n, way, block_size=512) for n in (1, 2, 4, 8)]
    sizes = list(map(memory, compiled))
    assert all(after < 0.9 * before for before, after in itertools.pairwise(sizes)), sizes
    assert sizes[-1] < sizes[0] / 4, sizes
    if way == 'shard_map':
      for num_devices, program in zip((2, 4, 8), compiled[1:], strict=True):
        text = program.as_text()
        assert 'all-gather' not in text and 'collective-permute' in text, num_devices

  @parameterized.parameters('jit', 'shard_map')
  def test_whole_groups_on_a_device_need_nothing_of_others(self, way):
    for block_size in (None, 128):
      text = compile_loss(1024, 4, way, group_size=128, block_size=block_size).as_text()
      assert 'all-gather' not in text and 'collective-permute' not in text
