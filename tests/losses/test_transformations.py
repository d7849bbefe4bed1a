"""Losses under JAX's other transformations and meshes, beside those of the device harness."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax import losses

VIEWS = np.random.default_rng(0).normal(size=(2, 16, 6))
QUEUE = np.random.default_rng(1).normal(size=(10, 6))
LABELS = np.arange(16) % 4
ROWS, WHOLE = PartitionSpec('data'), PartitionSpec()

LOSSES = {
  'nt_xent': losses.nt_xent,
  'supervised': lambda a, b, **options: losses.supervised_contrastive(
    a, b, jnp.asarray(LABELS), **options
  ),
  'triplet': functools.partial(losses.truncated_triplet, deputy=losses.RankWindow(2, 5)),
  'vicreg': losses.vicreg,
}


def value_and_grads(loss):
  return jax.value_and_grad(lambda a, b: loss(a, b)[0], (0, 1))


class TransformationTest(chex.TestCase):
  @parameterized.parameters(*LOSSES)
  def test_explicit_mesh(self, name):
    mesh = jax.make_mesh((4,), ('data',), (AxisType.Explicit,), devices=jax.devices()[:4])
    with jax.enable_x64(True):
      expected = jax.jit(value_and_grads(LOSSES[name]))(*VIEWS)
      with jax.set_mesh(mesh):
        sharded = jax.device_put(tuple(VIEWS), NamedSharding(mesh, ROWS))
        wrapped = jax.sharding.auto_axes(
          value_and_grads(LOSSES[name]), out_sharding=(WHOLE, (ROWS, ROWS))
        )
        found = jax.jit(wrapped)(*sharded)
    chex.assert_trees_all_close(jax.device_get(found), expected, rtol=1e-12, atol=1e-12)

  @parameterized.product(name=('nt_xent', 'triplet', 'vicreg'), block_size=(None, 4))
  def test_two_axes_as_one(self, name, block_size):
    mesh = jax.make_mesh((2, 2), ('host', 'chip'), (AxisType.Auto,) * 2, devices=jax.devices()[:4])
    axes = ('host', 'chip')
    options = {'axis_name': axes}
    if name != 'vicreg':
      options['block_size'] = block_size
    local = value_and_grads(functools.partial(LOSSES[name], **options))
    with jax.enable_x64(True):
      expected = jax.jit(value_and_grads(LOSSES[name]))(*VIEWS)
      rows = PartitionSpec(axes)
      mapped = jax.shard_map(local, mesh=mesh, in_specs=rows, out_specs=(WHOLE, rows))
      found = jax.jit(mapped)(*VIEWS)
    # The gradient of a mean over devices, of rows that are on one of them.
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)

  @parameterized.product(name=list(LOSSES), check_vma=(True, False))
  @pytest.mark.slow
  def test_local_loss_inside_shard_map(self, name, check_vma):
    """Without an axis name every device has the loss of its own rows."""
    if name == 'supervised':
      self.skipTest('its labels are those of the whole batch here')
    mesh = jax.make_mesh((2,), ('data',), (AxisType.Auto,), devices=jax.devices()[:2])
    local = lambda a, b: LOSSES[name](a, b)[0][None]
    mapped = jax.shard_map(local, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=check_vma)
    with jax.enable_x64(True):
      found = jax.jit(mapped)(*VIEWS)
      halves = [LOSSES[name](*VIEWS[:, half])[0] for half in (slice(8), slice(8, 16))]
    np.testing.assert_allclose(found, halves, rtol=1e-12)

  @parameterized.product(block_size=(None, 4), check_vma=(True, False))
  @pytest.mark.slow
  def test_gradient_of_a_queue_and_a_temperature(self, block_size, check_vma):
    """Of what is the same on every device, too, the mean of the gradients is the global one."""

    def loss(temperature, queue, a, b, axis_name=None):
      options = {'block_size': block_size, 'axis_name': axis_name}
      return losses.info_nce(a, b, negatives=queue, temperature=temperature, **options)[0]

    def local(temperature, queue, a, b):
      grads = jax.grad(functools.partial(loss, axis_name='data'), (0, 1))(temperature, queue, a, b)
      return jax.lax.pmean(grads, 'data')

    mesh = jax.make_mesh((4,), ('data',), (AxisType.Auto,), devices=jax.devices()[:4])
    specs = WHOLE, WHOLE, ROWS, ROWS
    with jax.enable_x64(True):
      arguments = jnp.float64(0.3), QUEUE, *VIEWS
      expected = jax.jit(jax.grad(loss, (0, 1)))(*arguments)
      mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=WHOLE, check_vma=check_vma)
      found = jax.jit(mapped)(*arguments)
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)

  @parameterized.product(name=('nt_xent', 'triplet'), block_size=(None, 4))
  @pytest.mark.slow
  def test_vmap_scan_and_checkpoint(self, name, block_size):
    loss = functools.partial(LOSSES[name], block_size=block_size)
    gradient = jax.grad(lambda a, b: loss(a, b)[0])
    batches = np.stack([VIEWS, 2 * VIEWS[::-1]])
    with jax.enable_x64(True):
      expected = np.stack([jax.jit(gradient)(*views) for views in batches])
      mapped = jax.jit(jax.vmap(gradient))(batches[:, 0], batches[:, 1])
      scanned = jax.lax.scan(lambda carry, views: (carry, gradient(*views)), 0, batches)[1]
      again = jax.jit(jax.grad(jax.checkpoint(lambda a, b: loss(a, b)[0])))(*batches[0])
    np.testing.assert_allclose(mapped, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(scanned, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(again, expected[0], rtol=1e-12, atol=1e-14)
