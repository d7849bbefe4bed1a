"""The deputy's key: golden values by row, blocks and devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.triplet.deputy_keys import deputy_keys
from ssl_jax.losses.triplet.ranks import AllRanks, MedianRank, RankWindow
from ssl_jax.losses.triplet.truncated_triplet import truncated_triplet
from tests.losses.golden_inputs import G1, G2, G4, deputies, unit
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision
from tests.losses.ways import make_mesh, pmap, shard_map, sharded_jit

HARDEST = RankWindow(1, 1)
SIZE, DIM = 45, 3
# Single rows, blocks that do not divide 45, and one larger than all.
BLOCKS = (None, 1, 7, 64)
DEPUTIES = {
  'window': RankWindow(2, 4),
  'hardest': HARDEST,
  'wide': RankWindow(3, 40),
  'median': MedianRank(),
  'all': AllRanks(),
}


# name: inputs, deputies, block size.
GOLDENS = {
  'g1': (G1, [RankWindow(rank, rank) for rank in (1, 2, 3)], 3),
  'g2': (G2, [RankWindow(2, 10)], 5),
  'g2_ranks': (G2, [RankWindow(rank, rank) for rank in range(1, 12)], 5),
  'g4': (G4, [MedianRank(), RankWindow(6, 6)], 4),
}
in_blocks_or_not = by_precision(dtype=(np.float64, np.float32), in_blocks=(False, True))


@functools.cache
def golden_cosines(dtype, in_blocks):
  """By name the cosines `[deputy, row]` of queries and the mean keys of deputies."""

  def cosines(inputs, deputies, block_size):
    queries, keys = inputs
    options = {'block_size': block_size if in_blocks else None}
    found = [deputy_keys(queries, keys, deputy, **options) for deputy in deputies]
    return jnp.sum(queries * jnp.stack(found), axis=-1)

  def every_call(inputs):
    return {name: cosines(inputs[name], *rest) for name, (_, *rest) in GOLDENS.items()}

  with jax.enable_x64(dtype is np.float64):
    inputs = {name: [unit(x).astype(dtype) for x in pair] for name, (pair, *_) in GOLDENS.items()}
    return jax.device_get(jax.jit(every_call)(inputs))


class GoldenTest(chex.TestCase):
  @in_blocks_or_not
  def test_each_rank_of_g1(self, dtype, in_blocks):
    distances = [
      [-1.3333333333, 0, 0],
      [-1.3333333333, 0.2666666667, 0.2828427125],
      [-0.8888888889, -0.6666666667, 1.4142135624],
      [-1.1313708499, -0.4714045208, -0.4714045208],
    ]
    found = -2 * golden_cosines(dtype, in_blocks)['g1']
    assert_golden(found.T, distances, dtype, 1e-10)

  @in_blocks_or_not
  def test_rows_of_g2(self, dtype, in_blocks):
    distances = [0.2483628823, 0.3026771488, 0.1223840752, -0.1003559738, -0.0967816746]
    distances += [0.0523455116, 0.0952908873, -0.0228149493, -0.166557522, -0.0347806724]
    distances += [0.2238244677, 0.2998389724]
    found = -2 * golden_cosines(dtype, in_blocks)['g2'][0]
    assert_golden(found, distances, dtype, 1e-10)

  @in_blocks_or_not
  def test_ranks_of_the_first_row_of_g2(self, dtype, in_blocks):
    cosines = [0.8708211944, 0.7555544491, 0.4003972218, 0.33812305, -0.0496601849, -0.0760441913]
    cosines += [-0.4374065101, -0.5195221182, -0.71477814, -0.8142965467, -0.8607324271]
    found = golden_cosines(dtype, in_blocks)['g2_ranks'][:, 0]
    assert_golden(found, cosines, dtype, 1e-10)

  @in_blocks_or_not
  def test_lower_and_upper_median_of_g4(self, dtype, in_blocks):
    found = -2 * golden_cosines(dtype, in_blocks)['g4'][:, 0]
    assert_golden(found, [0.1827234297, 1.0522893576], dtype, 1e-10)


def possible(group_size):
  return {name: deputy for name, deputy in DEPUTIES.items() if name != 'wide' or not group_size}


@functools.cache
def compiled_keys(group_size, block_size):
  """The keys of every deputy; one program compiles several times quicker than one a deputy."""

  def every_deputy(queries, keys):
    return {
      name: deputy_keys(queries, keys, deputy, group_size=group_size, block_size=block_size)
      for name, deputy in possible(group_size).items()
    }

  return jax.jit(every_deputy)


@functools.cache
def compiled_losses(block_size):
  def value_and_grad(prediction, target, deputy):
    loss = functools.partial(truncated_triplet, deputy=deputy, margin=1, block_size=block_size)
    return jax.value_and_grad(loss, (0, 1), has_aux=True)(prediction, target)

  def every_deputy(*inputs):
    return {name: value_and_grad(*inputs, deputy) for name, deputy in DEPUTIES.items()}

  return jax.jit(every_deputy)


@st.composite
def batches(draw):
  """Random rows, of which some are zero and some are copies of others."""
  random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  arrays = random.normal(size=(2, SIZE, DIM))
  for array in arrays:
    for kind in ('zeros', 'copies'):
      count = draw(st.integers(0, 20), label=kind)
      rows = random.integers(0, SIZE, count)
      array[rows] = 0 if kind == 'zeros' else array[random.integers(0, SIZE, count)]
  return tuple(arrays)


class BlocksTest(chex.TestCase):
  @parameterized.product(block_size=BLOCKS, group_size=(None, 15))
  def test_against_the_definition(self, block_size, group_size):
    queries, keys = (unit(x) for x in np.random.default_rng(1).normal(size=(2, SIZE, DIM)))
    keys[3] = keys[20]
    queries[5] = queries[25] = 0  # all negatives tie
    with jax.enable_x64(True):
      found = compiled_keys(group_size, block_size)(queries, keys)
    for name, deputy in possible(group_size).items():
      low, high = deputy.ranks((group_size or SIZE) - 1)
      expected = deputies(queries, keys, low, high, group_size)
      np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-14, err_msg=name)

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(inputs=batches())
  @pytest.mark.slow
  def test_equal_to_the_full_loss(self, inputs):
    with jax.enable_x64(True):
      expected = compiled_losses(None)(*inputs)
      for block_size in (7, 15):
        found = compiled_losses(block_size)(*inputs)
        # Relative to the entry: the gradient of a zero row is up to 1e12.
        chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)
        chex.assert_tree_all_finite(found)
    for _, (_, by_target) in found.values():
      np.testing.assert_array_equal(by_target, 0)

  @pytest.mark.slow
  def test_equal_to_the_full_loss_in_float32(self):
    inputs = np.random.default_rng(2).normal(size=(2, SIZE, DIM)).astype(np.float32)
    expected = compiled_losses(None)(*inputs)
    for block_size in (7, 15):
      found = compiled_losses(block_size)(*inputs)
      chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)

  def test_vmap(self):
    inputs = np.random.default_rng(4).normal(size=(2, 2, SIZE, DIM)).astype(np.float32)
    loss = functools.partial(truncated_triplet, deputy=RankWindow(2, 3), block_size=15)
    found, _ = jax.jit(jax.vmap(loss))(*inputs)
    expected = [jax.jit(loss)(*pair)[0] for pair in zip(*inputs, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)

  @parameterized.parameters(0, -1, 2.5, 'all')
  def test_bad_block_size(self, block_size):
    message = f'block_size: found {block_size!r}, must be a whole number >= 1'
    with self.assertRaisesRegex(ValueError, message):
      truncated_triplet(jnp.ones((12, 3)), jnp.ones((12, 3)), block_size=block_size)


RING = {
  # name: deputy, options. Of 48 rows: groups that a device border cuts, and that span devices.
  'window': (RankWindow(2, 3), {'block_size': 5}),
  'median': (MedianRank(), {'block_size': 8}),
  'all': (AllRanks(), {'block_size': 5}),
  'all_groups_of_16': (AllRanks(), {'group_size': 16}),
  'groups_of_16': (RankWindow(2, 9), {'group_size': 16, 'block_size': 4}),
  'groups_of_16_gathered': (RankWindow(2, 9), {'group_size': 16}),
  'groups_of_3': (HARDEST, {'group_size': 3, 'block_size': 4}),
}


def every_ring(_parameters, inputs, axis_name=None):
  """All of them as one program, which is several times quicker to compile."""
  return {
    name: jnp.concatenate(
      [
        collect(deputy_keys(*inputs, deputy, axis_name=axis_name, **options), axis_name)
        for inputs in (inputs, (0 * inputs[0], inputs[1]))  # the latter all ties
      ]
    )
    for name, (deputy, options) in RING.items()
  }


def collect(rows, axis_name):
  """All rows, in order, the same on every device."""
  if axis_name is None:
    return rows
  sizes = jax.lax.axis_size(axis_name), *rows.shape
  mine = jnp.zeros(sizes, rows.dtype).at[jax.lax.axis_index(axis_name)].set(rows)
  return jax.lax.psum(mine, axis_name).reshape(-1, rows.shape[-1])


class DevicesTest(chex.TestCase):
  @parameterized.parameters(
    (sharded_jit, 8), (shard_map, 1), (shard_map, 2), (shard_map, 8), (pmap, 4)
  )
  @pytest.mark.slow
  def test_every_device_count_finds_the_same_keys(self, way, num_devices):
    inputs = tuple(unit(x) for x in np.random.default_rng(0).normal(size=(2, 48, DIM)))
    with jax.enable_x64(True):
      found = way(every_ring, np.zeros(1), inputs, make_mesh(num_devices))
      if way is pmap:
        found = jax.tree.map(lambda x: x[-1], found)
    for name, (deputy, options) in RING.items():
      group_size = options.get('group_size')
      low, high = deputy.ranks((group_size or 48) - 1)
      queries, keys = inputs
      expected = [deputies(x, keys, low, high, group_size) for x in (queries, 0 * queries)]
      np.testing.assert_allclose(
        found[name], np.concatenate(expected), rtol=0, atol=1e-14, err_msg=name
      )
