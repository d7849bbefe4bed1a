"""The truncated triplet loss against golden values."""

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
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision

HARDEST = RankWindow(1, 1)
DTYPES = (np.float64, np.float32)
BLOCKS = (None, 5)
EACH_HALF_OF_G7 = [tuple(x[rows] for x in G7) for rows in (slice(12), slice(12, None))]
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
  ('g4_mean_of_the_medians', G4, {'deputy': RankWindow(5, 6)}, 99.5530594205),
  ('g7_groups_of_12', G7, {'group_size': 12}, 98.8165312063),
  ('g7_one_group', G7, {}, 100.3124461596),
  # What each of two devices of the released code would see.
  ('g7_first_device', EACH_HALF_OF_G7[0], {}, 98.4606881864),
  ('g7_second_device', EACH_HALF_OF_G7[1], {}, 99.1723742263),
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
POSITIVE_COSINES = {
  'g1_hardest': np.array([-1.7777777778, -0.72, -1.7777777778, -1.0]) / -2,
  'g2_released': (
    *(0.7711403383, 0.8262752563, 0.0207931613, -0.782958949, -0.2978573764, 0.7116351476),
    *(0.9677782093, 0.371177834, -0.6440653009, -0.5088731469, 0.4706993533, 0.9579161758),
  ),
}
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
  """Results of every call by name, and more of some: one program compiles quickest."""

  def positive_cosine(prediction, target):
    """Of one row, which twice is a batch."""
    twice = (jnp.stack([x, x]) for x in (prediction, target))
    return truncated_triplet(*twice, deputy=HARDEST)[1]['positive_similarity']

  def every_call(inputs):
    results = {
      name: truncated_triplet(*inputs[name], block_size=block_size, **options)
      for name, (_, options) in CALLS.items()
    }
    loss = functools.partial(truncated_triplet, block_size=block_size)
    results['gradient'] = jax.grad(loss, (0, 1), has_aux=True)(*inputs['g2_released'])[0]
    results['byol'] = cosine_regression(*inputs['g2_released'])[0]
    for name in POSITIVE_COSINES:
      results[f'{name}_cosines'] = jax.vmap(positive_cosine)(*inputs[name])
    return results

  def of_dtype(x):
    return np.asarray(x, dtype)

  with jax.enable_x64(dtype is np.float64):
    inputs = jax.tree.map(of_dtype, {name: inputs for name, (inputs, _) in CALLS.items()})
    return jax.device_get(jax.jit(every_call)(inputs))


every_way = by_precision(dtype=DTYPES, block_size=BLOCKS)


def with_blocks(goldens):
  return parameterized.named_parameters(
    (f'{golden[0]}_{dtype.__name__}_blocks_{size}', dtype, size, *golden)
    for golden in goldens
    for dtype in DTYPES
    for size in BLOCKS
  )


class GoldenTest(chex.TestCase):
  def test_inputs(self):
    """First and last rows of those that are generated."""
    rows = np.stack([x[[0, 11]] for x in G2])
    sines = [0.1986693308, 0.9974949866, 0.3349881502, -0.8182771111]
    sines += [0.9989413418, 0.2228899141, -0.8796957600, -0.6935250848]
    cosines = [0.9950041653, 0.6967067093, -0.1288444943, -0.8568887534]
    cosines += [0.7755658785, -0.0123886635, -0.7909677119, -0.9709581651]
    np.testing.assert_allclose(rows.ravel(), sines + cosines, rtol=0, atol=1e-10)

  @with_blocks(GOLDENS + DEGENERATE)
  def test_value(self, dtype, block_size, name, _inputs, _options, expected):
    loss, metrics = golden_results(dtype, block_size)[name]
    assert_golden(loss, expected, dtype)
    assert_golden(metrics['attract'] + metrics['repel'], metrics['offset_free'], dtype, 1e-12)

  @with_blocks(GOLDENS_OF_THE_PAPER)
  def test_form_of_the_paper(self, dtype, block_size, name, _inputs, _options, floor, expected):
    loss, _ = golden_results(dtype, block_size)[name]
    assert_golden(loss, expected - floor, dtype)

  @every_way
  def test_sum_of_two_directions(self, dtype, block_size):
    results = golden_results(dtype, block_size)
    total = results['g2_released'][0] + results['g3_direction2'][0]
    assert_golden(total, 199.3657680304, dtype)
    assert_golden(total / 4, 49.8414420076, dtype)

  @every_way
  def test_median_of_an_even_number_is_no_mean_of_two(self, dtype, block_size):
    results = golden_results(dtype, block_size)
    lower, mean = (results[f'g4_{name}'][0] for name in ('lower_median', 'mean_of_the_medians'))
    assert_golden(mean, 99.5530594205, dtype)
    assert abs(lower - 99.5530594205) > 0.3

  @every_way
  def test_gradient(self, dtype, block_size):
    by_prediction, by_target = golden_results(dtype, block_size)['gradient']
    assert_golden(by_prediction[0], [-0.148158341, 0.0280381509, 0.0749854195, 0.0289053955], dtype)
    assert_golden(
      by_prediction[7], [0.0919940464, 0.1580403675, 0.0994994791, -0.0766096789], dtype
    )
    assert_golden(np.linalg.norm(by_prediction), 0.6434571147, dtype)
    np.testing.assert_array_equal(by_target, 0)

  @by_precision(name=list(POSITIVE_COSINES), dtype=DTYPES)
  def test_positives(self, name, dtype):
    cosines = POSITIVE_COSINES[name]
    results = golden_results(dtype, None)
    assert_golden(results[f'{name}_cosines'], cosines, dtype, 1e-10)
    _, metrics = results[name]
    assert_golden(metrics['positive_similarity'], np.mean(cosines), dtype, 1e-10)

  @by_precision(dtype=DTYPES)
  def test_is_byol_and_repulsion(self, dtype):
    results = golden_results(dtype, None)
    loss, metrics = results['g2_released']
    assert_golden(results['byol'] - 2, -0.4772767838, dtype)
    expected = 100 + 2 * np.float64(results['byol'] - 2) + metrics['repel']
    assert_golden(loss, expected, dtype, 1e-12)
