"""Barlow Twins and VICReg against their definitions, limits known by hand, and precision."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.redundancy import barlow_twins, vicreg

LOSSES = (('barlow_twins', barlow_twins), ('vicreg', vicreg))
# Four images whose dimensions are uncorrelated, of mean 0 and biased variance 1.
UNCORRELATED = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def views(seed: int = 0, batch: int = 7, dim: int = 5) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(2, batch, dim)) * np.linspace(0.3, 1.6, dim)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
  return matrix[~np.eye(len(matrix), dtype=bool)]


def slow_barlow(view1, view2, weight=0.005, scale=1.0):
  """The definition with NumPy's own means and variances."""
  normalized = [(v - v.mean(0)) / np.sqrt(v.var(0) + 1e-5) for v in (view1, view2)]
  correlations = sum(np.outer(a, b) for a, b in zip(*normalized, strict=True)) / len(view1)
  diagonal, others = np.diag(correlations), off_diagonal(correlations)
  metrics = {
    'invariance': np.sum((diagonal - 1) ** 2),
    'redundancy': np.sum(others**2),
    'diagonal_correlation': np.mean(diagonal),
    'off_diagonal_correlation': np.sqrt(np.mean(others**2)),
  }
  return scale * (metrics['invariance'] + weight * metrics['redundancy']), metrics


def slow_vicreg(view1, view2, weights=(25, 25, 1), target=1.0, epsilon=1e-4):
  """The definition with NumPy's own unbiased variances and covariances."""
  stds = [np.sqrt(v.var(0, ddof=1) + epsilon) for v in (view1, view2)]
  metrics = {
    'invariance': np.mean((view1 - view2) ** 2),
    'variance': np.mean(np.maximum(0, target - np.array(stds))),
    'covariance': sum(np.sum(off_diagonal(np.cov(v.T)) ** 2) for v in (view1, view2))
    / view1.shape[1],
    'mean_std': np.mean(stds),
  }
  return sum(w * part for w, part in zip(weights, metrics.values(), strict=False)), metrics


class DefinitionTest(chex.TestCase):
  @parameterized.named_parameters(
    ('barlow_default', barlow_twins, {}, slow_barlow, {}),
    (
      'barlow',
      barlow_twins,
      {'redundancy_weight': 0.2, 'scale': 0.1},
      slow_barlow,
      {'weight': 0.2, 'scale': 0.1},
    ),
    ('vicreg_default', vicreg, {}, slow_vicreg, {}),
    (
      'vicreg',
      vicreg,
      {
        'invariance_weight': 2,
        'variance_weight': 3,
        'covariance_weight': 0.7,
        'target_std': 0.8,
        'epsilon': 0.1,
      },
      slow_vicreg,
      {'weights': (2, 3, 0.7), 'target': 0.8, 'epsilon': 0.1},
    ),
  )
  def test_value_and_metrics(self, loss, options, reference, reference_options):
    view1, view2 = views()
    expected = reference(view1, view2, **reference_options)
    compiled = jax.jit(lambda a, b: loss(a, b, **options))
    with jax.enable_x64(True):
      found = compiled(view1, view2)
    chex.assert_trees_all_equal_dtypes(found, jax.tree.map(np.float64, expected))
    chex.assert_trees_all_close(found, expected, rtol=1e-12)
    single = compiled(np.float32(view1), np.float32(view2))
    chex.assert_trees_all_equal_dtypes(single, jax.tree.map(np.float32, expected))
    chex.assert_trees_all_close(single, jax.tree.map(np.float32, expected), rtol=2e-6)

  @parameterized.named_parameters(*LOSSES)
  def test_gradient_is_the_derivative(self, loss):
    with jax.enable_x64(True):
      chex.assert_numerical_grads(
        jax.jit(lambda a, b: loss(a, b)[0]),
        tuple(map(jnp.asarray, views(batch=4, dim=3))),
        order=1,
        rtol=1e-5,
        atol=1e-5,
      )

  @parameterized.named_parameters(*LOSSES)
  def test_random_views(self, loss):
    reference = {barlow_twins: slow_barlow, vicreg: slow_vicreg}[loss]
    compiled = jax.jit(lambda a, b: loss(a, b)[0])

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.permutations(range(7)), st.floats(-50, 50))
    def check(seed, order, shift):
      view1, view2 = views(seed)
      view2 += view1
      with jax.enable_x64(True):
        expected = compiled(view1, view2)
        permuted = compiled(view1[order], view2[order])
        swapped = compiled(view2, view1)
        shifted = compiled(view1 + shift, view2 + shift)
      np.testing.assert_allclose(expected, reference(view1, view2)[0], rtol=1e-11)
      np.testing.assert_allclose([permuted, swapped, shifted], expected, rtol=1e-11)

    check()


class LimitTest(chex.TestCase):
  def test_barlow_twins_of_uncorrelated_dimensions(self):
    # c_ii = ±1 / (1 + 1e-5) and nothing else: the epsilon keeps the loss from 0.
    with jax.enable_x64(True):
      agree, metrics = barlow_twins(UNCORRELATED, UNCORRELATED)
      opposed, _ = barlow_twins(UNCORRELATED, -UNCORRELATED)
      swapped, _ = barlow_twins(UNCORRELATED, UNCORRELATED[:, [1, 0, 2]], redundancy_weight=0.25)
    np.testing.assert_allclose(agree, 3 * (1e-5 / (1 + 1e-5)) ** 2, rtol=1e-6)
    np.testing.assert_allclose(metrics['diagonal_correlation'], 1 / (1 + 1e-5), rtol=1e-12)
    np.testing.assert_allclose(opposed, 3 * (1 + 1 / (1 + 1e-5)) ** 2, rtol=1e-12)
    np.testing.assert_allclose(swapped, 2 + 0.25 * 2, atol=2e-5)

  def test_vicreg_of_uncorrelated_dimensions(self):
    with jax.enable_x64(True):
      aligned, metrics = vicreg(UNCORRELATED, UNCORRELATED)
      apart, _ = vicreg(UNCORRELATED, UNCORRELATED + 0.2)
      # The unbiased standard deviation of four values ±1 is sqrt(4/3).
      wider, _ = vicreg(UNCORRELATED, UNCORRELATED, target_std=2, epsilon=1e-12)
    assert float(aligned) == 0
    np.testing.assert_allclose(metrics['mean_std'], np.sqrt(4 / 3 + 1e-4), rtol=1e-12)
    np.testing.assert_allclose(apart, 25 * 0.2**2, rtol=1e-12)
    np.testing.assert_allclose(wider, 25 * (2 - np.sqrt(4 / 3)), rtol=1e-11)

  def test_vicreg_of_two_equal_dimensions(self):
    # Either covariance matrix is 4/3 everywhere: two off-diagonal squares, over two dimensions.
    view = UNCORRELATED[:, [0, 0]]
    with jax.enable_x64(True):
      _, metrics = vicreg(view, view)
    np.testing.assert_allclose(metrics['covariance'], 2 * (4 / 3) ** 2, rtol=1e-12)

  @parameterized.named_parameters(
    # Batch-normalized constants are 0, and so are their correlations.
    ('barlow_twins', barlow_twins, 5.0),
    # Every standard deviation is sqrt(1e-4).
    ('vicreg', vicreg, 25 * 0.99),
  )
  def test_collapse(self, loss, expected):
    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    view = jnp.full((4, 5), 0.1)
    (value, metrics), grads = value_and_grad(view, view)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    chex.assert_tree_all_finite((metrics, grads))

  @parameterized.named_parameters(*LOSSES)
  def test_constant_dimension_among_others(self, loss):
    view1, view2 = np.float32(views())
    view1[:, 2] = 3
    grads = jax.jit(jax.grad(lambda a, b: loss(a, b)[0], (0, 1)))(view1, view2)
    chex.assert_tree_all_finite(grads)
    assert all(np.abs(grad[:, 0]).max() > 1e-4 for grad in grads)

  @parameterized.named_parameters(*LOSSES)
  def test_overflow_is_not_finite(self, loss):
    view1, view2 = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    view1[2, 1] = 3e19  # its square is beyond float32
    self.assertFalse(np.isfinite(loss(view1, view2)[0]))

  @parameterized.named_parameters(*LOSSES)
  def test_one_dimension_has_nothing_to_decorrelate(self, loss):
    view1, view2 = np.float32(views(dim=1))
    (value, metrics), grad = jax.value_and_grad(loss, has_aux=True)(view1, view2)
    chex.assert_tree_all_finite((value, metrics, grad))
    assert float(metrics.get('redundancy', metrics.get('covariance'))) == 0


class PrecisionTest(chex.TestCase):
  @parameterized.named_parameters(*LOSSES)
  def test_a_large_mean_costs_few_digits(self, loss):
    # Differences of raw moments would lose all of them: 1000² has an ulp of 0.06 in float32.
    view1, view2 = np.float32(views() + 1000)
    compiled = jax.jit(lambda a, b: loss(a, b)[0])
    with jax.enable_x64(True):
      expected = compiled(np.float64(view1), np.float64(view2))
    np.testing.assert_allclose(compiled(view1, view2), expected, rtol=1e-4)

  @parameterized.product(loss=(barlow_twins, vicreg), dtype=(jnp.float16, jnp.bfloat16))
  def test_half_precision_is_rounded_once_at_the_entrance(self, loss, dtype):
    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    halves = [jnp.asarray(v, dtype) for v in views()]
    (value, metrics), grads = value_and_grad(*halves)
    (expected, expected_metrics), full = value_and_grad(*(x.astype(jnp.float32) for x in halves))
    assert value.dtype == jnp.float32 and all(grad.dtype == dtype for grad in grads)
    chex.assert_trees_all_close((value, metrics), (expected, expected_metrics), rtol=1e-6)
    chex.assert_trees_all_close(
      [grad.astype(jnp.float32) for grad in grads], list(full), rtol=float(jnp.finfo(dtype).eps)
    )

  @parameterized.named_parameters(*LOSSES)
  def test_memory_holds_no_matrix_of_the_batch(self, loss):
    batch, dim = 8192, 4
    view = jax.ShapeDtypeStruct((batch, dim), jnp.float32)
    grad = jax.jit(jax.grad(lambda a, b: loss(a, b)[0], (0, 1)))
    memory = grad.lower(view, view).compile().memory_analysis()
    assert 0 < memory.temp_size_in_bytes < 20 * batch * dim * 4, memory
