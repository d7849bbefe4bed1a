"""The truncated triplet loss against golden values, and the properties that define it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import (
  AllRanks,
  MedianRank,
  RankWindow,
  cosine_regression,
  truncated_triplet,
)
from tests.losses.golden_inputs import G1, G2, G3, G4, G7

HARDEST = RankWindow(1, 1)
BLOCKS = (None, 5)
GOLDENS = (
  # name, inputs, options, expected
  ('g1_hardest', G1, {'deputy': HARDEST}, 98.5339538236),
  ('g1_rank2', G1, {'deputy': RankWindow(2, 2)}, 97.5800733524),
  ('g1_rank3', G1, {'deputy': RankWindow(3, 3)}, 97.0558092837),
  ('g1_ranks2to3', G1, {'deputy': RankWindow(2, 3)}, 97.3179413181),
  ('g1_median', G1, {'deputy': MedianRank()}, 97.5800733524),
  ('g1_mean_all', G1, {'deputy': AllRanks()}, 97.7232788199),
  ('g1_hardest_margin1', G1, {'deputy': HARDEST, 'margin': 1}, 0.2561760458),
  ('g2_released', G2, {}, 98.9684936696),
  ('g2_margin1', G2, {'margin': 1}, 1.1773281846),
  ('g2_margin0', G2, {'margin': 0}, 0.7777912446),
  ('g2_gamma1', G2, {'gamma': 1}, 99.4457704534),
  ('g2_rank1', G2, {'deputy': HARDEST}, 100.8245841852),
  ('g2_rank5', G2, {'deputy': RankWindow(5, 5)}, 99.457050914),
  ('g2_median', G2, {'deputy': MedianRank()}, 98.8858104409),
  ('g2_ranks1to10', G2, {'deputy': RankWindow(1, 10)}, 99.1541027212),
  ('g2_ranks2to9', G2, {'deputy': RankWindow(2, 9)}, 99.1658376308),
  ('g2_ranks2to11', G2, {'deputy': RankWindow(2, 11)}, 98.7960211706),
  ('g2_mean_all', G2, {'deputy': AllRanks()}, 98.9804359901),
  ('g2_ranks1to11_is_mean_all', G2, {'deputy': RankWindow(1, 11)}, 98.9804359901),
  ('g3_direction2', G3, {}, 100.3972743607),
  ('g4_lower_median', G4, {'deputy': MedianRank()}, 99.8591697503),
  ('g4_ranks2to10', G4, {}, 99.365026366),
  ('g7_groups_of_12', G7, {'group_size': 12}, 98.8165312063),
  ('g7_one_group', G7, {}, 100.3124461596),
)
GOLDENS_OF_THE_PAPER = (
  # name, inputs, options, C, expected; a floor C of -100 is none.
  ('g1_no_floor', G1, {'deputy': RankWindow(2, 3)}, -100, -1.341029341),
  ('g1_floor_minus1', G1, {'deputy': RankWindow(2, 3)}, -1, -0.9054187711),
  ('g1_floor_0', G1, {'deputy': RankWindow(2, 3)}, 0, 0.0),
  ('g2_smoothed_k4', G2, {'deputy': RankWindow(2, 9)}, -100, -0.4170811846),
  ('g2_smoothed_k5', G2, {'deputy': RankWindow(2, 11)}, -100, -0.6019894147),
  ('g2_code_window', G2, {}, -100, -0.5157531652),
)
IDENTITY = np.eye(12)
SIMPLEX = np.eye(12) - 1 / 12
DEGENERATE = (
  ('collapsed', (np.ones((12, 5)), np.ones((12, 5))), {}, 98.0),
  ('orthonormal', (IDENTITY, IDENTITY), {}, 96.0),
  ('simplex', (SIMPLEX, SIMPLEX), {}, 95.8181818182),
  ('antipodal_positives', (IDENTITY, -IDENTITY), {}, 104.0),
)
CALLS = {
  **{name: (inputs, options) for name, inputs, options, _ in GOLDENS + DEGENERATE},
  **{
    name: (inputs, {'scale': 1, 'margin': -floor, **options})
    for name, inputs, options, floor, _ in GOLDENS_OF_THE_PAPER
  },
}


@functools.cache
def golden_results(dtype, block_size):
  """Loss and metrics of every call by name, and a gradient: one program compiles quickest."""

  def every_call(inputs):
    results = {
      name: truncated_triplet(*inputs[name], block_size=block_size, **options)
      for name, (_, options) in CALLS.items()
    }
    loss = functools.partial(truncated_triplet, block_size=block_size)
    results['gradient'] = jax.grad(loss, (0, 1), has_aux=True)(*inputs['g2_released'])[0]
    return results

  def of_dtype(x):
    return np.asarray(x, dtype)

  with jax.enable_x64(dtype is np.float64):
    inputs = jax.tree.map(of_dtype, {name: inputs for name, (inputs, _) in CALLS.items()})
    return jax.device_get(jax.jit(every_call)(inputs))


def with_blocks(goldens):
  return parameterized.named_parameters(
    *((f'{golden[0]}_blocks_{size}', size, *golden) for golden in goldens for size in BLOCKS)
  )


class GoldenTest(chex.TestCase):
  @with_blocks(GOLDENS + DEGENERATE)
  def test_value(self, block_size, name, _inputs, _options, expected):
    loss, _ = golden_results(np.float32, block_size)[name]
    assert loss.dtype == np.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    loss, metrics = golden_results(np.float64, block_size)[name]
    assert loss.dtype == np.float64
    np.testing.assert_allclose(loss, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
      metrics['attract'] + metrics['repel'], metrics['offset_free'], atol=1e-12
    )

  @with_blocks(GOLDENS_OF_THE_PAPER)
  def test_form_of_the_paper(self, block_size, name, _inputs, _options, floor, expected):
    loss, _ = golden_results(np.float64, block_size)[name]
    np.testing.assert_allclose(loss + floor, expected, rtol=0, atol=1e-9)
    loss, _ = golden_results(np.float32, block_size)[name]
    np.testing.assert_allclose(loss, expected - floor, rtol=2e-6)

  @parameterized.parameters(*BLOCKS)
  def test_sum_of_two_directions(self, block_size):
    results = golden_results(np.float64, block_size)
    total = sum(results[name][0] for name in ('g2_released', 'g3_direction2'))
    np.testing.assert_allclose(total, 199.3657680304, rtol=0, atol=1e-9)
    np.testing.assert_allclose(total / 4, 49.8414420076, rtol=0, atol=1e-9)

  @parameterized.parameters(*BLOCKS)
  def test_mean_of_the_groups(self, block_size):
    """What each of two devices of the released code would see."""
    losses = []
    with jax.enable_x64(True):
      for rows in (slice(12), slice(12, None)):
        loss, _ = truncated_triplet(G7[0][rows], G7[1][rows], block_size=block_size)
        losses.append(float(loss))
    np.testing.assert_allclose(losses, [98.4606881864, 99.1723742263], rtol=0, atol=1e-9)

  @parameterized.product(block_size=BLOCKS, dtype=(np.float64, np.float32))
  def test_gradient(self, block_size, dtype):
    by_prediction, by_target = golden_results(dtype, block_size)['gradient']
    # In float32 relative to the gradient's norm.
    tolerance = 1e-9 if dtype is np.float64 else 2e-6 * 0.6434571147
    row0 = [-0.148158341, 0.0280381509, 0.0749854195, 0.0289053955]
    row7 = [0.0919940464, 0.1580403675, 0.0994994791, -0.0766096789]
    np.testing.assert_allclose(by_prediction[0], row0, rtol=0, atol=tolerance)
    np.testing.assert_allclose(by_prediction[7], row7, rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(by_prediction), 0.6434571147, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(by_target, 0)

  def test_positives_of_g2(self):
    _, metrics = golden_results(np.float64, None)['g2_released']
    cosines = [0.7711403383, 0.8262752563, 0.0207931613, -0.782958949, -0.2978573764, 0.7116351476]
    cosines += [0.9677782093, 0.371177834, -0.6440653009, -0.5088731469, 0.4706993533, 0.9579161758]
    np.testing.assert_allclose(metrics['positive_similarity'], np.mean(cosines), rtol=0, atol=1e-10)

  def test_is_byol_and_repulsion(self):
    loss, metrics = golden_results(np.float64, None)['g2_released']
    with jax.enable_x64(True):
      byol = float(cosine_regression(*G2)[0])
    np.testing.assert_allclose(byol - 2, -0.4772767838, rtol=0, atol=1e-9)
    np.testing.assert_allclose(loss, 100 + 2 * (byol - 2) + metrics['repel'], rtol=0, atol=1e-12)


def _clustered(rank1: float) -> tuple[np.ndarray, np.ndarray]:
  """A query at angle 0 among targets at growing angles; the hardest has cosine `rank1`."""
  angles = np.array([0.1, np.arccos(rank1), *np.linspace(0.5, 3, 12)])
  prediction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  prediction[0] = 1, 0
  return prediction, np.stack([np.cos(angles), np.sin(angles)], axis=1)


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
    assert float(value) == 0 and float(metrics['hinge_open']) == 0
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
    ('scale_text', {'scale': 'two'}, 12, "scale: found 'two', must be a number"),
    ('median', {'deputy': MedianRank(), 'group_size': 1}, 12, 'must have a group of at least 2'),
    ('all', {'deputy': AllRanks(), 'group_size': 1}, 12, 'must have a group of at least 2'),
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
