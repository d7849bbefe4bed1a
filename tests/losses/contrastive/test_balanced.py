"""The balanced contrastive loss: golden values, slow references, equivalences."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.balanced import balanced_contrastive, class_balancing_weights
from ssl_jax.losses.contrastive.info_nce import nt_xent
from ssl_jax.losses.contrastive.terms import pair_terms
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.precision import by_precision
from tests.losses.spec_goldens import VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.05, 4)
factors = st.floats(0, 5)


@functools.partial(jax.jit, static_argnames=('kappa', 'block_size'))
def balanced(
  view1, view2, temperature=0.5, attract=1.0, repel=1.0, weights=None, *, kappa=1, block_size=None
):
  """The loss and metrics, and the gradient of the loss with respect to view 1."""
  value = lambda view1: balanced_contrastive(
    view1,
    view2,
    temperature=temperature,
    attract_weight=attract,
    repel_weight=repel,
    positive_in_denominator=kappa,
    negative_weights=weights,
    block_size=block_size,
  )
  return jax.value_and_grad(value, has_aux=True)(view1)


whole = jax.jit(jax.value_and_grad(nt_xent, has_aux=True))


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_balanced(self, dtype, block_size):
    evaluate = functools.partial(goldens.evaluate, balanced, dtype, block_size=block_size)
    for (attract, repel, kappa), expected in goldens.BALANCED.items():
      with self.subTest(attract=attract, repel=repel, kappa=kappa):
        (loss, _), gradient = evaluate(VIEW1, VIEW2, 0.5, attract, repel, kappa=kappa)
        goldens.assert_golden(loss, expected)
        if (attract, repel, kappa) in goldens.BALANCED_GRADIENTS:
          expected = goldens.BALANCED_GRADIENTS[attract, repel, kappa]
          goldens.assert_golden(gradient, expected)
    for view, values in ((np.eye(3), goldens.ORTHONORMAL), (np.ones((3, 3)), goldens.COLLAPSED)):
      for (attract, repel, kappa), expected in values.items():
        (loss, _), _ = evaluate(view, view, 0.5, attract, repel, kappa=kappa)
        goldens.assert_golden(loss, expected)

  @goldens.every_way
  def test_class_balanced(self, dtype, block_size):
    with jax.enable_x64(dtype is np.float64):
      weights = class_balancing_weights(goldens.LABELS, np.array([2 / 3, 1 / 3], dtype))
      of_counts = class_balancing_weights(goldens.LABELS, np.array([2, 1]))
    chex.assert_trees_all_close(of_counts, weights, rtol=1e-6)
    goldens.assert_golden(np.asarray(weights), goldens.CLASS_BALANCING_WEIGHTS)
    value = lambda a, b, w: balanced_contrastive(a, b, negative_weights=w, block_size=block_size)
    loss, _ = goldens.evaluate(jax.jit(value), dtype, VIEW1, VIEW2, weights)
    goldens.assert_golden(loss, goldens.CLASS_BALANCED)

  @by_precision(dtype=(np.float64, np.float32))
  def test_log_mean_by_offset(self, dtype):
    shifted = jax.jit(lambda a, b: balanced_contrastive(a, b, log_offset=-math.log(5)))
    loss, metrics = goldens.evaluate(shifted, dtype, VIEW1, VIEW2)
    goldens.assert_golden(loss, goldens.NT_XENT_OF_LOG_MEAN)
    goldens.assert_golden(metrics['attract'] + metrics['repel'], goldens.NT_XENT[0.5])


@pytest.mark.slow
class PositiveSlopeTest(chex.TestCase):
  """Views of unit vectors, of which view 1 is turned by one angle into dimensions of its own.

  So the angle's cosine is every positive's similarity, and nothing else depends on it.
  """

  def value(self, angle, attract, repel, kappa, block_size=None):
    unit, zero = jnp.eye(3), jnp.zeros((3, 3))
    view1 = jnp.concatenate([jnp.cos(angle) * unit, jnp.sin(angle) * unit], axis=1)
    options = {'attract_weight': attract, 'repel_weight': repel, 'positive_in_denominator': kappa}
    view2 = jnp.concatenate([unit, zero], axis=1)
    return balanced_contrastive(view1, view2, block_size=block_size, **options)[0]

  def test_softmax_weight_of_the_positive(self):
    (loss, _), _ = goldens.evaluate(balanced, np.float64, np.eye(3), np.eye(3))
    goldens.assert_golden(np.exp(-loss), goldens.POSITIVE_WEIGHT)

  @parameterized.parameters(*goldens.POSITIVE_SLOPES)
  def test_where_views_agree(self, *setting):
    """There the second derivative of f(cos angle) is -f'."""
    value = functools.partial(self.value, attract=setting[0], repel=setting[1], kappa=setting[2])
    hessian = goldens.evaluate(jax.jit(jax.hessian(value)), np.float64, 0.0)
    goldens.assert_golden(-hessian, goldens.POSITIVE_SLOPES[setting])
    attract, repel, kappa = setting
    weight = goldens.POSITIVE_WEIGHT if kappa else 0
    np.testing.assert_allclose(hessian, (attract - repel * weight) / 0.5, rtol=1e-12)

  @parameterized.parameters(None, 4)
  def test_positives_are_pushed_apart_above_the_ratio(self, block_size):
    """At repel 2 the positive's softmax weight comes to rest at 1/2, but for kappa 0."""
    # exp(2 cos) = 4, the sum over negatives.
    rest = math.acos(math.log(4) / 2)
    slope = jax.jit(
      jax.grad(functools.partial(self.value, block_size=block_size)), static_argnums=3
    )
    with jax.enable_x64(True):
      np.testing.assert_allclose(slope(rest, 1.0, 2.0, 1), 0, atol=1e-14)
      assert slope(rest - 0.1, 1.0, 2.0, 1) < 0 < slope(rest + 0.1, 1.0, 2.0, 1)
      for angle in (rest - 0.1, rest, rest + 0.1):
        np.testing.assert_allclose(slope(angle, 1.0, 2.0, 0), 2 * np.sin(angle), rtol=1e-12)


class DefinitionTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures, factors, factors, st.sampled_from((0, 1)))
  def test_balanced(self, seed, temperature, attract, repel, kappa):
    views = slow.random_views(seed)
    weights = np.random.default_rng(seed).uniform(0, 2, 5)
    weights[seed % 5] = 0
    with jax.enable_x64(True):
      found, _ = balanced(*views, temperature, attract, repel, weights, kappa=kappa)
    anchors = slow.pair_anchors(*views, weights=weights)
    options = {'attract': attract, 'repel': repel, 'positive_weight': kappa}
    slow.assert_same(found, slow.contrast(anchors, temperature, **options))

  @parameterized.parameters(None, 2)
  def test_what_weighs_nothing_is_no_negative(self, block_size):
    views, weights = slow.random_views(0), np.zeros(5)
    with jax.enable_x64(True):
      (loss, metrics), _ = balanced(*views, weights=weights, block_size=block_size)
    np.testing.assert_allclose(loss, 0, atol=1e-15)  # the positive is alone
    unseen = {key: metrics[key] for key in ('negative_similarity', 'effective_negatives')}
    chex.assert_trees_all_equal(unseen, dict.fromkeys(unseen, np.zeros(())))
    assert metrics['contrast_accuracy'] == 1


@pytest.mark.slow
class EquivalenceTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures, st.floats(0.1, 5), st.floats(0.1, 5))
  def test_settings(self, seed, temperature, attract, repel):
    """Facts about the weights, in value and gradient."""
    views = slow.random_views(seed)
    of = functools.partial(balanced, *views)
    with jax.enable_x64(True):
      expected = whole(*views, temperature=temperature)
      chex.assert_trees_all_close(of(temperature), expected, rtol=1e-12, atol=1e-13)
      (loss, _), gradient = of(temperature, attract, repel)
      (tripled, _), steeper = of(temperature, 3 * attract, 3 * repel)
      scale = attract + repel
      np.testing.assert_allclose(tripled, 3 * loss, rtol=1e-12, atol=1e-12 * scale)
      np.testing.assert_allclose(steeper, 3 * gradient, rtol=1e-11, atol=1e-12 * scale)

      ones = np.ones(5)
      plain = of(temperature, attract, repel, ones)
    chex.assert_trees_all_close(plain[1], gradient, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(plain[0][0], loss, rtol=1e-12)

  @few_examples
  @given(seeds, temperatures, temperatures)
  def test_attraction_is_a_temperature_of_the_positive(self, seed, temperature, of_positive):
    """Where the positive is not in the denominator too."""
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      (loss, _), _ = balanced(*views, temperature, temperature / of_positive, kappa=0)
    rows = [(anchor.positives[0], anchor) for anchor in slow.pair_anchors(*views)]
    losses = [-s / of_positive + math.log(slow.exp_sum(a, temperature)) for s, a in rows]
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-11, atol=1e-12)

  def test_weight_2_is_the_image_twice(self):
    views = slow.random_views(0)
    twice = np.concatenate([views, views[:, -1:]], axis=1)
    terms = jax.jit(functools.partial(pair_terms, temperature=0.3))
    with jax.enable_x64(True):
      found = terms(*views, metadata={'log_weight': np.log([1.0, 1, 1, 1, 2])}).sums.log_sums
      expected = terms(*twice).sums.log_sums
    np.testing.assert_allclose(found[0, :8], expected[0, :8], rtol=1e-13)

  def test_no_negatives_at_all(self):
    views = slow.random_views(0)
    with jax.enable_x64(True):
      found = balanced(*views, 0.5, 1.0, 1.0, np.zeros(5), kappa=0)
    (loss, metrics), gradient = jax.device_get(found)
    assert metrics['repel'] == 0 and loss == metrics['attract']
    chex.assert_tree_all_finite((metrics, gradient))

  def test_high_temperature_weighs_all_candidates_alike(self):
    views, temperature = slow.random_views(0), 1e6
    (loss, metrics), _ = goldens.evaluate(balanced, np.float64, *views, temperature, 0.7, 2.0)
    candidates = [np.mean(a.positives + a.negatives) for a in slow.pair_anchors(*views)]
    expected = -0.7 * metrics['positive_similarity'] + 2 * np.mean(candidates)
    np.testing.assert_allclose((loss - 2 * math.log(9)) * temperature, expected, atol=1e-5)

  def test_low_temperature_sees_the_hardest_negative(self):
    views, temperature = slow.random_views(0), 1e-4
    (loss, _), _ = goldens.evaluate(balanced, np.float64, *views, temperature)
    margins = [max(a.negatives) - a.positives[0] for a in slow.pair_anchors(*views)]
    np.testing.assert_allclose(loss * temperature, np.maximum(margins, 0).mean(), atol=1e-3)

  @parameterized.parameters(None, 2)
  def test_groups_are_slices(self, block_size):
    views, weights = slow.random_views(0, batch=6), np.arange(1.0, 7)
    grouped = functools.partial(balanced_contrastive, group_size=3, block_size=block_size)
    with jax.enable_x64(True):
      found = jax.jit(grouped)(*views, negative_weights=weights)
      slices = [
        balanced(*views[:, part, :], weights=weights[part])[0] for part in (slice(3), slice(3, 6))
      ]
    mean = jax.tree.map(lambda *x: np.mean(x), *slices)
    chex.assert_trees_all_close(found, mean, rtol=1e-13)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('attract', {'attract_weight': -1}, 'attract_weight: found -1, must be >= 0'),
    ('kappa', {'positive_in_denominator': -1}, 'positive_in_denominator: found -1, must be >= 0'),
    ('rank', {'negative_weights': np.ones(2)}, r'negative_weights: found shape \(2,\), must be'),
    ('sign', {'negative_weights': -np.ones(3)}, 'negative_weights: found -1.0, must be >= 0'),
    ('offset', {'log_offset': math.inf}, 'log_offset: found inf, must be a finite number'),
  )
  def test_balanced(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      balanced_contrastive(VIEW1, VIEW2, **options)

  @parameterized.named_parameters(
    ('shape', [[0, 1]], [0.5, 0.5], 'labels: found shape'),
    ('zero', [0, 1], [1.0, 0.0], 'class_probabilities: found .*, must be > 0'),
  )
  def test_class_balancing_weights(self, labels, probabilities, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      class_balancing_weights(np.array(labels), np.array(probabilities))
