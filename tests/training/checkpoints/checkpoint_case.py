"""What the tests of checkpoints share: a folder, a small state, and equality of bits."""

import pathlib
import tempfile
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.training.checkpoints.manager import Checkpoints


def raw(leaf: Any) -> bytes:
  if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf).tobytes()


def simple(value: float = 0.0) -> dict[str, Any]:
  return {'weights': np.full((4, 3), value, np.float32), 'step': np.int32(value)}


class CheckpointsTestCase(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / 'checkpoints'
    self.lines = []

  def open(self, **options):
    return Checkpoints(self.folder, log=self.lines.append, **options)

  def filled(self, *steps, **options):
    checkpoints = self.open(**options)
    for step in steps:
      checkpoints.save(step, simple(step))
    checkpoints.finish()
    return checkpoints

  def assert_same(self, expected, found):
    self.assertEqual(jax.tree.structure(expected), jax.tree.structure(found))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
      self.assertIs(type(a), type(b))
      self.assertEqual(getattr(a, 'dtype', None), getattr(b, 'dtype', None))
      self.assertEqual(np.shape(a), np.shape(b))
      self.assertEqual(raw(a), raw(b))

  def assert_restores(self, checkpoints, step):
    state, found = checkpoints.restore(simple())
    self.assertEqual(found, step)
    self.assert_same(simple(step), state)
