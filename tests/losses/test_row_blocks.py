"""Rows cut into blocks and joined again."""

import chex
import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses import row_blocks


class RowBlocksTest(chex.TestCase):
  @settings(max_examples=12, deadline=None, derandomize=True)
  @given(st.integers(1, 12), st.integers(1, 14))
  def test_every_row_is_in_one_block_and_comes_back(self, num_rows, block_size):
    num_blocks = row_blocks.count(num_rows, block_size)
    assert (num_blocks - 1) * block_size < num_rows <= num_blocks * block_size
    rows = {'wide': np.arange(num_rows * 2).reshape(num_rows, 2), 'flat': np.arange(num_rows)}
    blocks, valid = row_blocks.split(rows, num_blocks)
    chex.assert_shape(blocks['wide'], (num_blocks, None, 2))
    block = blocks['flat'].shape[1]
    assert block <= block_size
    if valid is None:
      assert num_blocks * block == num_rows
    else:
      chex.assert_shape(valid, (num_blocks, block))
    real = np.asarray(blocks['flat'])[slice(None) if valid is None else np.asarray(valid)]
    np.testing.assert_array_equal(np.sort(real, axis=None), np.arange(num_rows))
    np.testing.assert_array_equal(blocks['wide'][..., 0], 2 * blocks['flat'])
    chex.assert_trees_all_equal(jax.device_get(row_blocks.join(blocks, num_rows)), rows)

  def test_blocks_are_of_every_nth_row(self):
    """Of consecutive rows each would lie on one device, of rows that are sharded."""
    blocks, valid = row_blocks.split(np.arange(8), 4)
    assert valid is None
    np.testing.assert_array_equal(blocks, [[0, 4], [1, 5], [2, 6], [3, 7]])
    blocks, valid = row_blocks.split(np.arange(7), 4)
    np.testing.assert_array_equal(valid, [[1, 1], [1, 1], [1, 1], [1, 0]])
    np.testing.assert_array_equal(blocks[3], [3, 0])  # filled up with the first row
