"""ICCL against golden values and gradients, and what its options do."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.losses import cosine_regression
from ssl_jax.losses.iccl.assignments import softmax_assignments
from ssl_jax.losses.iccl.feature_clustering import feature_cross_entropy
from ssl_jax.losses.iccl.similarity_clustering import similarity_clustering
from ssl_jax.losses.schedules import fade_weight
from tests.losses.golden_tolerance import assert_golden
from tests.losses.iccl.inputs import P1, P2, Q1, Q2
from tests.losses.precision import by_precision

SIMILARITY = {'byol': 1.228463871692, 'simsiam': -0.692884032077}
# Row by row: first predictions with second targets, second predictions with first targets.
COSINES = (
  (0.937804416807, 0.960158717038, 0.896897058662),
  (0.754247233266, 0.180578779629, 0.427617987060),
)
# name, options, cross-entropy, uniformity, norm of the assignments
PARTS = (
  ('fixed', {}, 3.385057548714, 0.108760779254, 0.942750974396),
  (
    'clip',
    {
      'adaptive_temperature': 'clip',
      'prediction_temperature': 0.7,
      'target_temperature': 1.0,
    },
    1.465521077616,
    0.021384274811,
    0.543583425981,
  ),
  # With so few features every norm is above the temperature.
  (
    'clip_to_the_temperature',
    {'adaptive_temperature': 'clip'},
    3.385057548714,
    0.108760779254,
    0.942750974396,
  ),
  ('free', {'adaptive_temperature': 'free'}, 1.262368926022, 0.010179221398, 0.942750974396),
)
TOTALS = {
  0: 1.228463871692,
  149: 1.228463871692,
  150: 1.228463871692,
  151: 1.318477124135,
  165: 2.578662658339,
  179: 3.838848192542,
  180: 3.928861444985,
  299: 3.928861444985,
}
# name, fade, gradient scale of the uniformity, gradient by the first prediction
GRADIENTS = (
  (
    'similarity',
    0.0,
    1.0,
    [
      [0.058842630074, 0.054784517655, 0.019783298042, -0.056813573865],
      [-0.034914862438, 0.085347441515, -0.027156004118, -0.003879429160],
      [0.114986802393, -0.118053117123, 0.062859451975, -0.067458924070],
    ],
  ),
  (
    'half',
    0.5,
    1.0,
    [
      [0.027274326106, 0.028347313879, 0.011119859292, -0.030118271029],
      [-0.003257897075, 0.045086254830, -0.012619335186, -0.023965949395],
      [0.112234439766, -0.791766726782, 0.709454182263, 0.058087663689],
    ],
  ),
  (
    'half_on_eight_devices',
    0.5,
    1 / 8,
    [
      [0.029620810531, 0.027503468983, 0.009970281747, -0.028989999106],
      [-0.035556205884, 0.046789216693, -0.015271681639, 0.022303859661],
      [0.093666789727, -0.540651205667, 0.476879264938, 0.026421391006],
    ],
  ),
  (
    'clustering',
    1.0,
    1.0,
    [
      [-0.004293977863, 0.001910110103, 0.002456420541, -0.003422968193],
      [0.028399068287, 0.004825068146, 0.001917333746, -0.044052469630],
      [0.109482077140, -1.465480336442, 1.356048912552, 0.183634251448],
    ],
  ),
)


@functools.partial(jax.jit, static_argnames=('options',))
def _compiled(p1, p2, q1, q2, fade, options):
  def loss(p1, q1, q2):
    return similarity_clustering((p1, p2), (q1, q2), fade=fade, **dict(options))

  return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(p1, q1, q2)


@jax.jit
def _cosines_by_row(predictions, targets):
  def cosine(prediction, target):
    return cosine_regression(prediction[None], target[None])[1]['positive_similarity']

  return jax.vmap(jax.vmap(cosine))(predictions, targets)


def evaluate(fade, x64=True, **options):
  """`(loss, metrics), (gradients by P1, Q1, Q2)` at the golden inputs."""
  with jax.enable_x64(x64):
    inputs = [jnp.asarray(x, float) for x in (P1, P2, Q1, Q2)]
    return _compiled(*inputs, jnp.asarray(fade, float), tuple(sorted(options.items())))


def near(found, expected, x64=True):
  assert_golden(found, expected, np.float64 if x64 else np.float32)


class GoldenTest(chex.TestCase):
  @by_precision(similarity=('byol', 'simsiam'), x64=(True, False))
  def test_similarity(self, similarity, x64):
    (loss, metrics), _ = evaluate(0.0, x64, similarity=similarity)
    self.assertEqual(loss.dtype, jnp.float64 if x64 else jnp.float32)
    near(loss, SIMILARITY[similarity], x64)
    near(metrics['similarity_loss'], SIMILARITY[similarity], x64)
    near(metrics['positive_similarity'], np.mean(COSINES), x64)
    with jax.enable_x64(x64):
      inputs = (jnp.asarray(x, float) for x in (np.stack([P1, P2]), np.stack([Q2, Q1])))
      cosines = _cosines_by_row(*inputs)
    near(cosines, COSINES, x64)

  @by_precision(case=PARTS, x64=(True, False))
  def test_parts(self, case, x64):
    _, options, cross_entropy, uniformity, norm = case
    (loss, metrics), _ = evaluate(1.0, x64, uniformity_weight=1.0, **options)
    near(metrics['cross_entropy'], cross_entropy, x64)
    near(metrics['feature_uniformity'], uniformity, x64)
    near(metrics['assignment_norm'], norm, x64)
    near(loss, cross_entropy + uniformity, x64)

  @by_precision(x64=(True, False))
  def test_features_used(self, x64):
    _, metrics = evaluate(1.0, x64)[0]
    mean = np.array([0.185301166079, 0.195060075608, 0.471187986442, 0.148450771871])
    near(metrics['used_features'], np.exp(-np.sum(mean * np.log(mean))), x64)
    with jax.enable_x64(x64):
      rows = jnp.asarray(np.concatenate([P1, P2]), float)
      found = jnp.mean(softmax_assignments(rows, temperature=0.1), axis=0)
    near(found, mean, x64)

  @by_precision(case=(('off', -3.278479419366), ('free', -0.363267312959)), x64=(True, False))
  def test_without_partition(self, case, x64):
    adaptive, expected = case
    options = {'partition': False, 'uniformity_weight': 0.0, 'adaptive_temperature': adaptive}
    (loss, metrics), _ = evaluate(1.0, x64, **options)
    near(loss, expected, x64)
    near(metrics['cross_entropy'], expected, x64)

  @by_precision(epoch=list(TOTALS), x64=(True, False))
  def test_total_by_epoch(self, epoch, x64):
    with jax.enable_x64(x64):
      fade = fade_weight(epoch, start=150, end=180)
    (loss, metrics), _ = evaluate(fade, x64)
    near(loss, TOTALS[epoch], x64)
    near(metrics['fade'], min(max((epoch - 150) / 30, 0), 1), x64)

  @by_precision(case=GRADIENTS, x64=(True, False))
  def test_gradient(self, case, x64):
    _, fade, scale, expected = case
    (loss, _), (by_p1, *by_targets) = evaluate(fade, x64, uniformity_gradient_scale=scale)
    near(loss, (1 - fade) * TOTALS[0] + fade * TOTALS[180], x64)
    near(by_p1, np.array(expected), x64)
    chex.assert_trees_all_equal(by_targets, [jnp.zeros((3, 4))] * 2)
    # Only the direction of a prediction counts.
    radial = np.sum(np.asarray(by_p1) * P1, axis=1)
    np.testing.assert_allclose(radial, 0, atol=1e-12 if x64 else 1e-6)


class OptionTest(chex.TestCase):
  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_similarity_weight_after(self, fade):
    (loss, _), _ = evaluate(fade, similarity_weight_after=0.25)
    similarity, clustering = TOTALS[0], TOTALS[180]
    near(loss, fade * clustering + (1 - fade + 0.25 * fade) * similarity)

  def test_without_rotation_the_parts_are_public_losses(self):
    (_, metrics), _ = evaluate(0.5)
    with jax.enable_x64(True):
      first, second = feature_cross_entropy(P1, Q2), feature_cross_entropy(P2, Q1)
      byol = cosine_regression(P1, Q2)[0] + cosine_regression(P2, Q1)[0]
    first, second = jax.device_get((first, second))
    near(metrics['cross_entropy'], (first[0] + second[0]) / 2)
    near(metrics['similarity_loss'], np.asarray(byol))
    for name in ('assignment_norm', 'target_entropy', 'positive_similarity'):
      near(metrics[name], (first[1][name] + second[1][name]) / 2)

  @pytest.mark.slow
  def test_views_may_swap(self):
    with jax.enable_x64(True):
      first, _ = similarity_clustering((P1, P2), (Q1, Q2), fade=0.5)
      second, _ = similarity_clustering((P2, P1), (Q2, Q1), fade=0.5)
    np.testing.assert_allclose(first, second, rtol=1e-14)

  @parameterized.parameters('softmax', 'sinkhorn')
  @pytest.mark.slow
  def test_inactive_parts_leave_no_trace(self, assignments):
    bad = np.zeros_like(P1)
    for fade in (0.0, 1.0):
      (loss, _), (by_p1, *_) = jax.value_and_grad(
        lambda p, q, f=fade: similarity_clustering(
          (p, P2), (q, bad), fade=f, prediction_temperature=0.005, assignments=assignments
        ),
        argnums=(0, 1),
        has_aux=True,
      )(np.float32(bad), np.float32(Q1))
      chex.assert_tree_all_finite((loss, by_p1))
