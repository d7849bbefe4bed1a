"""Feature extraction: order, padding, one compilation, sharding."""

import doctest
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax import evaluation
from ssl_jax.evaluation import features as features_module


def images(count):
  return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)


def pixels(batch):
  return batch.reshape(len(batch), -1).astype(jnp.float32) / 255


class ExtractTest(chex.TestCase):
  @parameterized.product(count=(1, 7, 8, 21), on_device=(False, True))
  def test_equals_one_call_on_everything(self, count, on_device):
    batch = jnp.asarray(images(count)) if on_device else images(count)
    features = evaluation.extract(jax.jit(pixels), batch, batch_size=8)
    self.assertIsInstance(features, np.ndarray)
    self.assertEqual(features.dtype, np.float32)
    np.testing.assert_allclose(features, pixels(images(count)), rtol=1e-6)

  def test_compiles_once_for_every_length(self):
    apply = jax.jit(chex.assert_max_traces(pixels, n=1))
    for count in (3, 8, 20):
      chex.assert_shape(evaluation.extract(apply, images(count), batch_size=8), (count, 48))

  def test_bfloat16_features_come_back_as_float32(self):
    apply = jax.jit(lambda batch: pixels(batch).astype(jnp.bfloat16))
    features = evaluation.extract(apply, images(5), batch_size=4)
    self.assertEqual(features.dtype, np.float32)
    np.testing.assert_allclose(features, pixels(images(5)), rtol=1e-2)

  def test_sharded_batches(self):
    mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, P('data'))
    seen = []

    def apply(batch):
      seen.append(batch.sharding)
      return pixels(batch)

    features = evaluation.extract(apply, images(20), batch_size=16, sharding=sharding)
    self.assertEqual(seen, [sharding, sharding])
    np.testing.assert_allclose(features, pixels(images(20)), rtol=1e-6)

  @parameterized.parameters(1, 8, 21)
  def test_a_mapped_file_holds_the_same(self, count):
    apply = jax.jit(pixels)
    expected = evaluation.extract(apply, images(count), batch_size=8)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'features.npy')
      given = []

      def store(*shape):
        given.append(shape)
        return np.lib.format.open_memmap(path, 'w+', np.float32, shape)

      found = evaluation.extract(apply, images(count), batch_size=8, store=store)
      self.assertIsInstance(found, np.memmap)
      found.flush()
      # Asked for once, however many batches there are.
      self.assertEqual(given, [expected.shape])
      np.testing.assert_array_equal(np.load(path), expected)

  def test_a_store_of_another_shape_or_dtype(self):
    for store, message in (
      (
        lambda rows, columns: np.zeros((rows + 1, columns), np.float32),
        r'float32 of shape \(9, 48',
      ),
      (lambda rows, columns: np.zeros((8, 1), np.float32), r'float32 of shape \(8, 1\)'),
      (lambda rows, columns: np.zeros((rows, columns)), r'float64 of shape \(8, 48\)'),
    ):
      with self.assertRaisesRegex(ValueError, f'^store: found {message}.*, must be float32 of'):
        evaluation.extract(pixels, images(8), batch_size=8, store=store)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r'^images_uint8: found 0 images'):
      evaluation.extract(pixels, images(0))
    with self.assertRaisesRegex(ValueError, r'^batch_size: found 0'):
      evaluation.extract(pixels, images(2), batch_size=0)
    with self.assertRaisesRegex(ValueError, r'^apply: found features of shape \(4, 4, 4, 3\)'):
      evaluation.extract(lambda batch: batch, images(2), batch_size=4)

  def test_examples(self):
    self.assertEqual(doctest.testmod(features_module).failed, 0)
