"""The deputy's key: golden values by row, blocks, devices and memory."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.deputies import AllRanks, MedianRank, RankWindow
from ssl_jax.losses.deputy_keys import deputy_keys
from ssl_jax.losses.triplet import truncated_triplet
from tests.losses.golden_inputs import G1, G2, G4, deputies, unit
from tests.losses.ways import AXIS, ROWS, WHOLE, make_mesh, pmap, shard_map, sharded_jit

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
MIB = 2**20


def deputy_cosines(inputs, deputy, block_size):
  prediction, target = map(unit, inputs)
  with jax.enable_x64(True):
    keys = jax.jit(functools.partial(deputy_keys, deputy=deputy, block_size=block_size))
    return np.sum(prediction * np.asarray(keys(prediction, target)), axis=-1)


class GoldenTest(chex.TestCase):
  @parameterized.product(block_size=(None, 3), rank=(1, 2, 3))
  def test_each_rank_of_g1(self, block_size, rank):
    distances = [
      [-1.3333333333, 0, 0],
      [-1.3333333333, 0.2666666667, 0.2828427125],
      [-0.8888888889, -0.6666666667, 1.4142135624],
      [-1.1313708499, -0.4714045208, -0.4714045208],
    ]
    found = -2 * deputy_cosines(G1, RankWindow(rank, rank), block_size)
    np.testing.assert_allclose(found, np.array(distances)[:, rank - 1], rtol=0, atol=1e-10)

  @parameterized.parameters(None, 5)
  def test_rows_of_g2(self, block_size):
    distances = [0.2483628823, 0.3026771488, 0.1223840752, -0.1003559738, -0.0967816746]
    distances += [0.0523455116, 0.0952908873, -0.0228149493, -0.166557522, -0.0347806724]
    distances += [0.2238244677, 0.2998389724]
    found = -2 * deputy_cosines(G2, RankWindow(2, 10), block_size)
    np.testing.assert_allclose(found, distances, rtol=0, atol=1e-10)

  @parameterized.parameters((1, 0.8708211944), (2, 0.7555544491), (5, -0.0496601849))
  def test_ranks_of_the_first_row_of_g2(self, rank, cosine):
    found = deputy_cosines(G2, RankWindow(rank, rank), 5)[0]
    np.testing.assert_allclose(found, cosine, rtol=0, atol=1e-10)

  @parameterized.product(
    deputy_and_distance=((MedianRank(), 0.1827234297), (RankWindow(6, 6), 1.0522893576)),
    block_size=(None, 4),
  )
  def test_lower_and_upper_median_of_g4(self, deputy_and_distance, block_size):
    deputy, distance = deputy_and_distance
    found = -2 * deputy_cosines(G4, deputy, block_size)[0]
    np.testing.assert_allclose(found, distance, rtol=0, atol=1e-10)


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
