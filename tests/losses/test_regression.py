"""The BYOL term, the normalisation under it, and the examples in the docstrings."""

import doctest
import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import cosine_regression, l2_normalize


class CosineRegressionTest(chex.TestCase):
  def test_is_the_squared_distance_of_unit_vectors(self):
    prediction, target = np.random.default_rng(0).normal(size=(2, 6, 5))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (prediction, target)]
    with jax.enable_x64(True):
      loss, metrics = cosine_regression(prediction, target)
    np.testing.assert_allclose(loss, np.mean(np.sum((unit[0] - unit[1]) ** 2, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(loss, 2 - 2 * float(metrics['positive_similarity']), rtol=1e-12)

  def test_extremes(self):
    np.testing.assert_allclose(cosine_regression(jnp.eye(3), 5 * jnp.eye(3))[0], 0, atol=1e-6)
    np.testing.assert_allclose(cosine_regression(jnp.eye(3), -jnp.eye(3))[0], 4, rtol=1e-6)

  def test_gradient_is_tangential_and_none_reaches_the_target(self):
    prediction, target = np.float32(np.random.default_rng(0).normal(size=(2, 6, 5)))
    grads = jax.grad(lambda p, z: cosine_regression(p, z)[0], (0, 1))(prediction, target)
    np.testing.assert_allclose(np.sum(grads[0] * prediction, axis=1), 0, atol=1e-6)
    assert np.abs(grads[0]).max() > 1e-2
    chex.assert_trees_all_equal(grads[1], jnp.zeros_like(target))

  def test_shapes_differ(self):
    with self.assertRaisesRegex(ValueError, r'target: found shape \(4, 2\), must be \(3, 2\)'):
      cosine_regression(jnp.ones((3, 2)), jnp.ones((4, 2)))


class NormalizeTest(chex.TestCase):
  @parameterized.parameters(
    (jnp.float16, jnp.float32), (jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32)
  )
  def test_dtype(self, given, expected):
    assert l2_normalize(jnp.ones((2, 3), given)).dtype == expected

  def test_large_halves_do_not_overflow(self):
    rows = l2_normalize(jnp.full((1, 4), 6e4, jnp.float16))
    np.testing.assert_allclose(rows, 0.5, rtol=1e-6)

  def test_zero_row_stays_zero_with_a_finite_gradient(self):
    rows = jnp.zeros((2, 3)).at[1].set(1e-20)
    value, pullback = jax.vjp(l2_normalize, rows)
    chex.assert_trees_all_equal(value[0], jnp.zeros(3))
    chex.assert_tree_all_finite((value, pullback(jnp.ones((2, 3)))))


class ExamplesTest(chex.TestCase):
  @parameterized.parameters('info_nce', 'regression', 'triplet')
  def test_docstrings(self, name):
    outcome = doctest.testmod(importlib.import_module(f'ssl_jax.losses.{name}'))
    assert outcome.attempted > 0 and outcome.failed == 0
