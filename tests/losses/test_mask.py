"""Padding is as if it were not there: with a mask, a loss is that of the rows that are left."""

import functools
import inspect

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import losses
from ssl_jax.losses import AllRanks, MedianRank, RankWindow
from tests.losses import batches
from tests.losses.batches import SIZE, random_batch
from tests.losses.cases import all_cases

REAL = 8  # rows of SIZE that are left
CASES = {
  name: case
  for name, case in all_cases().items()
  if 'mask' in inspect.signature(getattr(losses, case.names[0])).parameters and not case.derived
}
# Of each core that takes a mask: the matrix of similarities, ranks, moments, features as clusters.
CHEAP = ('nt_xent', 'triplet_median', 'vicreg', 'feature_uniformity')


def padded(batch, mask):
  """The batch with NaN where it is padding, and with labels that are classes of real rows."""
  spoilt = batches.map_embeddings(lambda x: np.where(mask[:, None], x, np.nan), batch)
  return spoilt._replace(labels=np.where(mask, batch.labels, 0))


@functools.cache
def program(name, block_size):
  """`(fields, labels, mask)` to loss, metrics and gradients of a case."""
  options = {} if block_size is None else {'block_size': block_size}

  def evaluate(fields, labels, mask):
    def value(fields):
      masked = {} if mask is None else {'mask': mask}
      return CASES[name].call(batches.join(fields, labels), **options, **masked)

    return jax.value_and_grad(value, has_aux=True)(fields)

  return jax.jit(evaluate)


def evaluate(name, batch, mask=None, block_size=None):
  return jax.device_get(program(name, block_size)(*batches.split(batch), mask))


class MaskTest(chex.TestCase):
  @parameterized.parameters(*CHEAP)
  def test_is_a_slice_of(self, name):
    self.check_slice(name)

  @parameterized.named_parameters((name, name) for name in CASES)
  @pytest.mark.slow
  def test_is_a_slice_(self, name):
    self.check_slice(name)
    self.check_all_padding(name)

  def check_slice(self, name):
    case, random = CASES[name], np.random.default_rng(3)
    mask = random.permutation(SIZE) < REAL
    if case.minimum == 8:  # groups of eight: one of them is left
      mask = np.arange(SIZE) >= REAL
    whole = random_batch(SIZE)
    kept = jax.tree.map(lambda x: x[mask], whole)
    with jax.enable_x64(True):
      (loss, metrics), grads = evaluate(name, kept)
      for block_size in (None, 5) if case.blocks else (None,):
        (found, found_metrics), found_grads = evaluate(name, padded(whole, mask), mask, block_size)
        for field, grad in found_grads.items():
          np.testing.assert_array_equal(grad[~mask], 0, err_msg=field)
          np.testing.assert_allclose(grad[mask], grads[field], rtol=0, atol=1e-12, err_msg=field)
        np.testing.assert_allclose(found, loss, rtol=1e-12)
        chex.assert_trees_all_close(found_metrics, metrics, rtol=1e-12, atol=1e-12)

  def check_all_padding(self, name):
    mask = np.zeros(SIZE, bool)
    with jax.enable_x64(True):
      for block_size in (None, 5) if CASES[name].blocks else (None,):
        (loss, _), grads = evaluate(name, padded(random_batch(SIZE), mask), mask, block_size)
        self.assertTrue(np.isnan(loss))
        chex.assert_trees_all_equal(grads, jax.tree.map(np.zeros_like, grads))

  def test_all_padding(self):
    self.check_all_padding('nt_xent')

  @pytest.mark.slow
  def test_groups_keep_their_places(self):
    """Each group is one of its real rows; the mean is over these."""
    batch, mask = random_batch(SIZE), np.arange(SIZE) % 8 < 5
    mask[0] = False
    parts = [np.flatnonzero(mask & (np.arange(SIZE) // 8 == group)) for group in range(2)]
    for loss in (
      losses.nt_xent,
      functools.partial(losses.truncated_triplet, deputy=AllRanks()),
      functools.partial(losses.truncated_triplet, deputy=MedianRank()),
      functools.partial(losses.truncated_triplet, deputy=RankWindow(2, 3)),
    ):

      def values(padded, batch, loss=loss):
        found, _ = loss(padded.view1, padded.target2, mask=mask, group_size=8)
        return found, [loss(batch.view1[rows], batch.target2[rows])[0] for rows in parts]

      with jax.enable_x64(True):
        found, values_of_parts = jax.jit(values)(padded(batch, mask), batch)
      expected = np.average(values_of_parts, weights=[len(rows) for rows in parts])
      np.testing.assert_allclose(found, expected, rtol=1e-12)

  def test_too_few_negatives_for_a_deputy_or_a_draw(self):
    mask = np.arange(SIZE) < 3
    drawn = {'num_negatives': 3, 'key': jax.random.key(0)}

    def values(view1, view2):
      triplet, _ = losses.truncated_triplet(view1, view2, deputy=RankWindow(2, 3), mask=mask)
      instance, _ = losses.instance_contrastive(view1, view2, **drawn, mask=mask)
      return triplet, instance

    batch = padded(random_batch(SIZE), mask)
    grads, found = jax.jit(
      lambda a, b: (jax.jacrev(values)(a, b), values(a, b)),
    )(batch.view1, batch.view2)
    for value, grad in zip(found, grads, strict=True):
      self.assertTrue(np.isnan(value))
      np.testing.assert_array_equal(grad[~mask], 0)

  def test_one_real_image_has_no_negative(self):
    batch, mask = random_batch(SIZE), np.arange(SIZE) == 4
    loss = lambda view1, view2: losses.hard_negative_contrastive(view1, view2, mask=mask)[0]
    value, grad = jax.jit(jax.value_and_grad(loss))(batch.view1, batch.view2)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    self.assertTrue(np.all(np.isfinite(grad)))
