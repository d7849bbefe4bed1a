"""The properties that define the truncated triplet loss, and its messages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.losses import AllRanks, MedianRank, RankWindow, truncated_triplet
from tests.losses.golden_inputs import G2, G7

HARDEST = RankWindow(1, 1)
IDENTITY = np.eye(12)


def _clustered(rank1: float) -> tuple[np.ndarray, np.ndarray]:
  """A query at angle 0 among targets at growing angles; the hardest has cosine `rank1`."""
  angles = np.array([0.1, np.arccos(rank1), *np.linspace(0.5, 3, 12)])
  prediction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  prediction[0] = 1, 0
  return prediction, np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.slow
class PropertyTest(chex.TestCase):
  def test_permutation_and_row_scaling_change_nothing(self):
    prediction, target = G2
    order = np.random.default_rng(0).permutation(12)
    stretch = np.random.default_rng(1).uniform(0.1, 9, (12, 1))
    with jax.enable_x64(True):
      expected, _ = truncated_triplet(prediction, target)
      permuted, _ = truncated_triplet(prediction[order], target[order])
      scaled, _ = truncated_triplet(prediction * stretch, target / stretch)
    np.testing.assert_allclose([permuted, scaled], expected, rtol=1e-13)

  def test_margin_cancels_where_the_hinge_never_closes(self):
    with jax.enable_x64(True):
      losses = [truncated_triplet(*G2, margin=margin)[0] - margin for margin in (6, 7.5, 100)]
      grads = [
        jax.grad(lambda p, m=margin: truncated_triplet(p, G2[1], margin=m)[0])(G2[0])
        for margin in (6, 5.9999999, 100)
      ]
    np.testing.assert_allclose(losses, losses[0], rtol=0, atol=1e-12)
    # Just below 6 the hinge is in the graph; no query of G2 closes it, so the gradient is the same.
    chex.assert_trees_all_close(grads[1], grads[0], rtol=1e-12)
    chex.assert_trees_all_equal(grads[2], grads[0])

  def test_closed_hinge_has_no_gradient(self):
    value, metrics = truncated_triplet(IDENTITY, IDENTITY, margin=1)
    grad = jax.grad(lambda p: truncated_triplet(p, IDENTITY, margin=1)[0])(jnp.eye(12))
    assert float(value) == 0 and float(metrics['active_fraction']) == 0
    chex.assert_trees_all_equal(grad, jnp.zeros((12, 12)))

  def test_hardest_negative_is_truncated(self):
    def query0(rank1, deputy):
      prediction, target = _clustered(rank1)

      def first_row(p):
        return truncated_triplet(p, target, deputy=deputy)[0]

      with jax.enable_x64(True):
        return jax.grad(first_row)(prediction)[0]

    near, nearer = query0(0.95, RankWindow(2, 10)), query0(0.99, RankWindow(2, 10))
    np.testing.assert_allclose(near, nearer, rtol=1e-12)
    assert np.abs(query0(0.95, HARDEST) - query0(0.99, HARDEST)).max() > 1e-3

  def test_groups_see_nothing_of_each_other(self):
    prediction, target = (np.asarray(x) for x in G7)
    changed = np.concatenate([target[:12], -target[12:]])
    grad = jax.grad(lambda p, z: truncated_triplet(p, z, group_size=12)[0])
    before, after = grad(prediction, target), grad(prediction, changed)
    chex.assert_trees_all_equal(before[:12], after[:12])
    assert np.abs(before[12:] - after[12:]).max() > 1e-3

  def test_zero_rows_and_half_precision_are_finite(self):
    prediction, target = (jnp.asarray(x, jnp.bfloat16) for x in G2)
    prediction, target = prediction.at[0].set(0), target.at[1].set(0)
    (loss, metrics), grad = jax.value_and_grad(truncated_triplet, has_aux=True)(prediction, target)
    assert loss.dtype == jnp.float32 and grad.dtype == jnp.bfloat16
    chex.assert_tree_all_finite((loss, metrics, grad))

  def test_gradient_survives_the_offset_in_float32(self):
    # A sum of terms near 100 would round the difference of two losses; the metric keeps it.
    with jax.enable_x64(True):
      exact = truncated_triplet(*G2)[1]['offset_free']
    _, metrics = truncated_triplet(*(np.float32(x) for x in G2))
    np.testing.assert_allclose(metrics['offset_free'], exact, rtol=2e-6)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('window', {}, 10, r'deputy: found RankWindow\(low=2, high=10\) with 9 negatives'),
    ('group', {'group_size': 5}, 12, 'group_size: found 5, must be a divisor of the batch, 12'),
    ('group_type', {'group_size': 1.5}, 12, 'group_size: found 1.5, must be a whole number'),
    ('gamma', {'gamma': -1}, 12, 'gamma: found -1, must be >= 0'),
    ('margin', {'margin': float('inf')}, 12, 'margin: found inf, must be >= 0 and finite'),
    ('scale', {'scale': 0}, 12, 'scale: found 0, must be > 0'),
    ('scale_text', {'scale': 'two'}, 12, "scale: found 'two', must be > 0"),
    (
      'median',
      {'deputy': MedianRank(), 'group_size': 1},
      12,
      'group_size: found 1, must be a whole number >= 2',
    ),
    (
      'all',
      {'deputy': AllRanks(), 'group_size': 1},
      12,
      'group_size: found 1, must be a whole number >= 2',
    ),
  )
  def test_message(self, options, rows, pattern):
    with self.assertRaisesRegex(ValueError, pattern) as caught:
      truncated_triplet(np.ones((rows, 3), np.float32), np.ones((rows, 3), np.float32), **options)
    assert '\n' not in str(caught.exception)

  def test_eleven_rows_suffice(self):
    loss, _ = truncated_triplet(np.ones((11, 3), np.float32), np.ones((11, 3), np.float32))
    np.testing.assert_allclose(loss, 98, rtol=1e-6)

  @parameterized.parameters((0, 3), (3, 2), (1.5, 2))
  def test_window(self, low, high):
    with self.assertRaisesRegex(ValueError, 'deputy'):
      RankWindow(low, high)
