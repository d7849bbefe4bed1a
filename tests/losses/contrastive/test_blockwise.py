"""The reductions over a similarity matrix: whole, in tiles, in groups, merged in any order."""

import functools
import math
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive import row_sums, terms, tile
from ssl_jax.losses.contrastive.debiased import hard_negative_contrastive
from ssl_jax.losses.contrastive.info_nce import info_nce, nt_xent
from ssl_jax.losses.contrastive.supervised import supervised_contrastive
from tests.losses.contrastive import slow_contrastive as slow

VIEWS = slow.random_views(0, batch=6)  # 12 embeddings
QUEUE = slow.random_views(1, batch=7)[0]
LABELS = np.array([0, 1, 0, 2, 1, 0])

# Of each the candidates are of another kind, or another reduction carries the gradient.
LOSSES = {
  'pairs': nt_xent,
  'queue': lambda a, b, c, **options: info_nce(a, b, negatives=c, **options),
  'class_positives': lambda a, b, **options: supervised_contrastive(a, b, LABELS, **options),
  'two_powers': functools.partial(hard_negative_contrastive, hardness=0.7, class_prior=0.01),
}


def arrays_of(name):
  return (*VIEWS, QUEUE) if name == 'queue' else tuple(VIEWS)


@functools.cache
def compiled(name, block_size=None):
  """Loss, metrics, and the gradient with respect to all arrays and the temperature."""

  def value(temperature, *arrays):
    return LOSSES[name](*arrays, temperature=temperature, block_size=block_size)

  argnums = tuple(range(1 + len(arrays_of(name))))
  return jax.jit(jax.value_and_grad(value, argnums, has_aux=True))


class BlocksTest(chex.TestCase):
  # One row, a divisor of the rows, none, and more than there are.
  @parameterized.parameters(
    *(('pairs', size) for size in (1, 4, 5, 64)),
    *((name, size) for name in ('queue', 'class_positives', 'two_powers') for size in (1, 5)),
  )
  def test_float64(self, name, block_size):
    with jax.enable_x64(True):
      expected = compiled(name)(0.3, *arrays_of(name))
      found = compiled(name, block_size)(0.3, *arrays_of(name))
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)
    for gradient in found[1]:
      assert np.abs(gradient).max() > 1e-3

  @parameterized.parameters('pairs', 'two_powers')
  @pytest.mark.slow
  def test_float32(self, name):
    arrays = [np.float32(x) for x in arrays_of(name)]
    (expected, metrics), gradients = compiled(name)(0.3, *arrays)
    (found, of_found), found_gradients = compiled(name, 5)(0.3, *arrays)
    chex.assert_trees_all_close((found, of_found), (expected, metrics), rtol=1e-5)
    for found_gradient, gradient in zip(found_gradients, gradients, strict=True):
      tolerance = 1e-5 * np.abs(gradient).max()
      np.testing.assert_allclose(found_gradient, gradient, rtol=0, atol=tolerance)

  def test_metrics_of_a_large_matrix(self):
    """Which are reduced tile by tile even where the loss is not."""
    for name in ('class_positives', 'queue'):
      value = functools.partial(LOSSES[name], temperature=0.3)
      with jax.enable_x64(True):
        expected, _ = compiled(name)(0.3, *arrays_of(name))
        with mock.patch.object(row_sums, '_METRICS_TILE', 5):
          traced = jax.jit(value).trace(*arrays_of(name))
          assert 'scan' in str(traced.jaxpr)
          found = traced.lower().compile()(*arrays_of(name))
      chex.assert_trees_all_close(found, expected, rtol=1e-12)


class DerivativeTest(chex.TestCase):
  """The whole matrix can be differentiated in every way, tiles in reverse, and that twice."""

  def value(self, view1, block_size=None):
    return nt_xent(view1, VIEWS[1], temperature=0.3, block_size=block_size)[0]

  @pytest.mark.slow
  def test_forward_mode(self):
    direction = np.ones_like(VIEWS[0])
    with jax.enable_x64(True):
      _, slope = jax.jit(lambda x: jax.jvp(self.value, (x,), (direction,)))(VIEWS[0])
      _, (_, gradient, _) = compiled('pairs')(0.3, *VIEWS)
    np.testing.assert_allclose(slope, np.sum(np.asarray(gradient)), rtol=1e-12)
    with self.assertRaisesRegex(TypeError, 'forward-mode'):
      jax.jvp(functools.partial(self.value, block_size=4), (VIEWS[0],), (direction,))

  @pytest.mark.slow
  def test_hessian(self):
    direction = jnp.asarray(np.random.default_rng(2).normal(size=VIEWS[0].shape))

    def product(x, block_size=None):
      slope = lambda x: jnp.vdot(jax.grad(self.value)(x, block_size), direction)
      return jax.grad(slope)(x)

    with jax.enable_x64(True):
      hessian = jax.jit(jax.hessian(self.value))(VIEWS[0])
      expected = np.tensordot(hessian, direction, axes=2)
      whole, tiles = jax.jit(product)(VIEWS[0]), jax.jit(lambda x: product(x, 5))(VIEWS[0])
    np.testing.assert_allclose(whole, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(tiles, expected, rtol=1e-11, atol=1e-13)
    assert np.abs(expected).max() > 0.1


class GroupsTest(chex.TestCase):
  @parameterized.parameters(None, 1, 4)
  def test_rows_that_are_no_whole_groups(self, block_size):
    """As on a device that holds part of a group: masks stand for slices."""
    rows, index = slow.unit(VIEWS[0]), {'index': np.arange(6)}
    sums = functools.partial(row_sums.anchor_sums, mask_fn=terms.other_keys)
    grouped = jax.jit(functools.partial(sums, group_size=4, block_size=block_size))
    whole = jax.jit(sums)
    with jax.enable_x64(True):
      found = grouped(3 * rows, rows, index, index)
      parts = [
        whole(3 * rows[at], rows[at], {'index': index['index'][at]}, {'index': index['index'][at]})
        for at in (slice(4), slice(4, 6))
      ]
    expected = jax.tree.map(lambda *x: np.concatenate(x, axis=-1), *parts)
    chex.assert_trees_all_close(found, expected, rtol=1e-13)


def random_tile(seed, columns):
  """Logits beyond the range of exp, of which some rows have nothing that is counted."""
  random = np.random.default_rng(seed)
  logits = random.normal(size=(4, columns)) * 10.0 ** random.integers(0, 4)
  counted = random.random((4, columns)) < random.choice([0, 0.3, 1], size=(4, 1))
  positive = random.random((4, columns)) < 0.3
  with np.errstate(divide='ignore'):
    log_weight = np.log(random.integers(0, 3, size=columns))
  return logits, counted, positive, log_weight


@functools.partial(jax.jit, static_argnames='counts_positives')
def reduce(logits, counted, positive, log_weight, counts_positives=False):
  counted = counted if counts_positives else counted & ~positive
  mask = tile.PairMask(counted, positive, log_weight, counts_positives)
  return tile.reduce_tile(logits, mask, POWERS)


POWERS = (1.0, 0.5, 2.0)
combine = jax.jit(lambda left, right: tile.combine(left, right, POWERS))
finalize = jax.jit(lambda total: tile.finalize(total, POWERS))


class MergeTest(chex.TestCase):
  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(st.integers(0, 2**32 - 1), st.permutations(range(4)), st.booleans())
  def test_in_any_order(self, seed, order, counts_positives):
    """Pair by pair, one after the other, backwards: always the sums of the whole matrix."""
    tiles = [random_tile(seed + i, columns=3) for i in range(4)]
    with jax.enable_x64(True):
      parts = [reduce(*tile, counts_positives=counts_positives) for tile in tiles]
      empty = tile.init(4, POWERS, jnp.zeros(1, jnp.float64))
      a, b, c, d = (parts[i] for i in order)
      merged = (
        combine(combine(a, b), combine(c, d)),
        combine(a, combine(b, combine(c, d))),
        combine(combine(combine(combine(empty, a), b), c), combine(d, empty)),
      )
      joined = [np.concatenate(x, axis=-1) for x in zip(*tiles, strict=True)]
      expected = finalize(reduce(*joined, counts_positives=counts_positives))
      found = [finalize(total) for total in merged]
    for sums in found:
      chex.assert_tree_all_finite(sums._replace(log_sums=0, nearest_positive=0, nearest_negative=0))
      chex.assert_trees_all_close(sums, expected, rtol=1e-11, atol=1e-11)

  def test_of_one_row_by_definition(self):
    logits, weights = [0.5, -1.0, 2.0, 0.0, 3.0], [1.0, 2.0, 0.5, 1.0, 1.0]
    counted, positive = [1, 1, 1, 1, 0], [1, 0, 0, 0, 1]
    arrays = np.array([logits]), np.array([counted], bool), np.array([positive], bool)
    with jax.enable_x64(True):
      sums = finalize(reduce(*arrays, np.log(weights), counts_positives=True))
    exps = [w * math.exp(x) for w, x in zip(weights, logits, strict=True)]
    expected = [math.log(sum(e**power for e in exps[:4])) for power in POWERS]
    np.testing.assert_allclose(sums.log_sums[:, 0], expected, rtol=1e-13)
    negatives = exps[1:4]
    effective = sum(negatives) ** 2 / sum(e**2 for e in negatives)
    np.testing.assert_allclose(sums.effective_negatives, effective, rtol=1e-13)
    sums = jax.device_get(sums)
    assert (sums.positive_sum, sums.positive_count, sums.nearest_positive) == (3.5, 2, 3)
    assert (sums.negative_sum, sums.negative_count, sums.nearest_negative) == (1, 3, 2)
