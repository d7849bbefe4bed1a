"""The terms of the negative-sample bounds, measured on features batch by batch, on the devices."""

import dataclasses
import functools
import math
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ssl_jax.arguments import ArgumentError, check_seed
from ssl_jax.evaluation.features import l2_normalize

Terms = dict[str, jax.Array]

_ROWS = 2048  # of a call on each device: small batches go several at a time


@dataclasses.dataclass(frozen=True)
class NegativeSampleBounds:
  """What `negative_sample_bounds` measures: averages over anchors, in nats where they are losses.

  Unit features z of an anchor in class y, t the temperature, S the classes of an anchor and its K
  negatives, C all classes, Col the negatives of class y; l(z, S) the softmax loss of z against the
  means of the classes in S. Terms with an event are multiplied by its probability.

  Attributes:
    info_nce: the loss with K negatives of the other view, which the two bounds lie below.
    symmetric_info_nce: with 2K negatives of both views, over both directions, as in training.
    class_mean_loss: the same with the class mean of each image in place of its features; with `gap`
      it lies below `info_nce`, and both bounds below it.
    gap: d = E min(0, z.(class mean - image mean)) / t, at most 0.
    coverage: the share of anchors with S = C; 0 means below 1 / `num_batches`.
    collision_probability: the share of anchors with Col > 0.
    collision: E ln(1 + Col).
    supervised_covered: E[l(z, C); S = C].
    sub_class: E[l(z, S); S < C].
    no_collision_coverage: the share of anchors with Col = 0 and S = C.
    curl_supervised: E[l(z, C); Col = 0, S = C].
    curl_sub_class: E[l(z, S); Col = 0, S < C].
    proposed_bound: (supervised_covered + sub_class + collision) / 2 + gap <= E info_nce.
    curl_bound: curl_supervised + curl_sub_class + collision + gap <= E info_nce.
    supervised: E l(z, C) of all anchors: the loss of the mean classifier that is bounded.
    standard_errors: of each of these over batches, by name; infinite for a single batch.
    num_batches: batches of all epochs.
    batch_size: images a batch.
    num_negatives: K.
    temperature: t.
  """

  info_nce: float
  symmetric_info_nce: float
  class_mean_loss: float
  gap: float
  coverage: float
  collision_probability: float
  collision: float
  supervised_covered: float
  sub_class: float
  no_collision_coverage: float
  curl_supervised: float
  curl_sub_class: float
  proposed_bound: float
  curl_bound: float
  supervised: float
  standard_errors: Mapping[str, float]
  num_batches: int
  batch_size: int
  num_negatives: int
  temperature: float

  def supervised_upper_bound(
    self, coverage: float | None = None, *, notebook_compat: bool = False
  ) -> float:
    """E[l(z, C) | S = C] <= (2 info_nce - sub_class - collision - 2 gap) / coverage.

    Args:
      coverage: by default the measured one; an exact one also serves where none was seen.
      notebook_compat: half of `sub_class`, as the released notebook plots: valid, but looser.

    Returns:
      The bound, infinite for coverage 0.
    """
    sub_class = self.sub_class / 2 if notebook_compat else self.sub_class
    rest = 2 * self.info_nce - sub_class - self.collision - 2 * self.gap
    return _over(rest, self.coverage if coverage is None else coverage)

  def curl_upper_bound(
    self, probability: float | None = None, *, notebook_compat: bool = False
  ) -> float:
    """E[l(z, C) | Col = 0, S = C] <= (info_nce - curl_sub_class - collision - gap) / P(both).

    Args:
      probability: of no collision and coverage; by default the measured one.
      notebook_compat: divides by P(Col = 0) instead, as the released notebook does: no bound while
        a class may be missing.

    Returns:
      The bound, infinite for probability 0.
    """
    measured = self.no_collision_coverage
    if notebook_compat:
      measured = 1 - self.collision_probability
    rest = self.info_nce - self.curl_sub_class - self.collision - self.gap
    return _over(rest, measured if probability is None else probability)


def negative_sample_bounds(
  views: Any,
  labels: Any,
  image_means: Any,
  class_means: Any,
  *,
  batch_size: int,
  temperature: float = 0.5,
  num_negatives: int | None = None,
  epochs: int | None = None,
  seed: int = 0,
  shuffle: bool = True,
  sharding: NamedSharding | None = None,
) -> NegativeSampleBounds:
  """The contrastive loss, its two lower bounds, and all their parts, estimated on held-out images.

  Each epoch shuffles the images and cuts batches; the rest is dropped. In a batch every image is an
  anchor (its first view), with the second view of itself as positive and the second views of the
  others as negatives. Averages over batches are in float64; the number of devices changes nothing.

  Source: the estimator in the released code of Nozawa and Sato, NeurIPS 2021; sub-sampled negatives
  as in Bao et al., ICML 2022. The corrected upper bounds are reconstructed.

  >>> import numpy as np
  >>> views = np.array([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
  >>> found = negative_sample_bounds(views, [0, 1], views[:, 0], views[:, 0], batch_size=2)
  >>> print(f'{found.proposed_bound:.4f} <= {found.info_nce:.4f}')
  0.0635 <= 0.1269

  Args:
    views: `[image, 2, dim]`, or `[pass, image, 2, dim]` with fresh views for every epoch; any float
      dtype, normalized here, compared in float32 (float64 under `jax_enable_x64`).
    labels: `int [image]` from 0; used to measure only.
    image_means: `[image, dim]`, the mean of normalized features over views of an image.
    class_means: `[class, dim]`, the mean of the image means of the training images of a class.
    batch_size: K+1 images, at most as many as there are.
    temperature: t, greater than 0.
    num_negatives: K drawn for each anchor from the others of its batch, without replacement, to
      change K with all else fixed; by default all others.
    epochs: passes over the images, by default one for each pass of `views`; further ones use the
      same features in a new order.
    seed: of the shuffles and of the draws of negatives.
    shuffle: False keeps the order of images.
    sharding: over a mesh of one axis; each device works on batches of its own.

  Returns:
    The averages, see `NegativeSampleBounds`.

  Raises:
    ValueError: images are not labeled, shapes do not fit, a feature is not finite, or a number is
      out of its range.
  """
  check_seed('seed', seed)
  features, codes = _check_features(views, labels, image_means, class_means)
  means = np.asarray(image_means)
  count = features.shape[1]
  size = _check_whole('batch_size', batch_size, 2, count, 'the number of images')
  negatives = size - 1
  if num_negatives is not None:
    below = f'below batch_size {size}'
    negatives = _check_whole('num_negatives', num_negatives, 1, size - 1, below)
  passes = len(features) if epochs is None else _check_whole('epochs', epochs, 1)
  if not (math.isfinite(temperature) and temperature > 0):
    raise ArgumentError('temperature', temperature, 'finite and greater than 0')

  group = max(1, _ROWS // size) * (1 if sharding is None else sharding.mesh.size)
  place = lambda array, spec: (
    jnp.asarray(array)
    if sharding is None
    else jax.device_put(array, NamedSharding(sharding.mesh, spec))
  )
  each = P() if sharding is None else P(sharding.mesh.axis_names[0])
  prototypes = place(np.asarray(class_means), P())
  key = jax.random.key(seed)
  rows: list[tuple[Terms, int]] = []
  done = 0
  for epoch in range(passes):
    order = np.arange(count)
    if shuffle:
      order = np.random.default_rng((seed, epoch)).permutation(count)
    batches = order[: count // size * size].reshape(-1, size)
    current = features[epoch % len(features)]
    for start in range(0, len(batches), group):
      # The last group is filled up with copies, which are left out of the averages again.
      chosen = batches[np.minimum(np.arange(start, start + group), len(batches) - 1)]
      numbers = place(np.arange(done, done + group, dtype=np.uint32), each)
      inputs = [place(array, each) for array in (current[chosen], codes[chosen], means[chosen])]
      found = _terms_of_batches(*inputs, numbers, prototypes, key, temperature, negatives)
      kept = min(group, len(batches) - start)
      rows.append((found, kept))
      done += kept
  # Cut on the host: to slice a split array is a program of its own, with communication.
  gathered = [(jax.device_get(found), kept) for found, kept in rows]
  values = {
    name: np.concatenate([found[name][:kept] for found, kept in gathered]).astype(np.float64)
    for name in gathered[0][0]
  }
  errors = {
    name: float(np.std(value, ddof=1) / math.sqrt(done)) if done > 1 else math.inf
    for name, value in values.items()
  }
  return NegativeSampleBounds(
    **{name: math.fsum(value) / done for name, value in values.items()},
    standard_errors=errors,
    num_batches=done,
    batch_size=size,
    num_negatives=negatives,
    temperature=float(temperature),
  )


@functools.partial(jax.jit, static_argnames=('num_negatives',))
def _terms_of_batches(
  views: jax.Array,
  labels: jax.Array,
  image_means: jax.Array,
  numbers: jax.Array,
  class_means: jax.Array,
  key: jax.Array,
  temperature: jax.Array,
  num_negatives: int,
) -> Terms:
  """The terms of each batch of `[batch, row, ...]`."""
  of_one = lambda views, labels, means, number: terms_of_batch(
    views,
    labels,
    means,
    class_means,
    temperature,
    num_negatives,
    jax.random.fold_in(key, number),
  )
  return jax.vmap(of_one)(views, labels, image_means, numbers)


def terms_of_batch(
  views: jax.Array,
  labels: jax.Array,
  image_means: jax.Array,
  class_means: jax.Array,
  temperature: jax.Array | float,
  num_negatives: int,
  key: jax.Array,
) -> Terms:
  """The terms of one batch: averages over its rows as anchors, by name.

  Args:
    views: `[row, 2, dim]`, normalized here.
    labels: `int [row]`.
    image_means: `[row, dim]`.
    class_means: `[class, dim]`.
    temperature: t.
    num_negatives: K, at most rows - 1.
    key: typed PRNG key of the draw of negatives, unused where all others are negatives.
  """
  dtype = jnp.promote_types(views.dtype, jnp.float32)
  views = l2_normalize(views.astype(dtype))
  anchors, others = views[:, 0], views[:, 1]
  image_means, class_means = image_means.astype(dtype), class_means.astype(dtype)
  rows = jnp.arange(len(labels))
  own = rows[:, None] == rows
  seen = own | _draw_negatives(key, len(labels), num_negatives)

  across = _scores(anchors, others, temperature)
  positive = jnp.diagonal(across)
  info_nce = _log_sum(jnp.where(seen, across, -jnp.inf)) - positive
  symmetric = jnp.mean(
    jnp.stack(
      [
        _log_sum(
          jnp.concatenate(
            [
              jnp.where(seen, logits, -jnp.inf),
              jnp.where(seen & ~own, _scores(view, view, temperature), -jnp.inf),
            ],
            axis=1,
          )
        )
        - positive
        for view, logits in ((anchors, across), (others, across.T))
      ]
    ),
    axis=0,
  )

  classes = jax.nn.one_hot(labels, len(class_means), dtype=dtype)
  counts = jnp.matmul(seen.astype(dtype), classes, precision='highest')
  present = counts > 0.5
  same = counts[rows, labels]
  covered, alone = jnp.all(present, axis=1), same < 1.5
  to_class = _scores(anchors, class_means, temperature)
  truth = to_class[rows, labels]
  sub_loss = _log_sum(jnp.where(present, to_class, -jnp.inf)) - truth
  full_loss = _log_sum(to_class) - truth
  repeated = jnp.where(present, to_class + jnp.log(jnp.maximum(counts, 1)), -jnp.inf)
  gap = jnp.sum(anchors * (class_means[labels] - image_means), axis=1) / temperature

  where = lambda condition, values: jnp.where(condition, values, 0)
  terms = {
    'info_nce': info_nce,
    'symmetric_info_nce': symmetric,
    'class_mean_loss': _log_sum(repeated) - truth,
    'gap': jnp.minimum(gap, 0),
    'coverage': covered.astype(dtype),
    'collision_probability': (~alone).astype(dtype),
    'collision': jnp.log(same),
    'supervised_covered': where(covered, full_loss),
    'sub_class': where(~covered, sub_loss),
    'no_collision_coverage': (alone & covered).astype(dtype),
    'curl_supervised': where(alone & covered, full_loss),
    'curl_sub_class': where(alone & ~covered, sub_loss),
    'supervised': full_loss,
  }
  averages = {name: jnp.mean(values) for name, values in terms.items()}
  halves = averages['supervised_covered'] + averages['sub_class'] + averages['collision']
  averages['proposed_bound'] = halves / 2 + averages['gap']
  averages['curl_bound'] = sum(
    (averages[name] for name in ('curl_supervised', 'curl_sub_class', 'collision')),
    start=averages['gap'],
  )
  return averages


def _draw_negatives(key: jax.Array, rows: int, num_negatives: int) -> jax.Array:
  """Which others are the negatives of each anchor: `bool [row, row]`."""
  index = jnp.arange(rows)
  own = index[:, None] == index
  if num_negatives == rows - 1:
    return ~own
  # Random numbers that differ: the column's number is in the low bits, itself sorts last.
  low = jnp.uint32(2 ** (rows - 1).bit_length() - 1)
  bits = jax.random.bits(key, (rows, rows), jnp.uint32) & ~low | index.astype(jnp.uint32)
  bits = jnp.where(own, jnp.uint32(2**32 - 1), bits)
  last = jnp.sort(bits, axis=1)[:, num_negatives - 1 : num_negatives]
  return (bits <= last) & ~own


def _scores(left: jax.Array, right: jax.Array, temperature: jax.Array | float) -> jax.Array:
  # The default precision of accelerators keeps about three digits of a similarity.
  return jnp.matmul(left, right.T, precision='highest') / temperature


def _log_sum(logits: jax.Array) -> jax.Array:
  return jax.nn.logsumexp(logits, axis=1)


def _over(numerator: float, denominator: float) -> float:
  return numerator / denominator if denominator > 0 else math.inf


def _check_features(
  views: Any, labels: Any, image_means: Any, class_means: Any
) -> tuple[np.ndarray, np.ndarray]:
  """Views as `[pass, image, 2, dim]`, and labels as int32."""
  features = np.asarray(views)
  if features.ndim == 3:
    features = features[None]
  if features.ndim != 4 or features.shape[2] != 2 or 0 in features.shape:
    raise ArgumentError(
      'views', f'shape {np.shape(views)}', '[image, 2, dim] or [pass, image, 2, dim]'
    )
  count, dim = features.shape[1], features.shape[3]
  if labels is None:
    raise ArgumentError('labels', 'None', 'one integer an image: bounds need labeled images')
  codes = np.asarray(labels)
  if codes.shape != (count,) or not np.issubdtype(codes.dtype, np.integer):
    raise ArgumentError(
      'labels', f'{codes.dtype} of shape {codes.shape}', f'integers of shape ({count},)'
    )
  shapes = {'image_means': np.shape(image_means), 'class_means': np.shape(class_means)}
  if shapes['image_means'] != (count, dim):
    raise ArgumentError('image_means', shapes['image_means'], f'({count}, {dim})')
  if len(shapes['class_means']) != 2 or shapes['class_means'][1] != dim:
    raise ArgumentError('class_means', shapes['class_means'], f'[class, {dim}]')
  if codes.min() < 0 or codes.max() >= shapes['class_means'][0]:
    raise ArgumentError(
      'labels',
      f'{codes.min()} to {codes.max()}',
      f'from 0 to {shapes["class_means"][0] - 1}, the rows of class_means',
    )
  for name, array in (
    ('views', features),
    ('image_means', image_means),
    ('class_means', class_means),
  ):
    if not np.isfinite(np.asarray(array)).all():
      raise ArgumentError(name, 'NaN or infinite values', 'finite')
  return features, codes.astype(np.int32)


def _check_whole(name: str, value: Any, least: int, most: int | None = None, of: str = '') -> int:
  try:
    number = operator.index(value)
  except TypeError:
    number = least - 1
  if number < least:
    raise ArgumentError(name, repr(value), f'a whole number >= {least}')
  if most is not None and number > most:
    allowed = of if of.startswith('below') else f'at most {most}, {of}'
    raise ArgumentError(name, number, allowed)
  return number
