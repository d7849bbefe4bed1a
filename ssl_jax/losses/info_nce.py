"""Contrastive losses that classify the positive among negatives by a softmax."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, collectives
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import dot_products, l2_normalize


def nt_xent(
  view1: chex.Array,
  view2: chex.Array,
  *,
  temperature: float | jax.Array = 0.5,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The normalised temperature-scaled cross-entropy of SimCLR.

  Each of the 2 * batch embeddings is an anchor: `-s⁺/τ + log Σ_{j≠i} exp(s_ij/τ)` over the
  2 * batch - 1 others, averaged over anchors (the authors' code returns twice this mean: one mean
  a view, summed).

  Source: Chen et al., ICML 2020, equation 1.

  >>> import jax.numpy as jnp
  >>> loss, metrics = nt_xent(jnp.eye(3), jnp.eye(3), temperature=0.5)   # -2 + log(e² + 4)
  >>> print(f'{loss:.6f} {metrics["positive_similarity"]:.1f} {metrics["negative_similarity"]:.1f}')
  0.432653 1.0 0.0

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalised.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which anchors are gathered.

  Returns:
    The loss, and scalars: `attract` (mean -s⁺/τ) and `repel` (mean log-sum), which add up to it,
    `positive_similarity`, `negative_similarity` (mean cosines), `effective_negatives` (1 / Σ p² of
    the softmax over an anchor's negatives, averaged), and `contrast_accuracy` (the share of anchors
    more similar to their positive than to any negative).

  Raises:
    ValueError: shapes differ, fewer than 2 images, or temperature not positive.
  """
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_number('temperature', temperature, minimum=0, exclusive=True, traced=True)
  # Views interleave (image-major), since joining them one after the other would move every row to
  # another device when the batch is sharded.
  anchors = l2_normalize(jnp.stack([view1, view2], axis=1))
  temperature = jnp.asarray(temperature, anchors.dtype)
  num_images, num_views, dim = anchors.shape
  positives = jnp.repeat(jnp.sum(anchors[:, 0] * anchors[:, 1], axis=-1), num_views)
  anchors = anchors.reshape(num_images * num_views, dim)
  candidates = collectives.gather(anchors, axis_name)
  if candidates.shape[0] <= num_views:
    raise ValueError('view1: found 1 image, must be at least 2: others are the negatives')

  rows = collectives.row_indices(anchors.shape[0], axis_name)[:, None]
  columns = jnp.arange(candidates.shape[0])[None, :]
  similarities = dot_products(anchors, candidates)
  logits = jnp.where(rows == columns, -jnp.inf, similarities / temperature)
  log_sum = jax.nn.logsumexp(logits, axis=-1)

  metrics = {
    'attract': -jnp.mean(positives / temperature),
    'repel': jnp.mean(log_sum),
    'positive_similarity': jnp.mean(positives),
    **_negative_metrics(similarities, rows, columns, num_views, temperature),
  }
  metrics = collectives.device_mean(metrics, axis_name)
  return metrics['attract'] + metrics['repel'], jax.lax.stop_gradient(metrics)


def _negative_metrics(
  similarities: jax.Array,
  rows: jax.Array,
  columns: jax.Array,
  num_views: int,
  temperature: jax.Array,
) -> dict[str, jax.Array]:
  """What the anchors see of other images; carries no gradient."""
  similarities = jax.lax.stop_gradient(similarities)
  same_image = rows // num_views == columns // num_views
  logits = jnp.where(same_image, -jnp.inf, similarities / temperature)
  # 1 / Σ p² = (Σ e)² / Σ e², in logs.
  log_effective = 2 * jax.nn.logsumexp(logits, axis=-1) - jax.nn.logsumexp(2 * logits, axis=-1)
  # Both sides from one matrix: of a collapsed batch, rounding must not decide who is nearer.
  nearest_positive = jnp.max(
    jnp.where(same_image & (rows != columns), similarities, -jnp.inf), axis=-1
  )
  nearest_negative = jnp.max(jnp.where(same_image, -jnp.inf, similarities), axis=-1)
  num_negatives = similarities.shape[1] - num_views
  return {
    'negative_similarity': jnp.sum(jnp.where(same_image, 0, similarities), axis=-1).mean()
    / num_negatives,
    'effective_negatives': jnp.mean(jnp.exp(log_effective)),
    'contrast_accuracy': jnp.mean(nearest_positive > nearest_negative, dtype=similarities.dtype),
  }
