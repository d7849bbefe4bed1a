"""Checkpoints: what comes back is, bit for bit, what was saved."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.training.checkpoints.checkpoint_case import CheckpointsTestCase, simple


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  step: Any
  params: Any
  opt_state: Any
  key: Any


@jax.tree_util.register_pytree_with_keys_class
class Twins:
  """A container that gives two leaves the same name."""

  def __init__(self, *children):
    self.children = children

  def tree_flatten_with_keys(self):
    return [(jax.tree_util.GetAttrKey('twin'), child) for child in self.children], None

  @classmethod
  def tree_unflatten(cls, _, children):
    return cls(*children)


def mesh(devices: int) -> jax.sharding.Mesh:
  return jax.make_mesh(
    (devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
  )


class RoundTripTest(CheckpointsTestCase):
  def test_every_kind_of_leaf_bit_for_bit(self):
    payload = np.array([0x7FC00123, 0xFFC00001, 0x80000000, 0x00000001], np.uint32)
    state = {
      'jax': {
        name: jnp.array([[0, 1], [2, 3]], name)
        for name in ('bfloat16', 'float16', 'float32', 'int8', 'int32', 'uint32', 'bool')
      },
      'bits': jnp.asarray(payload.view(np.float32)),
      'negative_zero': jnp.full((8,), -0.0),
      'scalar': jnp.int32(7),
      'empty': jnp.zeros((0, 3)),
      'numpy': (np.array([2**40, -1]), np.float64(np.pi), np.zeros(0), np.array(1 + 2j)),
      'python': [3, True, 1e-300, -0.0],
      'a.b/c %': {5: jnp.ones(2), 6: jnp.zeros(1)},
      '': jnp.ones(1),
      'nothing': (None, {}, []),
      'key': jax.random.key(3),
      'keys': jax.random.split(jax.random.key(4, impl='rbg'), 5),
    }
    checkpoints = self.open()
    checkpoints.save(12, state)
    restored, step = checkpoints.restore(state)
    self.assertEqual(step, 12)
    self.assert_same(state, restored)
    self.assertEqual(
      jax.random.key_impl(restored['keys']), jax.random.key_impl(jax.random.key(0, impl='rbg'))
    )
    self.assertFalse(restored['jax']['float32'].committed)
    self.assertEqual(self.lines, [])

  def test_state_with_optimizer_on_other_numbers_of_devices(self):
    params = {'layer': {'kernel': jnp.arange(32.0).reshape(8, 4), 'bias': jnp.ones(8)}}
    optimizer = optax.chain(optax.clip(1.0), optax.adam(optax.constant_schedule(1e-3)))
    state = State(jnp.int32(5), params, optimizer.init(params), jax.random.key(1))
    specs = jax.tree.map(lambda leaf: P('data') if leaf.ndim else P(), state)

    def place(devices):
      shardings = jax.tree.map(lambda spec: NamedSharding(mesh(devices), spec), specs)
      return jax.device_put(state, shardings)

    current = place(8)
    for step, devices in ((1, 8), (2, 1), (3, 4)):
      checkpoints = self.open()
      checkpoints.save(step, current)
      checkpoints.finish()
      template = place(devices)
      current, found = checkpoints.restore(template)
      self.assertEqual(found, step)
      self.assert_same(state, current)
      for like, leaf in zip(jax.tree.leaves(template), jax.tree.leaves(current), strict=True):
        self.assertTrue(leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim))
        self.assertEqual(leaf.committed, like.committed)
    abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), place(2)
    )
    on_two, _ = checkpoints.restore(abstract)
    self.assertLen(on_two.params['layer']['kernel'].sharding.device_set, 2)
    self.assert_same(state, on_two)
    self.assert_same(state, checkpoints.restore(jax.eval_shape(lambda: state))[0])

  @parameterized.parameters((None,), (P(),), (P('data'),))
  def test_buffers_may_be_donated_right_after(self, spec):
    values = np.arange(400_000, dtype=np.float32)
    array = jnp.asarray(values) + 0
    if spec is not None:
      array = jax.device_put(values, NamedSharding(mesh(8), spec))
    overwrite = jax.jit(lambda x: x * 0.5 - 1, donate_argnums=0)
    host = values.copy()
    checkpoints = self.open()
    checkpoints.save(1, {'device': array, 'host': host})
    host[:] = 0
    for _ in range(5):
      array = overwrite(array)
    array.block_until_ready()
    state, _ = checkpoints.restore({'device': array, 'host': host})
    np.testing.assert_array_equal(state['device'], values)
    np.testing.assert_array_equal(state['host'], values)

  @parameterized.named_parameters(
    ('shape', {'a': {'b': np.zeros((2, 3), np.float32)}}, r"'a/b' \[2, 2\] .*, must be \[2, 3\]"),
    ('dtype', {'a': {'b': np.zeros((2, 2), np.float16)}}, r"'a/b' .*float32, .* float16"),
    (
      'missing',
      {'a': {'c': np.zeros(())}},
      r"no 'a/c', must be a checkpoint that has it, \[\] float64",
    ),
    ('method_state', {'a': {}}, r"'a/b' \[2, 2\] float32, must be a checkpoint without it"),
    ('key', {'a': {'b': jax.random.key(0)}}, r"'a/b' \[2, 2\] float32, .*key<fry>"),
  )
  def test_other_structure_names_the_path(self, template, words):
    checkpoints = self.open()
    checkpoints.save(3, {'a': {'b': np.zeros((2, 2), np.float32)}})
    with self.assertRaisesRegex(ValueError, f'^{checkpoints.folder}/3: .*{words}') as caught:
      checkpoints.restore(template)
    self.assertNotIn('\n', str(caught.exception))

  @parameterized.parameters(
    ({'a': 'text'}, "'a': found dtype <U4"), ({'a': Twins(0, 1)}, "two leaves of the path 'a/twin'")
  )
  def test_state_that_cannot_be_stored(self, state, words):
    with self.assertRaisesRegex(ValueError, words):
      self.open().save(1, state)

  def test_nothing_there(self):
    checkpoints = self.open()
    self.assertIsNone(checkpoints.restore(simple()))
    self.assertIsNone(checkpoints.latest_step())
    self.assertIsNone(checkpoints.best_step())
    with self.assertRaisesRegex(
      ValueError, r'step: found 7, must be one of \[\], the checkpoints in'
    ):
      checkpoints.restore(simple(), step=7)
