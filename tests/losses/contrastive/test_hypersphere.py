"""Alignment, uniformity, generalized contrastive: golden values, slow references, limits."""

import functools
import itertools
import math

import chex
import jax
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.hypersphere import alignment, generalized_contrastive, uniformity
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.spec_goldens import VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)

aligned = jax.jit(alignment, static_argnames='exponent')
uniform = jax.jit(uniformity, static_argnames=('sharpness', 'block_size'))
generalized = jax.jit(generalized_contrastive, static_argnames=('group_size', 'block_size'))


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_values(self, dtype, block_size):
    spread = functools.partial(goldens.evaluate, uniform, dtype, block_size=block_size)
    near, _ = goldens.evaluate(aligned, dtype, VIEW1, VIEW2)
    far1, far2 = spread(VIEW1)[0], spread(VIEW2)[0]
    goldens.assert_golden(near, goldens.ALIGNMENT)
    goldens.assert_golden(far1, goldens.UNIFORMITY1)
    goldens.assert_golden(far2, goldens.UNIFORMITY2)
    goldens.assert_golden(near + (far1 + far2) / 2, goldens.ALIGNMENT_AND_UNIFORMITY)
    loss, _ = goldens.evaluate(generalized, dtype, VIEW1, VIEW2, block_size=block_size)
    goldens.assert_golden(loss, goldens.GENERALIZED)

  @goldens.every_way
  def test_in_the_plane(self, dtype, block_size):
    spread = functools.partial(goldens.evaluate, uniform, dtype, block_size=block_size)
    near, _ = goldens.evaluate(aligned, dtype, goldens.FLAT1, goldens.FLAT2)
    goldens.assert_digits(near, goldens.FLAT_ALIGNMENT)
    far1, far2 = spread(goldens.FLAT1)[0], spread(goldens.FLAT2)[0]
    goldens.assert_digits(far1, goldens.FLAT_UNIFORMITY1)
    goldens.assert_digits(far2, goldens.FLAT_UNIFORMITY2)
    goldens.assert_digits((far1 + far2) / 2, goldens.FLAT_UNIFORMITY)


class DefinitionTest(chex.TestCase):
  @few_examples
  @given(seeds, st.sampled_from((1.0, 2.0, 3.0)))
  def test_alignment(self, seed, exponent):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found = aligned(*views, exponent=exponent)
    rows = list(zip(*slow.unit(views), strict=True))
    expected = np.mean([np.linalg.norm(a - b) ** exponent for a, b in rows])
    slow.assert_same(found, (expected, {'positive_similarity': np.mean([a @ b for a, b in rows])}))

  @few_examples
  @given(seeds, st.sampled_from((0.5, 2.0, 50.0)))
  def test_uniformity(self, seed, sharpness):
    view = slow.random_views(seed)[0]
    with jax.enable_x64(True):
      found = uniform(view, sharpness=sharpness)
    pairs = list(itertools.combinations(slow.unit(view), 2))
    exps = [math.exp(-sharpness * np.sum((a - b) ** 2)) for a, b in pairs]
    metrics = {'negative_similarity': np.mean([a @ b for a, b in pairs])}
    slow.assert_same(found, (math.log(np.mean(exps)), metrics))

  @few_examples
  @given(seeds, st.floats(0.05, 4), st.floats(0, 5))
  def test_generalized(self, seed, temperature, repel):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found = generalized(*views, temperature=temperature, repel_weight=repel)
    with_itself = lambda a, t: slow.exp_sum(a, t) + math.exp(1 / t)
    anchors = slow.pair_anchors(*views)
    dim = views.shape[-1]
    options = {'attract': temperature / dim, 'repel': repel, 'negatives': with_itself}
    _, metrics = slow.contrast(anchors, temperature, **options)
    by_element = np.mean((slow.unit(views[0]) - slow.unit(views[1])) ** 2) / 2
    loss = by_element + metrics['repel'] - repel * math.log(dim)
    slow.assert_same(found, (loss, metrics))


class LimitTest(chex.TestCase):
  def test_alignment_is_a_cosine(self):
    views = slow.random_views(0)
    with jax.enable_x64(True):
      loss, metrics = jax.device_get(aligned(*views))
    np.testing.assert_allclose(loss, 2 - 2 * metrics['positive_similarity'], rtol=1e-13)

  @parameterized.parameters(0.5, 1.0, 2.0)
  def test_gradient_of_alignment_where_views_agree(self, exponent):
    view = np.float32(slow.random_views(0)[0])
    loss = lambda a, b: alignment(a, b, exponent=exponent)[0]
    gradients = jax.jit(jax.grad(loss, (0, 1)))(view, view)
    np.testing.assert_allclose(gradients, 0, atol=1e-7 if exponent == 2 else 0)

  @parameterized.parameters(None, 2)
  def test_uniformity_of_a_collapsed_batch_is_0(self, block_size):
    """The largest it can be, at any sharpness."""
    view = np.ones((3, 4), np.float32)
    for sharpness in (2.0, 1e4):
      loss, _ = uniform(view, sharpness=sharpness, block_size=block_size)
      np.testing.assert_allclose(loss, 0, atol=1e-6 * sharpness)

  def test_uniformity_far_beyond_the_range_of_float32(self):
    """exp(-2 sharpness) = 0 there: only a sum of logarithms can be told."""
    loss, _ = uniform(np.eye(3, dtype=np.float32), sharpness=1e3)
    np.testing.assert_allclose(loss, -2e3, rtol=1e-6)

  def test_uniformity_sees_the_nearest_pair(self):
    """At a high sharpness: log(1/pairs) - sharpness * its squared distance."""
    view = slow.random_views(0)[0]
    with jax.enable_x64(True):
      loss, _ = uniform(view, sharpness=1e4)
    nearest = min(np.sum((a - b) ** 2) for a, b in itertools.combinations(slow.unit(view), 2))
    np.testing.assert_allclose(loss, -math.log(10) - 1e4 * nearest, rtol=1e-12)

  @parameterized.parameters(None, 2)
  def test_groups_are_slices(self, block_size):
    views = slow.random_views(0, batch=6)
    with jax.enable_x64(True):
      found = generalized(*views, group_size=3, block_size=block_size)
      slices = [generalized(*views[:, at : at + 3, :]) for at in (0, 3)]
    mean = jax.tree.map(lambda *x: np.mean(x), *slices)
    chex.assert_trees_all_close(found, mean, rtol=1e-13)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('exponent', lambda: alignment(VIEW1, VIEW2, exponent=0), 'exponent: found 0, must be > 0'),
    ('sharpness', lambda: uniformity(VIEW1, sharpness=-1), 'sharpness: found -1, must be > 0'),
    ('one', lambda: uniformity(VIEW1[:1]), 'view: found 1 image, must be at least 2'),
    (
      'repel',
      lambda: generalized_contrastive(VIEW1, VIEW2, repel_weight=-1),
      'repel_weight: found -1, must be >= 0',
    ),
  )
  def test_options(self, call, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      call()
