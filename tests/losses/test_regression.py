"""The regressions of BYOL and SimSiam, and the normalization under them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import cosine_regression, l2_normalize
from ssl_jax.losses.regression import negative_cosine

# Predictions and targets of the two views, the cosines of each to the other view's target, and the
# gradient of BYOL's two directions with respect to the first prediction.
P1 = np.array([[0.5, -1.0, 2.0, 0.25], [1.5, 0.5, -0.5, 1.0], [-0.75, 0.25, 0.5, -1.25]])
P2 = np.array([[0.25, -0.5, 1.5, 0.75], [1.0, -0.25, 0.5, 1.25], [-1.0, 0.5, -0.25, -0.5]])
Q1 = np.array([[1.0, -0.5, 1.0, 0.0], [0.75, 1.25, -1.0, 0.5], [-0.5, 0.0, 1.0, -1.5]])
Q2 = np.array([[0.0, -1.0, 1.25, 0.5], [1.25, 0.0, -0.25, 0.75], [-1.25, 0.75, 0.25, -1.0]])
COSINES = (
  (0.937804416807, 0.960158717038, 0.896897058662),
  (0.754247233266, 0.180578779629, 0.427617987060),
)
BYOL, SIMSIAM = 1.228463871692, -0.692884032077
BYOL_GRADIENT = np.array(
  [
    [0.058842630074, 0.054784517655, 0.019783298042, -0.056813573865],
    [-0.034914862438, 0.085347441515, -0.027156004118, -0.003879429160],
    [0.114986802393, -0.118053117123, 0.062859451975, -0.067458924070],
  ]
)


def byol(p1, p2, q1, q2):
  return cosine_regression(p1, q2)[0] + cosine_regression(p2, q1)[0]


def simsiam(p1, p2, q1, q2):
  return (negative_cosine(p1, q2)[0] + negative_cosine(p2, q1)[0]) / 2


class GoldenTest(chex.TestCase):
  @parameterized.named_parameters(
    ('byol', byol, BYOL, BYOL_GRADIENT), ('simsiam', simsiam, SIMSIAM, BYOL_GRADIENT / 4)
  )
  def test_value_and_gradient_of_both_directions(self, loss, expected, expected_gradient):
    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 2, 3)))
    with jax.enable_x64(True):
      value, (by_prediction, *by_targets) = value_and_grad(P1, P2, Q1, Q2)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(by_prediction, expected_gradient, rtol=0, atol=1e-11)
    chex.assert_trees_all_equal(by_targets, [jnp.zeros_like(Q1)] * 2)
    single, (gradient, *_) = value_and_grad(*map(np.float32, (P1, P2, Q1, Q2)))
    np.testing.assert_allclose(single, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-6, atol=2e-7)

  @parameterized.parameters((P1, Q2, COSINES[0]), (P2, Q1, COSINES[1]))
  def test_one_direction(self, prediction, target, cosines):
    with jax.enable_x64(True):
      regression, metrics = cosine_regression(prediction, target)
      negative, _ = negative_cosine(prediction, target)
    np.testing.assert_allclose(metrics['positive_similarity'], np.mean(cosines), atol=1e-11)
    np.testing.assert_allclose(regression, 2 - 2 * np.mean(cosines), rtol=0, atol=1e-11)
    np.testing.assert_allclose(negative, -np.mean(cosines), rtol=0, atol=1e-11)


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
    np.testing.assert_allclose(negative_cosine(jnp.eye(3), 5 * jnp.eye(3))[0], -1, rtol=1e-6)
    np.testing.assert_allclose(negative_cosine(jnp.eye(3), -jnp.eye(3))[0], 1, rtol=1e-6)

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
