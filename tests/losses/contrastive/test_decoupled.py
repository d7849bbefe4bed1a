"""Decoupled contrastive losses, plain and weighted: golden values, definition, limits."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.balanced import balanced_contrastive, decoupled_contrastive
from ssl_jax.losses.normalize import l2_normalize
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.precision import by_precision
from tests.losses.spec_goldens import VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.05, 4)


@functools.partial(jax.jit, static_argnames=('sigma', 'block_size'))
def decoupled(view1, view2, temperature=0.5, *, sigma=None, block_size=None):
  value = lambda view1: decoupled_contrastive(
    view1, view2, temperature=temperature, weight_temperature=sigma, block_size=block_size
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


@jax.jit
def without_positive(view1, view2, temperature):
  value = lambda view1: balanced_contrastive(
    view1, view2, temperature=temperature, positive_in_denominator=0
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_values(self, dtype, block_size):
    evaluate = functools.partial(goldens.evaluate, decoupled, dtype, block_size=block_size)
    for temperature, expected in goldens.DECOUPLED.items():
      (loss, _), _ = evaluate(VIEW1, VIEW2, temperature)
      goldens.assert_golden(loss, expected)
    _, gradient = evaluate(VIEW1, VIEW2, 0.5)
    goldens.assert_golden(gradient, goldens.BALANCED_GRADIENTS[1, 1, 0])
    for view, values in ((np.eye(3), goldens.ORTHONORMAL), (np.ones((3, 3)), goldens.COLLAPSED)):
      (loss, _), _ = evaluate(view, view, 0.5)
      goldens.assert_golden(loss, values[1, 1, 0])
    (loss, _), _ = evaluate(VIEW1, VIEW2, 0.5, sigma=0.5)
    goldens.assert_golden(loss, goldens.DECOUPLED_WEIGHTED)

  @by_precision(dtype=(np.float64, np.float32))
  def test_weights(self, dtype):
    """All that the weights change of a gradient is what each image's positive has of it."""
    evaluate = functools.partial(goldens.evaluate, decoupled, dtype, VIEW1, VIEW2)
    (_, weighted), (_, plain) = evaluate(sigma=0.5), evaluate()
    cosines = jax.jit(jax.grad(lambda a, b: jnp.sum(l2_normalize(a) * l2_normalize(b))))
    slopes = goldens.evaluate(cosines, dtype, VIEW1, VIEW2)
    difference = np.sum((weighted - plain) * slopes, axis=1) / np.sum(slopes**2, axis=1)
    goldens.assert_golden(1 - difference * len(VIEW1) / 2, goldens.DECOUPLED_WEIGHTS)

  @parameterized.parameters(*goldens.POSITIVE_SLOPES)
  def test_slope_of_the_positive_in_float32(self, attract, repel, kappa):
    """Of unit vectors: turned by one angle, of whose cosine the slope is -f'' at 0."""

    def value(angle):
      unit, zero = jnp.eye(3), jnp.zeros((3, 3))
      views = [jnp.concatenate([unit, zero], axis=1)]
      views += [jnp.concatenate([jnp.cos(angle) * unit, jnp.sin(angle) * unit], axis=1)]
      options = {'attract_weight': attract, 'repel_weight': repel, 'positive_in_denominator': kappa}
      return balanced_contrastive(*views, **options)[0]

    found = goldens.evaluate(jax.jit(jax.hessian(value)), np.float32, 0.0)
    goldens.assert_golden(-found, goldens.POSITIVE_SLOPES[attract, repel, kappa])


class PropertyTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures)
  def test_weighted_by_definition(self, seed, temperature):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found, _ = decoupled(*views, temperature, sigma=0.5)
    odds = np.exp(np.sum(slow.unit(views[0]) * slow.unit(views[1]), axis=1) / 0.5)
    weights = np.repeat(2 - 5 * odds / odds.sum(), 2)
    anchors = slow.pair_anchors(*views)
    slow.assert_same(found, slow.contrast(anchors, temperature, attract=weights, positive_weight=0))

  @few_examples
  @given(seeds, temperatures)
  def test_is_balanced_without_the_positive_in_the_denominator(self, seed, temperature):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      expected = without_positive(*views, temperature)
      found = decoupled(*views, temperature)
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)

  def test_equally_similar_views_weigh_1(self):
    """At a high temperature of the weights too."""
    views = slow.random_views(0)
    with jax.enable_x64(True):
      same = decoupled(views[0], 3 * views[0]), decoupled(views[0], 3 * views[0], sigma=0.5)
      hot, plain = decoupled(*views, sigma=1e9), decoupled(*views)
    chex.assert_trees_all_close(*same, rtol=1e-12, atol=1e-13)
    chex.assert_trees_all_close(hot, plain, rtol=1e-7)

  def test_groups_share_the_weights_of_the_batch(self):
    views = slow.random_views(0, batch=6)
    loss = functools.partial(decoupled_contrastive, weight_temperature=0.5, temperature=0.5)
    with jax.enable_x64(True):
      _, of_group = jax.jit(functools.partial(loss, group_size=3))(*views)
      _, whole = jax.jit(loss)(*views)
      repel = [decoupled(*views[:, at : at + 3, :])[0][1]['repel'] for at in (0, 3)]
    np.testing.assert_allclose(of_group['attract'], whole['attract'], rtol=1e-13)
    np.testing.assert_allclose(of_group['repel'], np.mean(repel), rtol=1e-13)
