"""One value and gradient on any number of devices: sharded jit, shard_map and pmap."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ssl_jax import losses

BATCH, DIM = 32, 6
WINDOW = losses.RankWindow(2, 5)
LOSSES = {
  'nt_xent': losses.nt_xent,
  'cosine_regression': losses.cosine_regression,
  'triplet': functools.partial(losses.truncated_triplet, deputy=WINDOW),
  # A group spans devices, equals a device, or is one of several on a device.
  'triplet_groups_of_8': functools.partial(losses.truncated_triplet, deputy=WINDOW, group_size=8),
  'triplet_closing_hinge': functools.partial(losses.truncated_triplet, deputy=WINDOW, margin=1),
  'triplet_all': functools.partial(losses.truncated_triplet, deputy=losses.AllRanks()),
}


def _mesh(num_devices: int) -> Mesh:
  return jax.make_mesh(
    (num_devices,), ('data',), (AxisType.Auto,), devices=jax.devices()[:num_devices]
  )


def _inputs() -> tuple[np.ndarray, np.ndarray]:
  first, noise = np.random.default_rng(0).normal(size=(2, BATCH, DIM))
  return first, first + noise


def _on_one_device(loss):
  def mean(a, b):
    return loss(a, b)

  return jax.value_and_grad(mean, (0, 1), has_aux=True)(*map(jnp.asarray, _inputs()))


def _per_device(loss, axis_name):
  """What a caller writes inside shard_map or pmap: gradients of shared weights, averaged."""

  def weighted(weight, a, b):
    return loss(a @ weight, b @ weight, axis_name=axis_name)

  def local(weight, a, b):
    out, grad = jax.value_and_grad(weighted, has_aux=True)(weight, a, b)
    return out, jax.lax.pmean(grad, axis_name)

  return local


class DevicesTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    chex.assert_devices_available(8, 'cpu')

  @parameterized.product(name=list(LOSSES), num_devices=(1, 2, 4, 8))
  def test_jit_over_sharded_arrays(self, name, num_devices):
    with jax.enable_x64(True):
      expected = _on_one_device(LOSSES[name])
      rows = NamedSharding(_mesh(num_devices), PartitionSpec('data'))
      sharded = [jax.device_put(x, rows) for x in _inputs()]
      found = jax.jit(jax.value_and_grad(LOSSES[name], (0, 1), has_aux=True))(*sharded)
      chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)

  @parameterized.product(
    name=list(LOSSES), setting=((1, True), (2, True), (4, False), (4, 'pmap'), (8, True))
  )
  def test_axis_name(self, name, setting):
    num_devices, way = setting
    with jax.enable_x64(True):
      weight = jnp.asarray(np.random.default_rng(1).normal(size=(DIM, DIM)))
      a, b = map(jnp.asarray, _inputs())

      def whole(weight):
        return LOSSES[name](a @ weight, b @ weight)

      expected = jax.value_and_grad(whole, has_aux=True)(weight)
      local = _per_device(LOSSES[name], 'data')
      if way == 'pmap':
        split = (num_devices, BATCH // num_devices, DIM)
        mapped = jax.pmap(local, 'data', in_axes=(None, 0, 0))
        found = jax.tree.map(lambda x: x[-1], mapped(weight, a.reshape(split), b.reshape(split)))
      else:
        rows = PartitionSpec('data')
        found = jax.jit(
          jax.shard_map(
            local,
            mesh=_mesh(num_devices),
            in_specs=(PartitionSpec(), rows, rows),
            out_specs=PartitionSpec(),
            check_vma=way,
          )
        )(weight, a, b)
      chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)
