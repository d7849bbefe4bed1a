"""How ICCL assigns targets to features."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses.iccl.assignments import (
  centered_assignments,
  sinkhorn_assignments,
  softmax_assignments,
  update_center,
)
from tests.losses.golden_tolerance import assert_golden
from tests.losses.iccl.inputs import Q1, Q2
from tests.losses.precision import by_precision

SINKHORN = [
  [0.829982368843, 0.000000002040, 0.164418899024, 0.005598730092],
  [0.001816033208, 0.500747434958, 0.000000000002, 0.497436531832],
  [0.000000548091, 0.000137009057, 0.999862390893, 0.000000051959],
]
both_dtypes = by_precision(dtype=(np.float64, np.float32))


def near(found, expected, atol=1e-9):
  np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def of_dtype(dtype, *arrays):
  return [jnp.asarray(x, dtype) for x in arrays]


class AssignmentTest(chex.TestCase):
  @both_dtypes
  def test_sinkhorn(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      assert_golden(sinkhorn_assignments(*of_dtype(dtype, Q1)), SINKHORN, dtype)

  def test_sinkhorn_balances_features_and_survives_a_small_epsilon(self):
    rows = np.random.default_rng(0).normal(size=(12, 4))
    with jax.enable_x64(True):
      balanced = np.asarray(sinkhorn_assignments(rows, epsilon=0.2, iterations=60))
    near(balanced.sum(axis=0), 3)
    near(balanced.sum(axis=1), 1)
    sharp = sinkhorn_assignments(np.float32(rows), epsilon=1e-3)
    np.testing.assert_allclose(sharp.sum(axis=1), 1, rtol=1e-6)

  @both_dtypes
  def test_softmax(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      first = softmax_assignments(*of_dtype(dtype, Q1))[0]
    expected = [4.999815717873e-01, 3.124259601447e-07, 4.999815717873e-01, 3.654399935890e-05]
    assert_golden(first, expected, dtype)
    np.testing.assert_allclose(first, expected, rtol=2e-6)

  @both_dtypes
  def test_norms_of_soft_assignments(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      assigned = [softmax_assignments(q, temperature=1.0) for q in of_dtype(dtype, Q1, Q2)]
    norms = np.linalg.norm(assigned, axis=-1)
    assert_golden(norms[0], [0.537552698331, 0.533780499443, 0.552942272344], dtype)
    assert_golden(norms[1], [0.549281663050, 0.539158894370, 0.548784528351], dtype)

  @both_dtypes
  def test_first_center(self, dtype):
    with jax.enable_x64(dtype is np.float64):
      center = update_center(np.zeros(4, dtype), of_dtype(dtype, Q1, Q2))
    assert_golden(center, [0.020833333333, 0.008333333333, 0.0375, -0.0125], dtype)

  def test_center(self):
    with jax.enable_x64(True):
      center = update_center(np.zeros(4), (Q1, Q2))
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
    (lambda: centered_assignments(Q1, None), 'center: found NoneType, must be an array'),
    (lambda: update_center(np.zeros(4), (Q1,), momentum=1.1), 'momentum: found 1.1'),
    (lambda: update_center(np.zeros(4), ()), 'embeddings: found none'),
  )
  def test_errors(self, call, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      call()
