"""What holds for each method: shapes, gradients, learning, and any number of devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import methods
from tests.methods import tiny


def by_name(names):
  """A test for each method, with the method at the end of its name."""
  return parameterized.named_parameters(zip(names, names, strict=True))


class EveryMethodTest(chex.TestCase):
  @by_name(tiny.NAMES)
  def test_init(self, name):
    method = tiny.method(name, 'float32')
    drawn = method.init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
    assert set(drawn) == {'params', 'batch_stats', 'target', 'method_state'}
    assert next(iter(drawn['params'])) == 'encoder'
    assert set(drawn['batch_stats']) == set(method.networks()) == set(drawn['params']) - {'dsa'}
    chex.assert_tree_all_finite(drawn)
    assert {x.dtype for x in jax.tree.leaves(drawn)} == {jnp.dtype('float32')}
    again = method.init(jax.random.key(0), jnp.zeros((5, 8, 8, 3)))
    chex.assert_trees_all_equal(again, drawn)
    other = method.init(jax.random.key(1), jnp.zeros((2, 8, 8, 3)))
    kernel = lambda tree: tree['params']['encoder']['linear1']['kernel']
    assert np.abs(kernel(other) - kernel(drawn)).max() > 1e-3
    # Training updates and donates what init gives: the target starts equal, in buffers of its own.
    chex.assert_trees_all_equal(
      drawn['target'], {part: drawn['params'][part] for part in drawn['target']}
    )
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(drawn)]
    assert len(set(buffers)) == len(buffers)

  @by_name(tiny.NAMES)
  def test_loss_is_float32_and_keeps_the_structure_of_the_state(self, name):
    method = tiny.method(name, 'bfloat16', tiny.resnet)
    images = jnp.zeros((2, 8, 8, 3))
    drawn = jax.eval_shape(lambda key: method.init(key, images), jax.random.key(0))
    like = lambda x: jax.ShapeDtypeStruct(
      x.shape, jnp.float32 if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
    )
    views = jax.tree.map(like, tiny.batch())
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss, (new, metrics) = jax.eval_shape(method.loss, drawn, views, 0, key)
    assert type(method).loss is methods.Method.loss  # `embed`, then `loss_from_embeddings`
    for scalar in (loss, *metrics.values()):
      assert scalar.shape == () and scalar.dtype == jnp.float32
    assert {'positive_similarity', 'embedding_std'} <= set(metrics)
    chex.assert_trees_all_equal_shapes_and_dtypes(
      new, {'batch_stats': drawn['batch_stats'], 'method_state': drawn['method_state']}
    )
    features = jax.eval_shape(method.features, drawn, images)
    assert features.shape == (2, method.encoder.out_features) and features.dtype == jnp.float32

  @by_name(tiny.BASE_AND_REPRESENTATIVES)
  def test_gradient_reaches_every_network_and_never_the_target(self, name):
    self.check_gradient_reaches_every_network_and_never_the_target(name)

  @by_name(tiny.OTHERS_WITH_DSA)
  @pytest.mark.slow
  def test_gradient_reaches_every_network_and_never_the_target_of_others(self, name):
    self.check_gradient_reaches_every_network_and_never_the_target(name)

  def check_gradient_reaches_every_network_and_never_the_target(self, name):
    with jax.enable_x64(True):
      _, (by_params, by_target) = tiny.value_and_grads(name, tiny.batch())
    chex.assert_tree_all_finite(by_params)
    for network, tree in by_params.items():
      norms = [np.linalg.norm(x) for x in jax.tree.leaves(tree)]
      assert max(norms) > 1e-6, network
    chex.assert_trees_all_equal(by_target, jax.tree.map(jnp.zeros_like, by_target))

  @by_name(tiny.BASE_AND_REPRESENTATIVES)
  def test_learns_a_fixed_batch(self, name):
    self.check_learns_a_fixed_batch(name)

  @by_name(tiny.OTHERS_WITH_DSA)
  @pytest.mark.slow
  def test_learns_a_fixed_batch_of_others(self, name):
    self.check_learns_a_fixed_batch(name)

  def check_learns_a_fixed_batch(self, name):
    views, params, losses = tiny.batch(), tiny.variables(name)['params'], []
    with jax.enable_x64(True):
      for _ in range(6):
        (loss, _), (grads, _) = tiny.value_and_grads(name, views, params)
        params = jax.tree.map(lambda p, g: p - 0.02 * g, params, grads)
        losses.append(float(loss))
    assert losses[5] < losses[0] - 1e-2, losses

  @by_name(tiny.NAMES)
  @pytest.mark.slow  # in the default tier: no method has a `loss` of its own
  def test_loss_is_that_of_the_embeddings(self, name):
    method, state = tiny.method(name), tiny.variables(name)
    with jax.enable_x64(True):
      (loss, (new, metrics)), _ = tiny.value_and_grads(name, tiny.batch())
      embeddings, new_state = tiny.embed(name)(state, tiny.batch(), jnp.int32(3), jax.random.key(1))
      assert isinstance(embeddings, methods.Embeddings)
      for view in (*embeddings.online, *embeddings.target):
        assert view.shape == (tiny.BATCH, 7 if name == 'supervised' else 6)
      expected, parts = method.loss_from_embeddings(embeddings, state, jnp.int32(3))
      parts = {**parts, 'embedding_std': methods.feature_std(embeddings.online)}
      chex.assert_trees_all_close((loss, metrics), (expected, parts), rtol=1e-10)
      chex.assert_trees_all_close(new_state, new, rtol=1e-10)

  @by_name(tiny.REPRESENTATIVES)
  @pytest.mark.slow
  def test_devices_change_nothing(self, name):
    self.check_devices_change_nothing(name)

  @by_name(tiny.OTHERS)
  @pytest.mark.slow
  def test_devices_change_nothing_of_others(self, name):
    self.check_devices_change_nothing(name)

  def check_devices_change_nothing(self, name):
    chex.assert_devices_available(8, 'cpu')
    mesh = jax.make_mesh((4,), ('data',), (AxisType.Auto,), devices=jax.devices()[:4])
    with jax.enable_x64(True):
      expected = tiny.value_and_grads(name, tiny.batch())
      views = jax.device_put(tiny.batch(), NamedSharding(mesh, PartitionSpec('data')))
      same = NamedSharding(mesh, PartitionSpec())
      state = jax.device_put(tiny.variables(name), same)
      rest = {'batch_stats': state['batch_stats'], 'method_state': state['method_state']}
      found = tiny.compiled(name)(state['params'], state['target'], rest, views)
      chex.assert_trees_all_close(
        jax.device_get(found), jax.device_get(expected), rtol=1e-8, atol=1e-11
      )

  @by_name(tiny.NAMES)
  def test_features_are_the_encoder_in_evaluation(self, name):
    method, state, images = tiny.method(name), tiny.variables(name), tiny.views()[:3, 0]
    with jax.enable_x64(True):
      one_by_one = [method.features(state, images[i : i + 1])[0] for i in range(3)]
      np.testing.assert_allclose(method.features(state, images), one_by_one, rtol=1e-10)

  @by_name(tiny.NAMES)
  def test_is_hashable_and_compares_by_value(self, name):
    assert hash(tiny.method(name)) == hash(tiny.method(name))
    assert tiny.method(name) == tiny.method(name) != tiny.method(name, 'float32')

  @by_name(tiny.NAMES)
  def test_refuses_other_views(self, name):
    with self.assertRaisesRegex(ValueError, r'views: found shape \(8, 3, 8, 8, 3\)'):
      tiny.method(name).embed(
        tiny.variables(name), jnp.zeros((8, 3, 8, 8, 3)), 0, jax.random.key(0)
      )

  @by_name(tiny.NAMES)
  def test_refuses_to_run_before_setup(self, name):
    with self.assertRaisesRegex(ValueError, 'encoder: found None, must be set by setup'):
      methods.create(name).init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))


class FeatureStdTest(chex.TestCase):
  def test_collapse_is_zero_and_a_filled_sphere_is_one(self):
    rows = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    np.testing.assert_allclose(methods.feature_std([rows, 3 * rows]), 1, rtol=0.02)
    collapsed = np.ones((7, 1), np.float32) * rows[:1]
    np.testing.assert_allclose(methods.feature_std([collapsed]), 0, atol=1e-6)
