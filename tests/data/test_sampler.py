"""The order of images is a function of the seed and the epoch, and of nothing else."""

import chex
import hypothesis
import numpy as np
from absl.testing import parameterized
from hypothesis import strategies as st

from ssl_jax import data


@st.composite
def samplers(draw):
  length = draw(st.integers(1, 200))
  return data.EpochSampler(
    seed=draw(st.integers(0, 2**40)), length=length, batch_size=draw(st.integers(1, length))
  )


class OrderTest(chex.TestCase):
  @hypothesis.given(samplers(), st.integers(0, 1000))
  def test_epoch_visits_images_at_most_once(self, sampler, epoch):
    per_epoch = sampler.batches_per_epoch
    batches = [sampler.batch(epoch * per_epoch + i) for i in range(per_epoch)]
    for batch in batches:
      self.assertEqual((batch.dtype, batch.shape), (np.int32, (sampler.batch_size,)))
    visited = np.concatenate(batches)
    self.assertLen(set(visited.tolist()), per_epoch * sampler.batch_size)
    self.assertGreaterEqual(visited.min(), 0)
    self.assertLess(visited.max(), sampler.length)
    self.assertLess(sampler.length - len(visited), sampler.batch_size)
    np.testing.assert_array_equal(visited, sampler.permutation(epoch)[: len(visited)])
    np.testing.assert_array_equal(np.sort(sampler.permutation(epoch)), np.arange(sampler.length))

  @hypothesis.given(samplers(), st.lists(st.integers(0, 2000), min_size=1, max_size=12))
  def test_batch_does_not_depend_on_what_was_asked_before(self, sampler, indices):
    for index in indices:
      fresh = data.EpochSampler(sampler.seed, sampler.length, sampler.batch_size)
      np.testing.assert_array_equal(sampler.batch(index), fresh.batch(index))

  @hypothesis.given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(1, 1000))
  def test_epochs_and_seeds_differ(self, seed, epoch, step):
    sampler = data.EpochSampler(seed, 100, 10)
    here = sampler.permutation(epoch)
    self.assertFalse(np.array_equal(here, sampler.permutation(epoch + step)))
    self.assertFalse(
      np.array_equal(here, data.EpochSampler(seed + step, 100, 10).permutation(epoch))
    )

  def test_order_is_the_same_with_every_numpy(self):
    sampler = data.EpochSampler(seed=7, length=8, batch_size=4)
    np.testing.assert_array_equal(sampler.permutation(0), GOLDEN_EPOCH_0)
    np.testing.assert_array_equal(sampler.permutation(3), GOLDEN_EPOCH_3)

  def test_images_are_spread_evenly_over_positions(self):
    sampler = data.EpochSampler(seed=0, length=8, batch_size=8)
    places = np.stack([sampler.permutation(epoch) for epoch in range(2000)])
    counts = np.stack([np.bincount(column, minlength=8) for column in places.T])
    # 250 expected in each cell, standard deviation 15.
    self.assertLess(np.abs(counts - 250).max(), 75)

  def test_batches_are_read_only(self):
    with self.assertRaises(ValueError):
      data.EpochSampler(0, 4, 2).batch(0)[0] = 1

  @parameterized.parameters(
    (
      (0, 5, 6),
      r'^batch_size: found 6, but there are only 5 training images, must be at most 5$',
    ),
    ((0, 2**31, 1), r'^length: found 2147483648, must be a whole number from 0 to 2147483647$'),
    ((0, 0, 1), r'^batch_size: found 1, but there are only 0 training'),
    ((0, 5, 0), r'^batch_size: found 0, must be a whole number >= 1$'),
    ((-1, 5, 2), r'^seed: found -1, must be a whole number >= 0$'),
  )
  def test_wrong_arguments(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      data.EpochSampler(*arguments)

  def test_negative_index(self):
    with self.assertRaisesRegex(ValueError, r'^index: found -1, must be a whole number >= 0$'):
      data.EpochSampler(0, 4, 2).batch(-1)


GOLDEN_EPOCH_0 = [6, 3, 4, 0, 2, 7, 5, 1]
GOLDEN_EPOCH_3 = [2, 4, 7, 3, 5, 1, 0, 6]
