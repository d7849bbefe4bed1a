"""InfoNCE against a given number of negatives, drawn for each anchor."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.losses import arguments, collectives, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.row_sums import anchor_sums, check_tiling
from ssl_jax.losses.contrastive.terms import Terms, compose, query_terms
from ssl_jax.losses.contrastive.tile import PairMask, RowMetadata
from ssl_jax.losses.normalize import l2_normalize, promote


def instance_contrastive(
  anchor: chex.Array,
  positive: chex.Array,
  *,
  num_negatives: int | None = None,
  key: chex.PRNGKey | None = None,
  replacement: bool = False,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  normalize: bool = True,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss of K negatives, `-z·z⁺/τ + log(exp(z·z⁺/τ) + Σ_k exp(z·z⁻_k/τ))`, over anchors.

  With K = None the negatives are the batch - 1 other rows of `positive` (Nozawa and Sato). With a
  number, every anchor draws K other images of its own, and of each one of its two views by the flip
  of a coin (Bao et al.), which separates K from the batch size. Their training leaves embeddings
  unnormalized and has τ = 1; their evaluation normalizes.

  Source: Nozawa and Sato, NeurIPS 2021; Bao, Nagano and Nozawa, ICML 2022.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> whole, _ = instance_contrastive(jnp.eye(3), jnp.eye(3))   # -2 + log(e² + 2)
  >>> one, _ = instance_contrastive(jnp.eye(3), jnp.eye(3), num_negatives=1, key=jax.random.key(0))
  >>> print(f'{whole:.6f} {one:.6f}')
  0.239545 0.126928

  Args:
    anchor: `[batch, dim]`, any float dtype.
    positive: `[batch, dim]`; row i is another view of the image of `anchor`'s row i.
    num_negatives: K >= 1; None for all other images.
    key: determines which negatives are drawn: a function of it and of the anchor's position in the
      global batch, whatever the devices. To be given with `num_negatives`.
    replacement: whether an image may be drawn more than once; it then counts as often.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`. Negatives are drawn as from the batch without padding; where that has less
      than K, the loss is NaN.
    normalize: whether rows are scaled to unit length first.
    group_size: negatives come from the anchor's own contiguous group of this many images (the batch
      of one device in Nozawa and Sato), so that the result does not depend on the hardware.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss and the metrics of `nt_xent`. A negative drawn several times counts once in
    `negative_similarity`, and as one with a larger weight in `effective_negatives`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, temperature not positive, K not a whole number
      from 1 on, K larger than batch - 1 (or group_size - 1) without replacement, a key without K or
      K without a key, `group_size` not a divisor of the batch, or `block_size` not a whole number
      above 0.
  """
  arguments.check_embeddings(anchor=anchor, positive=positive)
  if (num_negatives is None) != (key is None):
    found = 'no key' if key is None else 'a key without num_negatives'
    raise ArgumentError('key', found, 'given with num_negatives and only then')
  num_local = anchor.shape[0]
  num_images = num_local * collectives.axis_size(axis_name)
  if num_images < 2:
    raise ArgumentError('anchor', '1 image', 'at least 2: others are the negatives')
  check_tiling(num_local, group_size, block_size, axis_name)
  if num_negatives is None:
    terms = query_terms(
      anchor,
      positive,
      temperature=temperature,
      mask=mask,
      normalize=normalize,
      group_size=group_size,
      block_size=block_size,
      axis_name=axis_name,
    )
    return compose(terms, axis_name=axis_name)

  _check_key(key)
  check_whole('num_negatives', num_negatives)
  num_others = (group_size or num_images) - 1
  if not replacement and num_negatives > num_others:
    whole = 'group' if group_size else 'batch'
    allowed = f'at most {num_others} without replacement, the other images of the {whole}'
    raise ArgumentError('num_negatives', num_negatives, allowed)
  arguments.check_number('temperature', temperature, above=0, traced=True)
  mask = arguments.check_mask(mask, num_local)
  views = row_means.without_padding(jnp.stack([anchor, positive], axis=1), mask)
  views = l2_normalize(views) if normalize else promote(views)
  temperature = jnp.asarray(temperature, views.dtype)
  images = collectives.row_indices(num_local, axis_name)
  positives = jnp.sum(views[:, 0] * views[:, 1], axis=-1) / temperature
  if mask is None:
    drawn = _draw(key, images, num_others, num_negatives, replacement)
  else:
    drawn, enough = _draw_real(key, mask, num_others + 1, num_negatives, replacement, axis_name)
    positives = jnp.where(enough | ~mask, positives, jnp.nan)
  candidates = views.reshape(2 * num_local, -1)
  sums = anchor_sums(
    views[:, 0] / temperature,
    candidates,
    {'index': images, 'drawn': drawn},
    {'index': collectives.row_indices(2 * num_local, axis_name)},
    functools.partial(_drawn_negatives, views.dtype),
    block_size=block_size,
    axis_name=axis_name,
  )
  return compose(Terms(positives, sums, temperature, mask), axis_name=axis_name)


def _check_key(key: chex.PRNGKey) -> None:
  arguments.check_array('key', key)
  typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  if key.ndim != (0 if typed else 1):
    raise ArgumentError('key', f'shape {key.shape}', 'one key of jax.random')


def _draw(
  key: chex.PRNGKey,
  images: jax.Array,
  num_others: chex.Numeric,
  num_negatives: int,
  replacement: bool,
  places: jax.Array | None = None,
) -> jax.Array:
  """Each anchor's negatives as sorted positions 2 * image + view: int32 `[anchor, K]`.

  They are of the anchor's contiguous group, which it and `num_others` make up.

  Args:
    key: of the batch.
    images: the position of each anchor's image in the batch, `[anchor]`.
    num_others: the other images of a group; a number, or one an anchor.
    num_negatives: K.
    replacement: whether an image may be drawn more than once.
    places: the position of each anchor's image in its group; None for groups of one size.
  """
  if places is None:
    places = images % (num_others + 1)

  # Dtypes are given, since the default ones draw other numbers under `jax_enable_x64`.
  def draw_one(image: jax.Array, place: jax.Array, num_others: chex.Numeric) -> jax.Array:
    image_key, view_key = jax.random.split(jax.random.fold_in(key, image))
    if replacement:
      others = jax.random.randint(image_key, (num_negatives,), 0, num_others, jnp.int32)
    else:
      others = _subset(image_key, num_others, num_negatives)
    others = others + (others >= place) + (image - place)
    coins = jax.random.randint(view_key, (num_negatives,), 0, 2, jnp.int32)
    return jnp.sort(2 * others + coins).astype(jnp.int32)

  return jax.vmap(draw_one, in_axes=(0, 0, None if jnp.ndim(num_others) == 0 else 0))(
    images, places, num_others
  )


def _draw_real(
  key: chex.PRNGKey,
  mask: jax.Array,
  group_size: int,
  num_negatives: int,
  replacement: bool,
  axis_name: AxisName,
) -> tuple[jax.Array, jax.Array]:
  """`_draw` of the batch without padding, as positions in the one with it.

  Returns:
    int32 `[anchor, K]`, and whether the anchor's group has enough other images: bool `[anchor]`.
  """
  images = collectives.row_indices(mask.shape[0], axis_name)
  real = collectives.gather(collectives.varying_as(mask, images), axis_name)
  groups = real.reshape(-1, group_size)
  sizes = jnp.sum(groups, axis=1, dtype=jnp.int32)
  num_others = sizes[images // group_size] - 1
  place_of = jnp.cumsum(groups, axis=1, dtype=jnp.int32).reshape(-1) - 1
  index_of = jnp.cumsum(real, dtype=jnp.int32) - 1
  drawn = _draw(
    key,
    index_of[images],
    jnp.maximum(num_others, 1),
    num_negatives,
    replacement,
    place_of[images],
  )
  # The real images in order, padding after them; what too small groups draw is not used.
  order = jnp.argsort(~real, stable=True)
  positions = order[jnp.clip(drawn // 2, 0, real.shape[0] - 1)]
  enough = num_others >= (1 if replacement else num_negatives)
  return (2 * positions + drawn % 2).astype(jnp.int32), enough


def _subset(key: chex.PRNGKey, size: chex.Numeric, count: int) -> jax.Array:
  """`count` different numbers below `size`, every set of them as likely: int32 `[count]`.

  Floyd's algorithm (Bentley and Floyd, CACM 1987): nothing is as long as `size`, unlike in a
  permutation of which the first numbers are taken.
  """
  newest = size - count + jnp.arange(count, dtype=jnp.int32)
  tried = jax.random.randint(key, (count,), 0, newest + 1, jnp.int32)

  def add(place: jax.Array, chosen: jax.Array) -> jax.Array:
    taken = jnp.any(chosen == tried[place])
    return chosen.at[place].set(jnp.where(taken, newest[place], tried[place]))

  none = collectives.varying_as(jnp.full(count, -1, jnp.int32), tried)
  return jax.lax.fori_loop(0, count, add, none)


def _drawn_negatives(dtype: jnp.dtype, rows: RowMetadata, columns: RowMetadata) -> PairMask:
  """Counts a candidate as often as the anchor has drawn it."""
  index = columns['index']
  # Looked up by draw, of which there are few, and not by pair: only the counts are as large as the
  # matrix. The sort is stable, so what pads a block comes after the row that it repeats.
  order = jnp.argsort(index)
  ordered = index[order]
  count_dtype = np.min_scalar_type(rows['drawn'].shape[1])

  def times(drawn: jax.Array) -> jax.Array:
    place = jnp.minimum(jnp.searchsorted(ordered, drawn), index.shape[0] - 1)
    is_here = (ordered[place] == drawn).astype(count_dtype)
    return jnp.zeros(index.shape, count_dtype).at[order[place]].add(is_here)

  count = jax.vmap(times)(rows['drawn'])
  own = index[None] == 2 * rows['index'][:, None] + 1
  return PairMask(count > 0, own, jnp.log(jnp.maximum(count, 1).astype(dtype)))
