"""The largest entries of each row, under every transformation a loss may meet."""

import chex
import jax
import numpy as np
from absl.testing import parameterized
from jax.sharding import NamedSharding

from ssl_jax.losses.triplet.top_k import top_k
from tests.losses.ways import AXIS, ROWS, make_mesh

VALUES = np.random.default_rng(0).normal(size=(16, 4, 32)).astype(np.float32)


def top_3(values):
  return top_k(values, 3)


def expected(values):
  positions = np.argsort(-values, axis=-1, kind='stable')[..., :3]
  return np.take_along_axis(values, positions, -1), positions


class TopKTest(chex.TestCase):
  @parameterized.named_parameters(
    ('plain', top_3, VALUES),
    ('jit', jax.jit(top_3), VALUES),
    ('vmap', jax.vmap(jax.vmap(top_3)), VALUES),
    ('vmap_of_an_inner_axis', jax.jit(jax.vmap(top_3, in_axes=1, out_axes=1)), VALUES),
    ('ties_in_order_of_position', top_3, np.round(VALUES)),
  )
  def test_equal_to_a_stable_sort(self, function, values):
    found = function(values)
    assert found[1].dtype == np.int32
    chex.assert_trees_all_equal(jax.device_get(found), expected(values))

  def test_float64(self):
    with jax.enable_x64(True):
      found = jax.device_get(jax.jit(lambda x: top_3(x)[0][..., 1:])(VALUES.astype(float)))
    np.testing.assert_array_equal(found, expected(VALUES)[0][..., 1:])

  def test_each_device_ranks_its_own_rows(self):
    mesh = make_mesh(8)
    spread = jax.device_put(VALUES, NamedSharding(mesh, ROWS))
    compiled = jax.jit(top_3).lower(spread).compile()
    assert 'all-gather' not in compiled.as_text() and 'f32[2,4,3]' in compiled.as_text()
    chex.assert_trees_all_equal(jax.device_get(compiled(spread)), expected(VALUES))

  def test_a_sharded_last_axis_is_gathered(self):
    mesh = make_mesh(8)
    columns = jax.P(None, None, AXIS)
    spread = jax.device_put(VALUES, NamedSharding(mesh, columns))
    chex.assert_trees_all_equal(jax.device_get(jax.jit(top_3)(spread)), expected(VALUES))

  @parameterized.parameters(True, False)
  def test_inside_shard_map(self, check_vma):
    mapped = jax.shard_map(
      top_3, mesh=make_mesh(4), in_specs=ROWS, out_specs=ROWS, check_vma=check_vma
    )
    chex.assert_trees_all_equal(jax.device_get(jax.jit(mapped)(VALUES)), expected(VALUES))

  def test_slice_of_the_ranks_does_not_become_a_sort(self):
    """A full sort of every row takes 50 times as long."""
    text = jax.jit(lambda x: top_3(x)[0][..., 1:]).lower(VALUES[0]).compile().as_text()
    assert 'TopK' in text and ' sort(' not in text

  def test_carries_no_gradient(self):
    grad = jax.jit(jax.grad(lambda x: top_3(x)[0].sum()))(VALUES)
    np.testing.assert_array_equal(grad, 0)
