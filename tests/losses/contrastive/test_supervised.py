"""SupCon and NSCL: golden values, slow references, and what they are for special labels."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.info_nce import nt_xent
from ssl_jax.losses.contrastive.supervised import (
  negatives_supervised_contrastive,
  supervised_contrastive,
)
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.spec_goldens import LABELS, VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.05, 4)
some_labels = st.lists(st.integers(0, 3), min_size=5, max_size=5).map(np.array)


@functools.partial(jax.jit, static_argnames='base')
def supervised(view1, view2, temperature, labels, *, base=None):
  value = lambda view1: supervised_contrastive(
    view1,
    view2,
    labels,
    temperature=temperature,
    base_temperature=base,
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


@functools.partial(jax.jit, static_argnames='kappa')
def negatives_supervised(view1, view2, temperature, labels, *, kappa=1):
  value = lambda view1: negatives_supervised_contrastive(
    view1,
    view2,
    labels,
    temperature=temperature,
    positive_in_denominator=kappa,
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


@jax.jit
def whole(view1, view2, temperature):
  value = lambda view1: nt_xent(view1, view2, temperature=temperature)
  return jax.value_and_grad(value, has_aux=True)(view1)


def labeled(loss):
  return jax.jit(lambda view1, view2: loss(view1, view2, LABELS))


def class_anchors(views, labels):
  same = lambda i, j: labels[i] == labels[j]
  return slow.pair_anchors(*views, positive=same, negative=lambda i, j: not same(i, j))


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_supervised(self, dtype, block_size):
    for base, expected in ((None, goldens.SUPERVISED), (0.07, goldens.SUPERVISED_BASE)):
      loss_of = functools.partial(
        supervised_contrastive, temperature=0.5, base_temperature=base, block_size=block_size
      )
      loss, _ = goldens.evaluate(labeled(loss_of), dtype, VIEW1, VIEW2)
      goldens.assert_golden(loss, expected)

  @goldens.every_way
  def test_negatives_supervised(self, dtype, block_size):
    for kappa, expected in goldens.NEGATIVES_SUPERVISED.items():
      loss_of = functools.partial(
        negatives_supervised_contrastive, positive_in_denominator=kappa, block_size=block_size
      )
      loss, _ = goldens.evaluate(labeled(loss_of), dtype, VIEW1, VIEW2)
      goldens.assert_golden(loss, expected)


class DefinitionTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures, some_labels)
  def test_supervised(self, seed, temperature, labels):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found, _ = supervised(*views, temperature, labels)
    others = lambda a, t: slow.exp_sum(a, t) + sum(math.exp(s / t) for s in a.positives)
    options = {'positive_weight': 0, 'negatives': others}
    slow.assert_same(found, slow.contrast(class_anchors(views, labels), temperature, **options))

  @few_examples
  @given(seeds, temperatures, some_labels, st.sampled_from((0, 1)))
  def test_negatives_supervised(self, seed, temperature, labels, kappa):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found, _ = negatives_supervised(*views, temperature, labels, kappa=kappa)
    anchors = slow.pair_anchors(*views, negative=lambda i, j: labels[i] != labels[j])
    slow.assert_same(found, slow.contrast(anchors, temperature, positive_weight=kappa))


class EquivalenceTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures)
  def test_one_image_a_class_is_nt_xent(self, seed, temperature):
    views, labels = slow.random_views(seed), np.random.default_rng(seed).permutation(5)
    with jax.enable_x64(True):
      expected = whole(*views, temperature)
      found = [f(*views, temperature, labels) for f in (supervised, negatives_supervised)]
    for result in found:
      chex.assert_trees_all_close(result, expected, rtol=1e-12, atol=1e-13)

  def test_masks_are_slices(self):
    """Of NSCL: each image among those of other classes only, as a batch of NT-Xent."""
    views, labels = slow.random_views(0), np.array([0, 1, 0, 2, 1])
    with jax.enable_x64(True):
      (found, _), _ = negatives_supervised(*views, 0.3, labels)
    losses = []
    for image in range(len(labels)):
      rows = [image, *np.flatnonzero(labels != labels[image])]
      anchors = slow.pair_anchors(*views[:, rows, :])
      losses.append(slow.contrast(anchors[:2], 0.3)[0])
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-12)

  def test_nscl_of_one_class_only_attracts(self):
    views, labels = slow.random_views(0), np.zeros(5, int)
    with jax.enable_x64(True):
      (loss, metrics), gradient = jax.device_get(negatives_supervised(*views, 0.5, labels))
      (attracted, of_attracted), pull = jax.device_get(
        negatives_supervised(*views, 0.5, labels, kappa=0)
      )
    np.testing.assert_allclose(loss, 0, atol=1e-15)  # log(p / p)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)
    assert metrics['contrast_accuracy'] == 1 and metrics['effective_negatives'] == 0
    np.testing.assert_allclose(attracted, metrics['attract'], rtol=1e-13)
    assert of_attracted['repel'] == 0 and np.abs(pull).max() > 1e-3

  def test_base_temperature_scales_value_and_gradient(self):
    views, labels = slow.random_views(0), np.array([0, 1, 0, 1, 2])
    with jax.enable_x64(True):
      (loss, metrics), gradient = supervised(*views, 0.2, labels)
      (scaled, of_scaled), steeper = supervised(*views, 0.2, labels, base=0.05)
    np.testing.assert_allclose(scaled, 4 * float(loss), rtol=1e-13)
    np.testing.assert_allclose(steeper, 4 * np.asarray(gradient), rtol=1e-12)
    for name in ('positive_similarity', 'negative_similarity', 'effective_negatives'):
      np.testing.assert_allclose(of_scaled[name], metrics[name], rtol=1e-13)

  def test_one_class_has_no_negatives(self):
    views, labels = np.float32(slow.random_views(0)), np.zeros(5, np.int32)
    (loss, metrics), gradient = supervised(*views, 0.005, labels)
    chex.assert_tree_all_finite((loss, metrics, gradient))
    assert metrics['effective_negatives'] == 0 and metrics['negative_similarity'] == 0
    collapsed = np.ones((5, 4), np.float32)
    (loss, _), _ = supervised(collapsed, collapsed, 0.5, labels)
    np.testing.assert_allclose(loss, math.log(9), rtol=1e-6)

  @parameterized.parameters(np.uint8, np.uint16, np.uint32)
  def test_unsigned_labels_are_all_names(self, dtype):
    # Cast to an unsigned type, the label -1 would be its largest value.
    labels = np.where(np.asarray(LABELS) == 0, np.iinfo(dtype).max, LABELS).astype(dtype)
    for loss in (supervised_contrastive, negatives_supervised_contrastive):
      expected = loss(VIEW1, VIEW2, np.asarray(LABELS))[0]
      np.testing.assert_allclose(loss(VIEW1, VIEW2, labels)[0], expected, rtol=1e-6)

  def test_one_view_without_a_pair_is_zero_but_for_bad_rows(self):
    view = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    loss = lambda view, mask=None: float(
      supervised_contrastive(view, labels=np.arange(4), mask=mask)[0]
    )
    self.assertEqual(loss(view), 0)
    view[1, 2] = np.nan
    self.assertTrue(np.isnan(loss(view)))
    self.assertEqual(loss(view, np.arange(4) != 1), 0)
    self.assertTrue(np.isnan(loss(view, np.zeros(4, bool))))

  def test_labels_are_names_only(self):
    views, labels, renamed = slow.random_views(0), np.array([0, 1, 0, 1, 2]), [7, -3, 7, -3, 0]
    for loss in (supervised, negatives_supervised):
      with jax.enable_x64(True):
        found, expected = (loss(*views, 0.5, np.array(x)) for x in (renamed, labels))
      chex.assert_trees_all_equal(found, expected)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('shape', np.zeros((3, 1), int), r'labels: found shape \(3, 1\), must be \(3,\), one an image'),
    ('floats', np.zeros(3, np.float32), 'labels: found dtype float32, must be an integer dtype'),
  )
  def test_labels(self, labels, pattern):
    for loss in (supervised_contrastive, negatives_supervised_contrastive):
      with self.assertRaisesRegex(ValueError, pattern):
        loss(VIEW1, VIEW2, jnp.asarray(labels))
