"""NT-Xent and InfoNCE: cross-entropy of the positive among the negatives."""

import itertools

import chex
import jax

from ssl_jax.losses import arguments
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.terms import compose, pair_terms, query_terms


def nt_xent(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The normalized temperature-scaled cross-entropy of SimCLR.

  Each of the 2 * batch embeddings is an anchor: `-s⁺/τ + log Σ_{j≠i} exp(s_ij/τ)` over the
  2 * batch - 1 others, averaged over anchors (the authors' code returns twice this mean: one mean
  a view, summed).

  Of more than two views every pair is positive: an anchor has such a term for each of its positives
  p, `-s_ip/τ + log(exp(s_ip/τ) + Σ_j exp(s_ij/τ))` with j over all views of all other images, and
  the mean is over anchors and positives.

  Source: Chen et al., ICML 2020, equation 1; all pairs of views as in Tian, Krishnan and Isola,
  ECCV 2020, whose negatives are those of the positive's view alone.

  >>> import jax.numpy as jnp
  >>> loss, metrics = nt_xent(jnp.eye(3), jnp.eye(3), temperature=0.5)   # -2 + log(e² + 4)
  >>> print(f'{loss:.6f} {metrics["positive_similarity"]:.1f} {metrics["negative_similarity"]:.1f}')
  0.432653 1.0 0.0

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or all views of the images,
      `[view, batch, dim]`, and no `view2`.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: bool `[batch]`, False for images that are padding. Loss, metrics and gradient are those
      without them, whatever they hold; NaN if all are, with a gradient of zero. They keep their
      places in groups and blocks, and devices may have different numbers of them.
    group_size: negatives come from an anchor's own contiguous group of this many images (a paper's
      per-device batch), so that the result does not depend on the hardware; None is one group.
    block_size: embeddings compared at a time, with as many others: memory then grows as
      block_size² + batch * dim, and value and gradient stay the same (in reverse mode; None forms
      the matrix whole and can be differentiated in every way).
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which negatives are looked for:
      gathered, or with a `block_size` passed from device to device round a ring.

  Returns:
    The loss, and scalars: `attract` (mean -s⁺/τ) and `repel` (mean log-sum), which add up to it,
    `positive_similarity`, `negative_similarity` (mean cosines), `effective_negatives` (1 / Σ p² of
    the softmax over an anchor's negatives, averaged), and `contrast_accuracy` (the share of anchors
    more similar to a positive than to any negative).

  Raises:
    ValueError: shapes differ, fewer than 2 images, temperature not positive, `group_size` not a
      divisor of the batch, or `block_size` not a whole number above 0.
  """
  terms = pair_terms(
    view1,
    view2,
    temperature=temperature,
    mask=mask,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  return compose(terms, axis_name=axis_name)


def info_nce(
  query: chex.Array,
  key: chex.Array | None = None,
  *,
  negatives: chex.Array | None = None,
  temperature: float | jax.Array = 0.2,
  mask: chex.Array | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """One-way InfoNCE: cross-entropy of each query's own key among other keys, or a queue.

  `-s⁺/τ + log(exp(s⁺/τ) + Σ_j exp(s_ij/τ))`, averaged over queries. Without `negatives` the keys of
  the other images are the negatives (one direction of MoCo v3 or CLIP); with them they alone are
  (the queue of MoCo). Nothing is stopped: a target network's keys arrive without gradient.

  Of all views of the images, `info_nce(views)` is the mean over all ordered pairs of different
  views as query and key; of two, the symmetric loss.

  Source: van den Oord et al., 2018; He et al., CVPR 2020, equation 1, for the queue.

  >>> import jax.numpy as jnp
  >>> loss, _ = info_nce(jnp.eye(3), jnp.eye(3), temperature=0.5)   # -2 + log(e² + 2)
  >>> queued, _ = info_nce(jnp.eye(3), jnp.eye(3), negatives=-jnp.eye(3)[:1], temperature=0.5)
  >>> print(f'{loss:.6f} {queued:.6f}')
  0.239545 0.090669

  Args:
    query: `[batch, dim]`, any float dtype; need not be normalized. Or all views of the images,
      `[view, batch, dim]`, and no `key`.
    key: `[batch, dim]`; row i is the positive of `query`'s row i.
    negatives: `[negative, dim]`, the same on every device.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`; of queries and keys, not of `negatives`.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`; keys are passed on, `negatives` are not.

  Returns:
    The loss and the metrics of `nt_xent`.

  Raises:
    ValueError: shapes differ, fewer than 2 images without `negatives`, temperature not positive, or
      `block_size` not a whole number above 0.
  """
  if key is None:
    arguments.check_views(query, None, names=('query', 'key'))
    pairs = list(itertools.permutations(query, 2))
  else:
    pairs = [(query, key)]
  found = [
    compose(
      query_terms(
        *pair,
        negatives,
        temperature=temperature,
        mask=mask,
        block_size=block_size,
        axis_name=axis_name,
      ),
      axis_name=axis_name,
    )
    for pair in pairs
  ]
  return jax.tree.map(lambda *values: sum(values) / len(values), *found)
