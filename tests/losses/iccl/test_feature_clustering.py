"""The two parts of ICCL's clustering, cross-entropy and uniformity, against golden values."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.losses import cosine_regression
from ssl_jax.losses.iccl.assignments import softmax_assignments
from ssl_jax.losses.iccl.feature_clustering import feature_cross_entropy, feature_uniformity
from tests.losses.golden_tolerance import assert_golden
from tests.losses.iccl.inputs import P1, P2, Q1, Q2
from tests.losses.precision import by_precision

CROSS_ENTROPY_GRADIENT = [
  [0.001069415109, -0.000018678230, -0.000171185275, -0.000844060941],
  [-0.045425637562, 0.008717552405, -0.004145172431, 0.061707093925],
  [0.067041734193, -0.891502002464, 0.824449101522, 0.111254199601],
]
UNIFORMITY_GRADIENT = [
  [-0.001072678594, 0.000385757667, 0.000525521163, -0.000515781450],
  [0.014764941170, -0.000778496852, 0.001212501235, -0.021151912711],
  [0.008488068590, -0.114795666796, 0.106319962206, 0.014476010370],
]
WIDE = 512
both_dtypes = by_precision(dtype=(np.float64, np.float32))


def near(found, expected, atol=1e-9):
  np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def of_dtype(dtype, *arrays):
  return [jnp.asarray(x, dtype) for x in arrays]


def peaked(num_rows: int) -> np.ndarray:
  """Rows of zero mean with one large feature each: the sharpest that a sphere allows."""
  return np.eye(WIDE)[:num_rows] - 1 / WIDE


class CrossEntropyTest(chex.TestCase):
  @both_dtypes
  def test_golden_gradient(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      gradient = jax.grad(lambda p, q: feature_cross_entropy(p, q)[0], (0, 1))
      by_p1, by_q2 = gradient(*of_dtype(dtype, P1, Q2))
    # Of the mean over two directions.
    assert_golden(np.asarray(by_p1) / 2, CROSS_ENTROPY_GRADIENT, dtype)
    chex.assert_trees_all_equal(by_q2, jnp.zeros_like(by_q2))

  @both_dtypes
  def test_is_an_inner_product_and_a_partition(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      p1, p2, q1, q2 = of_dtype(dtype, P1, P2, Q1, Q2)
      directions = feature_cross_entropy(p1, q2), feature_cross_entropy(p2, q1)
      halves, _ = feature_cross_entropy(p1, q2, partition=False)
    (first, metrics1), (second, metrics2) = jax.device_get(directions)
    assert_golden((metrics1['attract'] + metrics2['attract']) / 2, -3.278479419366, dtype)
    partition = (metrics1['log_partition'] + metrics2['log_partition']) / 2
    assert_golden(partition, 6.663536968081, dtype)
    assert_golden(metrics1['attract'] + metrics1['log_partition'], first, dtype, 1e-12)
    assert_golden((first + second) / 2, 3.385057548714, dtype)
    near(halves, metrics1['attract'], 0)

  def test_a_free_temperature_makes_the_first_term_a_cosine(self):
    with jax.enable_x64(True):
      loss, _ = feature_cross_entropy(P1, Q2, adaptive_temperature='free', partition=False)
      assigned = np.asarray(softmax_assignments(Q2))
    norms = np.linalg.norm(assigned, axis=1) * np.linalg.norm(P1, axis=1)
    near(loss, -np.mean(np.sum(assigned * P1, axis=1) / norms), 1e-12)

  def test_high_temperatures_give_the_similarity_loss(self):
    random = np.random.default_rng(0)
    target = random.normal(size=(50, WIDE))
    prediction = target + random.normal(size=(50, WIDE))
    target, prediction = (x - x.mean(axis=1, keepdims=True) for x in (target, prediction))
    _, by_distance = _hot(cosine_regression, prediction, target)
    alignments = []
    for temperature in (0.05, 0.5, 10.0):
      hot = functools.partial(
        feature_cross_entropy, prediction_temperature=temperature, target_temperature=temperature
      )
      (loss, metrics), grad = _hot(hot, prediction, target)
      cosine = float(metrics['positive_similarity'])
      slope = 1 / (WIDE * temperature**2)
      remainder = float(loss) - np.log(WIDE) + slope * cosine - slope / 2
      if temperature > 0.1:
        self.assertLess(abs(remainder), temperature**-3 / WIDE)
      alignments.append(np.mean(np.sum(_unit(grad) * _unit(by_distance), axis=1)))
    # Gradients of the two losses: apart at the usual temperatures, one direction at high ones.
    self.assertBetween(alignments[0], 0.5, 0.9)
    self.assertBetween(alignments[1], 0.99, 0.999)
    self.assertGreater(alignments[2], 0.9999)


def _unit(rows):
  rows = np.asarray(rows)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _hot(loss, prediction, target):
  with jax.enable_x64(True):
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(prediction, target)


@pytest.mark.slow
class GeometryTest(chex.TestCase):
  """Exact values with 512 features, at the temperatures 0.1 and 0.07."""

  @both_dtypes
  def test_sharpest_assignments_on_the_sphere(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      (rows,) = of_dtype(dtype, peaked(4))
      for temperature, expected in ((0.1, 0.9775423513), (0.07, 0.9996852182)):
        found = softmax_assignments(rows, temperature=temperature).max()
        assert_golden(found, expected, dtype, 1e-10)
      loss, metrics = feature_cross_entropy(rows, rows)
    # In float32 to 2e-6, not to that share of it: the 511 small terms of the sum in each softmax
    # are added to one near 1, and each addition rounds by up to 6e-8.
    atol = 1e-10 if dtype is np.float64 else 2e-6
    np.testing.assert_allclose(loss, 0.0258645583, rtol=0, atol=atol)
    assert_golden(metrics['assignment_norm'], 0.9996852183, dtype, 1e-10)

  @parameterized.parameters(
    ('all_features_equal', np.ones((4, WIDE)), 6.2383246250, 0, 0.0442),
    ('one_feature', np.eye(WIDE)[[7, 7]], 0.026126, 3.765, 0.999681),
    ('half_of_the_features', np.eye(WIDE)[: WIDE // 2], 0.026126, 1.551, 0.999681),
    ('all_features', np.eye(WIDE), 0.026126, 0, 0.999681),
  )
  def test_situations(self, _, rows, cross_entropy, uniformity, norm):
    with jax.enable_x64(True):
      loss, metrics = feature_cross_entropy(rows, rows)
      kl_to_uniform, _ = feature_uniformity((rows, rows))
    near(loss, cross_entropy, 5e-7)
    near(kl_to_uniform, uniformity, 5e-4)
    near(metrics['assignment_norm'], norm, 5e-5 if norm < 0.1 else 5e-7)
    near(metrics['positive_similarity'], 1, 1e-12)


class UniformityTest(chex.TestCase):
  @parameterized.product(
    case=(
      (np.full((4, 4), 0.25), 0),
      (0.01 + 0.96 * np.eye(4), 0),
      (np.tile([0.97, 0.01, 0.01, 0.01], (4, 1)), 2.075198080242),
      (np.array([[0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01]]), 1.272965675813),
    ),
    dtype=(np.float64, np.float32),
  )
  def test_given_assignments(self, case, dtype):
    assignments, expected = case
    # All rows are permutations of one: unit vectors whose softmax at one temperature they are.
    logits = np.log(assignments) - np.log(assignments).mean(axis=1, keepdims=True)
    temperature = 1 / max(np.linalg.norm(logits[0]), 1e-3)
    with jax.enable_x64(dtype is np.float64):
      rows = of_dtype(dtype, logits)
      loss, _ = feature_uniformity(rows, prediction_temperature=temperature)
    assert_golden(loss, expected, dtype)

  @by_precision(scale=(1.0, 1 / 8), dtype=(np.float64, np.float32))
  def test_golden_gradient(self, scale, dtype):
    with jax.enable_x64(dtype is np.float64):
      p1, p2 = of_dtype(dtype, P1, P2)
      loss, grad = jax.value_and_grad(
        lambda p: feature_uniformity((p, p2), gradient_scale=scale)[0]
      )(p1)
    assert_golden(loss, 0.108760779254, dtype)
    assert_golden(grad, scale * np.array(UNIFORMITY_GRADIENT), dtype)

  def test_unused_features_at_a_low_temperature_are_finite(self):
    rows = np.float32(np.eye(WIDE)[[0, 0]])
    loss, grad = jax.value_and_grad(
      lambda p: feature_uniformity((p,), prediction_temperature=0.005)[0]
    )(rows)
    chex.assert_tree_all_finite((loss, grad))
    np.testing.assert_allclose(loss, 200 * (WIDE - 1) / WIDE - np.log(WIDE), rtol=1e-6)


class ErrorTest(chex.TestCase):
  @parameterized.parameters(
    (lambda: feature_uniformity(()), 'predictions: found none'),
    (lambda: feature_uniformity(P1), r'predictions\[0\]: found shape \(4,\)'),
    (lambda: feature_uniformity((P1,), gradient_scale=-1), 'gradient_scale: found -1'),
    (lambda: feature_cross_entropy(P1, Q1[:2]), r'target: found shape \(2, 4\)'),
  )
  def test_message(self, call, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      call()
