"""The order of images over a run, computed from the seed and the epoch alone."""

import dataclasses

import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole

_MOST_IMAGES = 2**31 - 1  # their numbers are int32 on the device


@dataclasses.dataclass
class EpochSampler:
  """Which images form batch `i` of an endless run.

  Every epoch visits the images in a fresh random order and drops the last partial batch. The order
  is a function of (seed, epoch), so a run resumes at any batch with nothing restored, on any number
  of devices. One epoch's permutation is kept: batches asked for in sequence cost one slice each.

  Args:
    seed: at least 0.
    length: number of images, below 2**31.
    batch_size: images a batch, between 1 and `length`.

  Raises:
    ValueError: an argument is out of range.
  """

  seed: int
  length: int
  batch_size: int
  _epoch: tuple[int, np.ndarray] | None = dataclasses.field(
    default=None, init=False, repr=False, compare=False
  )

  def __post_init__(self):
    check_whole('seed', self.seed, 0)
    check_whole('length', self.length, 0, at_most=_MOST_IMAGES)
    check_whole('batch_size', self.batch_size)
    if self.batch_size > self.length:
      there = 'is only 1 training image' if self.length == 1 else ''
      there = there or f'are only {self.length} training images'
      raise ArgumentError(
        'batch_size', f'{self.batch_size}, but there {there}', f'at most {self.length}'
      )

  @property
  def batches_per_epoch(self) -> int:
    return self.length // self.batch_size

  def permutation(self, epoch: int) -> np.ndarray:
    """int32 [length]: all images, in the order of `epoch` (counted from 0)."""
    # One assignment and one read keep this right when two threads share the order.
    kept = self._epoch
    if kept is not None and kept[0] == epoch:
      return kept[1]
    # Raw bits of a bit generator are the one random stream NumPy promises never to change, and a
    # resumed run must find the order it left, also after an upgrade.
    bits = np.random.PCG64([self.seed, epoch]).random_raw(self.length)
    permutation = np.argsort(bits, kind='stable').astype(np.int32)
    permutation.setflags(write=False)
    self._epoch = (epoch, permutation)
    return permutation

  def batch(self, index: int) -> np.ndarray:
    """int32 [batch_size]: the images of batch `index` of the run (counted from 0), read-only.

    It is batch `index % batches_per_epoch` of epoch `index // batches_per_epoch`.

    Raises:
      ValueError: `index` is negative.
    """
    index = check_whole('index', index, 0)
    epoch, position = divmod(index, self.batches_per_epoch)
    start = position * self.batch_size
    return self.permutation(epoch)[start : start + self.batch_size]
