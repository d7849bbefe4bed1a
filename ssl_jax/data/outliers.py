"""Replaces a share of the images by noise or by other images, to measure what outliers do."""

from __future__ import annotations

import numpy as np

from ssl_jax.arguments import ArgumentError, check_number
from ssl_jax.data.dataset import UNLABELED, ArraySource


def plant_outliers(
  source: ArraySource, share: float, seed: int, others: np.ndarray | None = None
) -> ArraySource:
  """The source with round(share * n) of its images replaced by outliers and unlabeled.

  Which ones is drawn by `seed`. Without `others` an outlier is a square grid of independent colors,
  enlarged to the image; the side of the grid is a power of 2, drawn anew for each.

  Args:
    source: the images.
    share: at least 0, below 1.
    seed: at least 0.
    others: uint8 images of the same size, of which the outliers are drawn.

  Raises:
    ArgumentError: the share is out of range, or leaves no image.
  """
  check_number('outlier_share', share, at_least=0, below=1)
  count, side = len(source), source.images.shape[1]
  planted = int(np.floor(share * count + 0.5))
  if not planted:
    return source
  if planted == count:
    raise ArgumentError('outlier_share', f'{share} of {count} images', 'a share that leaves one')
  # Raw bits are the one random stream that NumPy promises never to change.
  bits = np.random.PCG64([seed, count, planted])
  rows = np.argsort(bits.random_raw(count), kind='stable')[:planted]
  labels = source.labels
  if labels is not None:
    labels = labels.copy()
    labels[rows] = UNLABELED
  images = source.images.copy()
  if others is not None:
    images[rows] = others[(bits.random_raw(planted) % len(others)).astype(np.int64)]
    return ArraySource(images, labels, source.names)
  sides = 2 ** (1 + bits.random_raw(planted) % max(int(np.log2(side)), 1))
  for row, grid in zip(rows, np.minimum(sides, side).astype(int), strict=True):
    colors = bits.random_raw(grid * grid).astype('<u8').view(np.uint8).reshape(grid, grid, 8)
    at = np.arange(side) * grid // side
    images[row] = colors[at[:, None], at[None, :], :3]
  return ArraySource(images, labels, source.names)
