"""NT-Xent against golden values, a slow reference, and its properties."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import nt_xent

VIEW1 = np.array([[1.0, 0, 0], [0, 2, 0], [1, 1, 1]])
VIEW2 = np.array([[2.0, 1, 0], [0, 1, 1], [1, 0, 2]])
PER_ANCHOR = (
  0.8213332102210973,
  1.0481285604863553,
  1.4896301652808182,
  1.0586080171353183,
  1.3367319464791878,
  1.0842715294756473,
)
GRADIENT = (
  (0.0, -0.021413149562046294, 0.21251839809873158),
  (0.1310364798426113, 0.0, -0.09936354547349946),
  (0.013326798254532736, 0.17905951099951767, -0.1923863092540504),
)


def per_anchor(view1: np.ndarray, view2: np.ndarray, temperature: float) -> np.ndarray:
  """The definition, one anchor at a time: anchors of view 1, then of view 2."""
  rows = np.concatenate([view1, view2])
  rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  losses = []
  for i in range(len(rows)):
    others = [np.exp(rows[i] @ rows[j] / temperature) for j in range(len(rows)) if j != i]
    partner = (i + len(view1)) % len(rows)
    losses.append(np.log(sum(others)) - rows[i] @ rows[partner] / temperature)
  return np.array(losses)


class GoldenTest(chex.TestCase):
  def test_reference_gives_the_golden_anchors(self):
    np.testing.assert_allclose(per_anchor(VIEW1, VIEW2, 0.5), PER_ANCHOR, rtol=1e-12)

  @parameterized.parameters((0.5, 1.139783904846404), (0.1, 0.6218845741556606))
  def test_mean_over_anchors(self, temperature, expected):
    with jax.enable_x64(True):
      loss, metrics = nt_xent(VIEW1, VIEW2, temperature=temperature)
      assert loss.dtype == jnp.float64
    np.testing.assert_allclose(loss, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(metrics['attract'] + metrics['repel'], expected, atol=1e-12)
    single, _ = nt_xent(np.float32(VIEW1), np.float32(VIEW2), temperature=temperature)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-6)

  def test_gradient(self):
    with jax.enable_x64(True):
      grad = jax.grad(lambda a: nt_xent(a, VIEW2)[0])(VIEW1)
    np.testing.assert_allclose(grad, GRADIENT, rtol=0, atol=1e-12)

  @parameterized.named_parameters(
    ('collapsed', np.ones((3, 4)), 1.6094379124340998),
    ('orthonormal', np.eye(3), 0.4326529029917916),
  )
  def test_degenerate_geometry(self, view, expected):
    with jax.enable_x64(True):
      loss, metrics = nt_xent(view, view)
    np.testing.assert_allclose(loss, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(metrics['effective_negatives'], 4, rtol=1e-12)


class PropertyTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    random = np.random.default_rng(0)
    self.view1, self.view2 = random.normal(size=(2, 7, 5))

  def test_definition(self):
    with jax.enable_x64(True):
      loss, metrics = nt_xent(self.view1, self.view2, temperature=0.2)
    np.testing.assert_allclose(loss, per_anchor(self.view1, self.view2, 0.2).mean(), rtol=1e-12)
    rows = np.concatenate([self.view1, self.view2])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    image = np.arange(14) % 7
    negatives = (rows @ rows.T)[image[:, None] != image]
    np.testing.assert_allclose(metrics['negative_similarity'], negatives.mean(), rtol=1e-12)
    softmax = np.exp(negatives.reshape(14, 12) / 0.2)
    softmax /= softmax.sum(axis=1, keepdims=True)
    effective = (1 / (softmax**2).sum(axis=1)).mean()
    np.testing.assert_allclose(metrics['effective_negatives'], effective, rtol=1e-12)
    positives = np.diag(rows[:7] @ rows[7:].T)
    np.testing.assert_allclose(metrics['positive_similarity'], positives.mean(), rtol=1e-12)
    nearest = negatives.reshape(14, 12).max(axis=1)
    np.testing.assert_allclose(
      metrics['contrast_accuracy'], (np.tile(positives, 2) > nearest).mean(), rtol=1e-12
    )

  def test_views_and_rows_may_swap_and_stretch(self):
    order = np.random.default_rng(1).permutation(7)
    with jax.enable_x64(True):
      expected, _ = nt_xent(self.view1, self.view2)
      swapped, _ = nt_xent(self.view2, self.view1)
      permuted, _ = nt_xent(self.view1[order], self.view2[order])
      stretched, _ = nt_xent(3 * self.view1, 0.01 * self.view2)
    np.testing.assert_allclose([swapped, permuted, stretched], expected, rtol=1e-13)

  def test_gradient_is_the_derivative(self):
    with jax.enable_x64(True):
      chex.assert_numerical_grads(
        lambda a, b: nt_xent(a, b, temperature=0.3)[0],
        (jnp.asarray(self.view1), jnp.asarray(self.view2)),
        order=1,
        rtol=1e-5,
        atol=1e-5,
      )

  def test_identical_negatives_at_a_low_temperature_stay_finite(self):
    view = jnp.ones((4, 3), jnp.bfloat16).at[0].set(0)
    loss, grad = jax.value_and_grad(lambda a: nt_xent(a, view, temperature=0.01)[0])(view)
    assert loss.dtype == jnp.float32 and grad.dtype == jnp.bfloat16
    chex.assert_tree_all_finite((loss, grad))

  def test_temperature_may_be_traced(self):
    traced = jax.jit(lambda t: nt_xent(np.float32(VIEW1), np.float32(VIEW2), temperature=t)[0])
    np.testing.assert_allclose(traced(0.1), 0.6218845741556606, rtol=2e-6)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('zero', {'temperature': 0}, 'temperature: found 0, must be > 0 and finite'),
    ('negative', {'temperature': -0.5}, 'temperature: found -0.5, must be > 0'),
    ('nan', {'temperature': float('nan')}, 'temperature: found nan'),
  )
  def test_temperature(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      nt_xent(VIEW1, VIEW2, **options)

  @parameterized.named_parameters(
    ('rank', np.ones(3), np.ones(3), r'view1: found shape \(3,\), must be \[batch, dim\]'),
    ('differ', np.ones((2, 3)), np.ones((3, 3)), r'view2: found shape \(3, 3\), must be \(2, 3\)'),
    ('whole', np.ones((2, 3), int), np.ones((2, 3), int), 'view1: found dtype int'),
    ('one_image', np.ones((1, 3)), np.ones((1, 3)), 'view1: found 1 image, must be at least 2'),
  )
  def test_embeddings(self, view1, view2, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      nt_xent(view1, view2)
