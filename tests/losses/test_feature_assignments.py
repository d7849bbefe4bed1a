"""The parts of ICCL: assignments, cross-entropy, uniformity and the fade."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from iccl_inputs import P1, P2, Q1, Q2

from ssl_jax.losses import cosine_regression
from ssl_jax.losses.fading import fade_weight
from ssl_jax.losses.feature_assignments import (
  centered_assignments,
  sinkhorn_assignments,
  softmax_assignments,
  update_center,
)
from ssl_jax.losses.feature_clustering import feature_cross_entropy, feature_uniformity

SINKHORN = [
  [0.829982368843, 0.000000002040, 0.164418899024, 0.005598730092],
  [0.001816033208, 0.500747434958, 0.000000000002, 0.497436531832],
  [0.000000548091, 0.000137009057, 0.999862390893, 0.000000051959],
]
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


def near(found, expected, atol=1e-9):
  np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def peaked(num_rows: int) -> np.ndarray:
  """Rows of zero mean with one large feature each: the sharpest that a sphere allows."""
  return np.eye(WIDE)[:num_rows] - 1 / WIDE


class AssignmentTest(chex.TestCase):
  @parameterized.parameters((True, 1e-9), (False, 2e-6))
  def test_sinkhorn(self, x64, tolerance):
    with jax.enable_x64(x64):
      near(sinkhorn_assignments(jnp.asarray(Q1, float)), SINKHORN, tolerance)

  def test_sinkhorn_balances_features_and_survives_a_small_epsilon(self):
    rows = np.random.default_rng(0).normal(size=(12, 4))
    with jax.enable_x64(True):
      balanced = np.asarray(sinkhorn_assignments(rows, epsilon=0.2, iterations=60))
    near(balanced.sum(axis=0), 3)
    near(balanced.sum(axis=1), 1)
    sharp = sinkhorn_assignments(np.float32(rows), epsilon=1e-3)
    np.testing.assert_allclose(sharp.sum(axis=1), 1, rtol=1e-6)

  def test_softmax(self):
    with jax.enable_x64(True):
      first = softmax_assignments(Q1)[0]
    expected = [4.999815717873e-01, 3.124259601447e-07, 4.999815717873e-01, 3.654399935890e-05]
    near(first, expected)

  def test_norms_of_soft_assignments(self):
    with jax.enable_x64(True):
      norms = [np.linalg.norm(softmax_assignments(q, temperature=1.0), axis=1) for q in (Q1, Q2)]
    near(norms[0], [0.537552698331, 0.533780499443, 0.552942272344])
    near(norms[1], [0.549281663050, 0.539158894370, 0.548784528351])

  def test_center(self):
    with jax.enable_x64(True):
      center = update_center(np.zeros(4), (Q1, Q2))
      # The golden value is printed to 12 digits.
      near(center, [0.020833333333, 0.008333333333, 0.0375, -0.0125])
      second = update_center(center, (Q1, Q2), momentum=0.75)
      near(second, 0.75 * center + 0.25 * np.concatenate([Q1, Q2]).mean(axis=0))
      logits = (Q1 - center) / 0.05
      expected = np.exp(logits - logits.max(axis=1, keepdims=True))
      near(centered_assignments(Q1, center), expected / expected.sum(axis=1, keepdims=True))

  def test_no_gradient(self):
    kinds = (
      softmax_assignments,
      sinkhorn_assignments,
      lambda q: centered_assignments(q, q[0]),
      lambda q: update_center(q[0], (q,)),
    )
    for assign in kinds:
      grad = jax.grad(lambda q, assign=assign: jnp.sum(assign(q) ** 2))(np.float32(Q1))
      chex.assert_trees_all_equal(grad, jnp.zeros((3, 4)))

  @parameterized.parameters(
    (lambda: softmax_assignments(Q1, temperature=0), 'temperature: found 0'),
    (lambda: sinkhorn_assignments(Q1, epsilon=-1), 'epsilon: found -1'),
    (lambda: sinkhorn_assignments(Q1, iterations=0), 'iterations: found 0'),
    (lambda: centered_assignments(Q1, np.zeros((1, 4))), r'center: found .* \(1, 4\)'),
    (lambda: centered_assignments(Q1, np.zeros(4, int)), r'center: found int'),
    (lambda: update_center(np.zeros(4), (Q1,), momentum=1.1), 'momentum: found 1.1'),
    (lambda: update_center(np.zeros(4), ()), 'embeddings: found none'),
    (lambda: feature_uniformity(()), 'predictions: found none'),
    (lambda: feature_uniformity(P1), r'predictions\[0\]: found shape \(4,\)'),
    (lambda: feature_uniformity((P1,), gradient_scale=-1), 'gradient_scale: found -1'),
    (lambda: feature_cross_entropy(P1, Q1[:2]), r'target: found shape \(2, 4\)'),
  )
  def test_errors(self, call, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      call()


class CrossEntropyTest(chex.TestCase):
  @parameterized.parameters((True, 1e-9), (False, 2e-6))
  def test_golden_gradient(self, x64, tolerance):
    with jax.enable_x64(x64):
      p1, q2 = jnp.asarray(P1, float), jnp.asarray(Q2, float)
      by_p1, by_q2 = jax.grad(lambda p, q: feature_cross_entropy(p, q)[0], (0, 1))(p1, q2)
    near(
      np.asarray(by_p1) / 2, CROSS_ENTROPY_GRADIENT, tolerance
    )  # of the mean over two directions
    chex.assert_trees_all_equal(by_q2, jnp.zeros_like(by_q2))

  def test_is_an_inner_product_and_a_partition(self):
    with jax.enable_x64(True):
      directions = feature_cross_entropy(P1, Q2), feature_cross_entropy(P2, Q1)
      halves, _ = feature_cross_entropy(P1, Q2, partition=False)
    (first, metrics1), (second, metrics2) = jax.device_get(directions)
    near((metrics1['attract'] + metrics2['attract']) / 2, -3.278479419366)
    near((metrics1['log_partition'] + metrics2['log_partition']) / 2, 6.663536968081)
    near(metrics1['attract'] + metrics1['log_partition'], first, 1e-12)
    near((first + second) / 2, 3.385057548714)
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


class GeometryTest(chex.TestCase):
  """Exact values with 512 features, at the temperatures 0.1 and 0.07."""

  def test_sharpest_assignments_on_the_sphere(self):
    with jax.enable_x64(True):
      for temperature, expected in ((0.1, 0.9775423513), (0.07, 0.9996852182)):
        near(softmax_assignments(peaked(1), temperature=temperature).max(), expected, 1e-10)
      loss, metrics = feature_cross_entropy(peaked(4), peaked(4))
    near(loss, 0.0258645583, 1e-10)
    near(metrics['assignment_norm'], 0.9996852183, 1e-10)

  @parameterized.parameters(
    ('all_features_equal', np.ones((4, WIDE)), 6.2383246250, 0, 0.0442),
    ('one_feature', np.eye(WIDE)[[7, 7]], 0.026126, 3.765, 0.999681),
    ('half_of_the_features', np.eye(WIDE)[: WIDE // 2], 0.026126, 1.551, 0.999681),
    ('all_features', np.eye(WIDE), 0.026126, 0, 0.999681),
  )
  def test_situations(self, _, rows, cross_entropy, uniformity, norm):
    with jax.enable_x64(True):
      loss, metrics = feature_cross_entropy(rows, rows)
      unevenness, _ = feature_uniformity((rows, rows))
    near(loss, cross_entropy, 5e-7)
    near(unevenness, uniformity, 5e-4)
    near(metrics['assignment_norm'], norm, 5e-5 if norm < 0.1 else 5e-7)
    near(metrics['positive_similarity'], 1, 1e-12)


class UniformityTest(chex.TestCase):
  @parameterized.parameters(
    (np.full((4, 4), 0.25), 0),
    (0.01 + 0.96 * np.eye(4), 0),
    (np.tile([0.97, 0.01, 0.01, 0.01], (4, 1)), 2.075198080242),
    ([[0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01]], 1.272965675813),
  )
  def test_given_assignments(self, assignments, expected):
    # All rows are permutations of one: unit vectors whose softmax at one temperature they are.
    logits = np.log(assignments) - np.log(assignments).mean(axis=1, keepdims=True)
    temperature = 1 / max(np.linalg.norm(logits[0]), 1e-3)
    with jax.enable_x64(True):
      loss, _ = feature_uniformity((logits,), prediction_temperature=temperature)
    near(loss, expected)

  @parameterized.parameters((1.0, True), (1 / 8, True), (1.0, False))
  def test_golden_gradient(self, scale, x64):
    with jax.enable_x64(x64):
      p1, p2 = jnp.asarray(P1, float), jnp.asarray(P2, float)
      loss, grad = jax.value_and_grad(
        lambda p: feature_uniformity((p, p2), gradient_scale=scale)[0]
      )(p1)
    near(loss, 0.108760779254, 1e-9 if x64 else 2e-7)
    near(grad, scale * np.array(UNIFORMITY_GRADIENT), 1e-9 if x64 else 2e-7)

  def test_unused_features_at_a_low_temperature_are_finite(self):
    rows = np.float32(np.eye(WIDE)[[0, 0]])
    loss, grad = jax.value_and_grad(
      lambda p: feature_uniformity((p,), prediction_temperature=0.005)[0]
    )(rows)
    chex.assert_tree_all_finite((loss, grad))
    np.testing.assert_allclose(loss, 200 * (WIDE - 1) / WIDE - np.log(WIDE), rtol=1e-6)


class FadeTest(chex.TestCase):
  @parameterized.parameters((0, 0), (150, 0), (151, 1 / 30), (165, 0.5), (180, 1), (299, 1))
  def test_epochs(self, epoch, expected):
    fade = jax.jit(functools.partial(fade_weight, start=150, end=180))
    np.testing.assert_allclose(fade(epoch), expected, rtol=1e-6)
    np.testing.assert_allclose(fade_weight(epoch, start=150, end=180), expected, rtol=1e-6)

  def test_no_window_is_a_jump(self):
    self.assertEqual([float(fade_weight(x, start=3, end=3)) for x in (2, 3, 4)], [0, 1, 1])
    self.assertEqual(float(fade_weight(0, start=0, end=0)), 1)

  def test_maximum(self):
    values = [float(fade_weight(x, maximum=0.5)) for x in (0.5, 0.6, 1)]
    np.testing.assert_allclose(values, [0, 0.5, 0.5])
    self.assertEqual(float(fade_weight(1, start=0, end=0, maximum=0.5)), 0.5)

  @parameterized.parameters(
    ({'progress': -1}, 'progress: found -1'),
    ({'progress': 0.5, 'start': 0.7}, 'end: found 0.6, must be >= 0.7'),
    ({'progress': 0.5, 'start': -1}, 'start: found -1'),
    ({'progress': 0.5, 'maximum': 2}, 'maximum: found 2, must be between 0 and 1'),
  )
  def test_errors(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      fade_weight(**options)
