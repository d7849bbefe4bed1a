"""Principal axes against golden values, and the losses of ICCL on them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.losses.iccl.feature_clustering import feature_cross_entropy, feature_uniformity
from ssl_jax.losses.iccl.principal_axes import PCA, fit_pca, project
from ssl_jax.losses.iccl.similarity_clustering import similarity_clustering
from tests.losses.golden_tolerance import assert_golden
from tests.losses.iccl.inputs import P1, P2, Q1, Q2
from tests.losses.precision import by_precision

MEAN = [0.158777987989, 0.028479952552, 0.228868541083, -0.047415880423]
EIGENVALUES = [0.493755757177, 0.363622674068, 0.058715925975, 0.003255010799]
FIRST_AXIS = [0.705682409865, 0.012567036481, -0.341398691006, 0.620726461318]
# name, axes kept, adaptive temperature, cross-entropy, uniformity
LOSSES = (
  ('all_free', 4, 'free', 1.277942361506, 0.001322076363),
  ('all_fixed', 4, 'off', 3.350932688279, 0.061999994012),
  ('two_free', 2, 'free', 0.511678274762, 0.006575006137),
)


def near(found, expected, x64=True, terms=0.0):
  assert_golden(found, expected, np.float64 if x64 else np.float32, terms=terms)


class GoldenTest(chex.TestCase):
  @by_precision(x64=(True, False))
  def test_moments_and_axes(self, x64):
    with jax.enable_x64(x64):
      pca = fit_pca((jnp.asarray(Q1, float), jnp.asarray(Q2, float)))
    near(pca.mean, MEAN, x64)
    near(pca.eigenvalues, EIGENVALUES, x64)
    near(pca.basis[:, 0], FIRST_AXIS, x64)
    basis = np.asarray(pca.basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12 if x64 else 1e-6)

  @by_precision(case=LOSSES, x64=(True, False))
  def test_losses(self, case, x64):
    _, dim, adaptive, cross_entropy, uniformity = case
    options = {'pca_dim': dim, 'adaptive_temperature': adaptive, 'similarity': 'simsiam'}
    with jax.enable_x64(x64):
      p1, p2, q1, q2 = (jnp.asarray(x, float) for x in (P1, P2, Q1, Q2))
      loss, metrics = similarity_clustering(
        (p1, p2), (q1, q2), fade=1.0, uniformity_weight=1.0, **options
      )
    # The similarity is of the features before the pca.
    near(metrics['similarity_loss'], -0.692884032077, x64)
    near(metrics['cross_entropy'], cross_entropy, x64)
    near(metrics['feature_uniformity'], uniformity, x64, terms=np.log(dim))
    near(loss, cross_entropy + uniformity, x64)

  @by_precision(x64=(True, False))
  @pytest.mark.slow
  def test_signs_matter(self, x64):
    with jax.enable_x64(x64):
      inputs = [jnp.asarray(x, float) for x in (P1, P2, Q1, Q2)]
      mean, basis, eigenvalues = fit_pca(inputs[2:])
      flipped = PCA(mean, basis.at[:, 0].multiply(-1), eigenvalues)
      p1, p2, q1, q2 = (project(x, flipped) for x in inputs)
      options = {'adaptive_temperature': 'free', 'uniformity_weight': 1.0}
      _, metrics = similarity_clustering((p1, p2), (q1, q2), fade=1.0, **options)
    near(metrics['cross_entropy'], 1.177433499006, x64)
    near(metrics['feature_uniformity'], 0.003123263532, x64)


@pytest.mark.slow
class PropertyTest(chex.TestCase):
  def test_the_largest_entry_of_each_axis_is_positive(self):
    rows = np.random.default_rng(0).normal(size=(2, 9, 5))
    basis = np.asarray(fit_pca(rows, dim=3).basis)
    self.assertEqual(basis.shape, (5, 3))
    self.assertTrue(np.all(basis.max(axis=0) >= -basis.min(axis=0)))

  def test_a_full_rotation_keeps_cosines_to_the_mean(self):
    rows = np.random.default_rng(0).normal(size=(9, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centered = unit - unit.mean(axis=0)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    with jax.enable_x64(True):
      projected = np.asarray(project(rows, fit_pca((rows,))))
    np.testing.assert_allclose(projected @ projected.T, centered @ centered.T, atol=1e-12)

  def test_axes_are_constants(self):
    def projected(p, q):
      return jnp.sum(jnp.sin(project(p, fit_pca((q,)))))

    by_p, by_q = jax.grad(projected, (0, 1))(np.float32(P1), np.float32(Q1))
    self.assertGreater(np.abs(by_p).max(), 1e-3)
    chex.assert_trees_all_equal(by_q, jnp.zeros_like(by_q))

  @pytest.mark.slow
  def test_a_queue_may_give_the_axes(self):
    queue = np.random.default_rng(0).normal(size=(20, 4))
    options = {'fade': 1.0, 'uniformity_weight': 1.0, 'pca_dim': 3}
    with jax.enable_x64(True):
      loss, _ = similarity_clustering((P1, P2), (Q1, Q2), pca_rows=queue, **options)
      pca = fit_pca((queue,), dim=3)
      p1, p2, q1, q2 = (project(x, pca) for x in (P1, P2, Q1, Q2))
      expected = feature_uniformity((p1, p2))[0]
      expected += (feature_cross_entropy(p1, q2)[0] + feature_cross_entropy(p2, q1)[0]) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-12)

  @parameterized.parameters((np.zeros((3, 4)),), (np.ones((3, 4)),), (np.eye(4)[:2],))
  @pytest.mark.slow
  def test_degenerate_batches_stay_finite(self, rows):
    rows = np.float32(rows)
    options = {'fade': 0.5, 'pca_dim': 4, 'adaptive_temperature': 'free'}
    value, grad = jax.value_and_grad(
      lambda p: similarity_clustering((p, rows), (rows, rows), **options)[0]
    )(rows)
    chex.assert_tree_all_finite((value, grad))

  def test_a_collapsed_batch_has_no_direction(self):
    rows = np.float32(np.tile([0.3, -1.1, 0.7, 0.2], (7, 1)))
    pca = fit_pca((rows,))
    value, pullback = jax.vjp(lambda x: project(x, pca), rows)
    chex.assert_trees_all_equal(value, jnp.zeros((7, 4)))
    chex.assert_trees_all_equal(pullback(jnp.ones((7, 4))), (jnp.zeros((7, 4)),))


class ErrorTest(chex.TestCase):
  @parameterized.parameters((5, 'dim: found 5, must be at most 4'), (0, 'dim: found 0'))
  def test_dim(self, dim, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      fit_pca((Q1, Q2), dim=dim)

  def test_width(self):
    pattern = r'embeddings: found shape \(3, 3\), must be \[batch, 4\]'
    with self.assertRaisesRegex(ValueError, pattern):
      project(P1[:, :3], fit_pca((Q1, Q2)))

  def test_no_rotation(self):
    with self.assertRaisesRegex(ValueError, 'pca: found NoneType, must be a PCA'):
      project(P1, None)
