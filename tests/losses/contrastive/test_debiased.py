"""Debiased and hard-negative losses: golden values, slow references, equivalences."""

import functools
import math

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.debiased import debiased_contrastive, hard_negative_contrastive
from ssl_jax.losses.contrastive.info_nce import nt_xent
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.spec_goldens import VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.1, 4)


@functools.partial(jax.jit, static_argnames=('class_prior', 'hardness'))
def hard(view1, view2, temperature=0.5, *, class_prior=0.1, hardness=1.0):
  value = lambda view1: hard_negative_contrastive(
    view1,
    view2,
    temperature=temperature,
    class_prior=class_prior,
    hardness=hardness,
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


@functools.partial(jax.jit, static_argnames='class_prior')
def debiased(view1, view2, temperature=0.5, *, class_prior=0.1):
  value = lambda view1: debiased_contrastive(
    view1, view2, temperature=temperature, class_prior=class_prior
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


@jax.jit
def whole(view1, view2, temperature):
  value = lambda view1: nt_xent(view1, view2, temperature=temperature)
  return jax.value_and_grad(value, has_aux=True)(view1)


def corrected_sum(anchor, temperature, class_prior, hardness):
  """The negatives' sum: hard ones weighed up, those of the anchor's class taken out."""
  exps = [math.exp(cosine / temperature) for cosine in anchor.negatives]
  count = len(exps)
  total = sum(n ** (hardness + 1) for n in exps) / (sum(n**hardness for n in exps) / count)
  positive = math.exp(anchor.positives[0] / temperature)
  total = (total - count * class_prior * positive) / (1 - class_prior)
  return max(total, count * math.exp(-1 / temperature))


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_values(self, dtype, block_size):
    for loss, expected in (
      (debiased_contrastive, goldens.DEBIASED),
      (hard_negative_contrastive, goldens.HARD_NEGATIVE),
    ):
      value = jax.jit(functools.partial(loss, block_size=block_size))
      found, _ = goldens.evaluate(value, dtype, VIEW1, VIEW2)
      goldens.assert_golden(found, expected)


class DefinitionTest(chex.TestCase):
  # At the larger prior many a corrected sum falls to its floor.
  @parameterized.product(class_prior=(0.1, 0.5), hardness=(0.0, 0.7))
  def test_random_views(self, class_prior, hardness):
    floors = []

    @few_examples
    @given(seeds, temperatures)
    def check(seed, temperature):
      views = slow.random_views(seed)
      options = {'class_prior': class_prior, 'hardness': hardness}
      with jax.enable_x64(True):
        found, gradient = hard(*views, temperature, **options)
      negatives = functools.partial(corrected_sum, **options)
      anchors = slow.pair_anchors(*views)
      slow.assert_same(found, slow.contrast(anchors, temperature, negatives=negatives))
      chex.assert_tree_all_finite(gradient)
      floor = len(anchors[0].negatives) * math.exp(-1 / temperature)
      floors.extend(negatives(anchor, temperature) == floor for anchor in anchors)

    check()
    assert not all(floors)
    assert any(floors) or class_prior < 0.5

  def test_gradient_is_the_derivative(self):
    views = slow.random_views(0)
    with jax.enable_x64(True):
      for hardness in (0.0, 0.7):
        value = lambda view1, h=hardness: hard(view1, views[1], hardness=h)
        step = 1e-6 * np.random.default_rng(1).normal(size=views[0].shape)
        (above, _), _ = value(views[0] + step)
        (below, _), _ = value(views[0] - step)
        _, gradient = value(views[0])
        change, expected = float(above - below), 2 * np.sum(np.asarray(gradient) * step)
        np.testing.assert_allclose(change, expected, rtol=1e-6)


@pytest.mark.slow
class EquivalenceTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures)
  def test_settings(self, seed, temperature):
    """Without a prior NT-Xent, without hardness debiased; in value, metrics and gradient."""
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      expected = whole(*views, temperature)
      without_prior = debiased(*views, temperature, class_prior=0.0)
      only_debiased = debiased(*views, temperature)
      without_hardness = hard(*views, temperature, hardness=0.0)
    chex.assert_trees_all_close(without_prior, expected, rtol=1e-12, atol=1e-13)
    chex.assert_trees_all_close(without_hardness, only_debiased, rtol=1e-12, atol=1e-13)

  def test_hardness_does_not_matter_among_equals(self):
    views = np.eye(3)
    found = [goldens.evaluate(hard, np.float64, views, views, hardness=h)[0][0] for h in (0.0, 3.0)]
    np.testing.assert_allclose(*found, rtol=1e-13)

  @parameterized.parameters(None, 2)
  def test_groups_are_slices(self, block_size):
    views = slow.random_views(0, batch=6)
    grouped = functools.partial(hard_negative_contrastive, group_size=3, block_size=block_size)
    with jax.enable_x64(True):
      found = jax.jit(grouped)(*views)
      slices = [hard(*views[:, at : at + 3, :])[0] for at in (0, 3)]
    mean = jax.tree.map(lambda *x: np.mean(x), *slices)
    chex.assert_trees_all_close(found, mean, rtol=1e-13)

  def test_no_information_in_the_sum_below_its_floor(self):
    """Positives more alike than all else: the corrected sum is its floor, and has no gradient."""
    view = np.eye(3)
    (loss, metrics), gradient = goldens.evaluate(hard, np.float64, view, view, class_prior=0.5)
    np.testing.assert_allclose(loss, math.log1p(4 * math.exp(-4)), rtol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)
    np.testing.assert_allclose(metrics['attract'], -2, rtol=1e-12)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('one', {'class_prior': 1.0}, 'class_prior: found 1.0, must be >= 0 and < 1'),
    ('negative', {'class_prior': -0.1}, 'class_prior: found -0.1, must be >= 0'),
    ('hardness', {'hardness': -1}, 'hardness: found -1, must be >= 0'),
  )
  def test_options(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      hard_negative_contrastive(VIEW1, VIEW2, **options)
