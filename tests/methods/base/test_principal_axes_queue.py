"""ICCL with principal axes of a queue: what the queue holds, and that the loss takes its axes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import losses, methods
from tests.methods import tiny

PUSHED, STEPS = 2 * tiny.BATCH, 3
SIZE = 40  # two batches and a half, so the third push drops a part of the first
SETTINGS = {'target': 'stop_gradient', 'variant': 'rcc', 'pca_dim': 4, 'pca_queue': SIZE}


def method(dtype='float64', **hyperparameters):
  return tiny.method('iccl', dtype, **{**SETTINGS, **hyperparameters})


@functools.cache
def start():
  with jax.enable_x64(True):
    return jax.jit(method().init)(jax.random.key(0), jnp.zeros((2, tiny.SIZE, tiny.SIZE, 3)))


@functools.cache
def compiled():
  """Embeddings, and loss with its gradients by the parameters and by the queue."""
  settings = method()

  def loss(params, method_state, rest, views):
    variables = {**rest, 'params': params, 'method_state': method_state}
    embeddings, new = settings.embed(variables, views, jnp.int32(50), jax.random.key(1))
    value, metrics = settings.loss_from_embeddings(embeddings, variables, jnp.int32(50))
    return value, (embeddings, new, metrics)

  return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))


def run(place_state, place_views):
  """What `compiled` gives for each of a few batches, which hand the queue on."""
  state, found = place_state(start()), []
  for index in range(STEPS):
    views = place_views(tiny.views() + 0.5 * np.sin(index + np.arange(3)))
    rest = {name: state[name] for name in ('batch_stats', 'target')}
    (loss, (embeddings, new, metrics)), grads = compiled()(
      state['params'], state['method_state'], rest, views
    )
    found.append(jax.device_get(((loss, (embeddings, new, metrics)), grads)))
    state = {**state, **new}
  return found


@functools.cache
def on_one_device():
  with jax.enable_x64(True):
    return run(lambda state: state, jnp.asarray)


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.slow
class QueueTest(chex.TestCase):
  def test_starts_as_random_directions(self):
    queue = np.asarray(start()['method_state']['queue'])
    chex.assert_shape(queue, (SIZE, 6))
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-12)
    self.assertLess(np.abs(np.mean(queue, axis=0)).max(), 0.3)

  def test_holds_the_targets_of_both_views_newest_first(self):
    queue = np.asarray(start()['method_state']['queue'])
    for (_, (embeddings, new, _)), _ in on_one_device():
      # An image's two views lie side by side: the order of the global batch.
      rows = np.stack([unit(view) for view in embeddings.target], axis=1).reshape(PUSHED, -1)
      queue = np.concatenate([rows, queue])[:SIZE]
      np.testing.assert_allclose(new['method_state']['queue'], queue, rtol=1e-10)

  def test_the_axes_are_those_of_the_queue_with_this_batch_in_it(self):
    before = start()['method_state']['queue']
    for (loss, (embeddings, new, _)), _ in on_one_device():
      by_hand = functools.partial(
        losses.similarity_clustering, embeddings.online, embeddings.target, fade=50 / 60,
        partition=False, uniformity_weight=0.0, similarity='simsiam', pca_dim=4,
      )  # fmt: skip
      with jax.enable_x64(True):
        expected, _ = by_hand(pca_rows=new['method_state']['queue'])
        self.assertGreater(abs(by_hand(pca_rows=before)[0] - expected), 1e-3)
        self.assertGreater(abs(by_hand()[0] - expected), 1e-3)
      np.testing.assert_allclose(loss, expected, rtol=1e-9)
      before = new['method_state']['queue']

  def test_carries_no_gradient(self):
    for _, (by_params, by_extra) in on_one_device():
      chex.assert_trees_all_equal(by_extra, jax.tree.map(np.zeros_like, by_extra))
      chex.assert_tree_all_finite(by_params)

  @pytest.mark.slow
  def test_devices_change_nothing(self):
    chex.assert_devices_available(8, 'cpu')
    mesh = jax.make_mesh((4,), ('data',), (AxisType.Auto,), devices=jax.devices()[:4])
    sharding = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
    with jax.enable_x64(True):
      found = run(
        lambda state: jax.device_put(state, sharding()),
        lambda views: jax.device_put(jnp.asarray(views), sharding('data')),
      )
    chex.assert_trees_all_close(found, on_one_device(), rtol=1e-7, atol=1e-10)

  def test_keeps_its_type_in_half_precision(self):
    settings, images = method('bfloat16'), jnp.zeros((2, 8, 8, 3))
    drawn = jax.eval_shape(lambda key: settings.init(key, images), jax.random.key(0))
    views = jax.ShapeDtypeStruct((tiny.BATCH, 2, 8, 8, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss, (new, _) = jax.eval_shape(settings.loss, drawn, views, 0, key)
    self.assertEqual(loss.dtype, jnp.float32)
    chex.assert_trees_all_equal_shapes_and_dtypes(new['method_state'], drawn['method_state'])


class HyperparameterTest(chex.TestCase):
  @parameterized.parameters(
    ({'pca_queue': -1, 'pca_dim': 4}, 'pca_queue: found -1, must be a whole number >= 0'),
    ({'pca_queue': 40}, 'pca_queue: found 40, must be 0 unless pca_dim is > 0'),
    ({'pca_queue': 4.5, 'pca_dim': 4}, 'pca_queue: found 4.5, must be a whole number'),
  )
  def test_wrong_values(self, hyperparameters, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      methods.create('iccl', **hyperparameters)

  def test_holds_a_batch(self):
    with self.assertRaisesRegex(ValueError, 'pca_queue: found 15, must be at least 16, bot'):
      method(pca_queue=15).validate_batch(8, 8)
    for size in (0, 16):
      method(pca_queue=size).validate_batch(8, 8)

  def test_without_one_the_state_is_as_it_was(self):
    settings = method('float32', pca_queue=0)
    drawn = jax.eval_shape(settings.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
    self.assertEmpty(drawn['method_state'])
