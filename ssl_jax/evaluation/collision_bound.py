"""Upper bound on the collision term: the distance of a same-class negative to the positive."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.analysis.arguments import LABELED
from ssl_jax.arguments import ArgumentError, check_number, check_whole
from ssl_jax.evaluation.arguments import check_rows
from ssl_jax.evaluation.features import l2_normalize


def collision_upper_bound(
  first_views: Any,
  second_views: Any,
  labels: Any,
  *,
  temperature: float | None = None,
  chunk_size: int = 512,
) -> float:
  """E |z.(z' - z+)|: anchor, a negative of its class, and its positive; bounds the collision part.

  For anchor v_j with positive u_j in a class of n images, the mean over the n - 1 others of
  `|u_i.v_j - u_j.v_j|`; then the mean over anchors. Classes of one image have no such negative and
  are left out.

  Source: the collision upper bound in the released code of Nozawa and Sato, NeurIPS 2021, which
  divides by no temperature. The wording of their statement was not read.

  >>> import numpy as np
  >>> views = np.array([[1.0, 0.0], [0.0, 1.0]])
  >>> print(collision_upper_bound(views, views, [0, 0]))
  1.0

  Args:
    first_views: u, `[image, dim]` of any float dtype, normalized here.
    second_views: v, `[image, dim]`, independent views of the same images.
    labels: `int [image]`, 0 or greater; used to measure only.
    temperature: divides the result; None does not.
    chunk_size: anchors handled at once; memory is O(chunk_size x images of the largest class).

  Returns:
    The mean.

  Raises:
    ValueError: shapes do not fit, a feature is not finite, labels are absent, no class has two
      images, or a number is out of range.
  """
  first, second = np.asarray(first_views), np.asarray(second_views)
  if first.ndim != 2 or first.shape != second.shape or 0 in first.shape:
    raise ArgumentError(
      'second_views', f'shapes {first.shape} and {second.shape}', 'equal and [image, dim]'
    )
  check_rows('first_views', first)
  check_rows('second_views', second)
  if labels is None:
    raise ArgumentError('labels', 'None', 'one integer an image: bounds need labeled images')
  codes = np.asarray(labels)
  if codes.shape != first.shape[:1] or not np.issubdtype(codes.dtype, np.integer):
    raise ArgumentError(
      'labels', f'{codes.dtype} of shape {codes.shape}', f'integers of shape ({len(first)},)'
    )
  if codes.min() < 0:
    raise ArgumentError('labels', codes.min(), LABELED)
  check_whole('chunk_size', chunk_size)
  if temperature is not None:
    check_number('temperature', temperature, above=0)
  classes, counts = np.unique(codes, return_counts=True)
  if counts.max() < 2:
    raise ArgumentError('labels', 'no class with 2 images', 'at least one')

  chunk = min(chunk_size, int(counts.max()))
  padded = -(-int(counts.max()) // chunk) * chunk
  sums = []
  for label, count in zip(classes, counts, strict=True):
    if count < 2:
      continue
    rows = np.resize(np.flatnonzero(codes == label), padded)
    valid = np.arange(padded) < count
    total = _sum_of_class(first[rows], second[rows], valid, chunk)
    sums.append(total / (count - 1))
  mean = math.fsum(float(value) for value in jax.device_get(sums)) / int(counts[counts > 1].sum())
  return mean if temperature is None else mean / temperature


@functools.partial(jax.jit, static_argnames=('chunk',))
def _sum_of_class(first: jax.Array, second: jax.Array, valid: jax.Array, chunk: int) -> jax.Array:
  dtype = jnp.promote_types(first.dtype, jnp.float32)
  first, second = l2_normalize(first.astype(dtype)), l2_normalize(second.astype(dtype))

  def of_chunk(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    anchors, positives, counted = part
    similarities = jnp.matmul(anchors, first.T, precision='highest')
    own = jnp.sum(anchors * positives, axis=1, keepdims=True)
    differences = jnp.where(valid, jnp.abs(similarities - own), 0)
    return jnp.sum(jnp.where(counted, jnp.sum(differences, axis=1), 0))

  split = lambda array: array.reshape(-1, chunk, *array.shape[1:])
  return jnp.sum(jax.lax.map(of_chunk, (split(second), split(first), split(valid))))
