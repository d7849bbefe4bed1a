"""Contrastive losses that use labels: SupCon and negatives-only supervision."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.terms import compose, other_classes, pair_terms, same_class
from ssl_jax.losses.normalize import l2_normalize


def supervised_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  labels: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.1,
  mask: chex.Array | None = None,
  base_temperature: float | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """SupCon: all views of the anchor's class are its positives.

  `-1/|P| Σ_{p in P} s_ip/τ + log Σ_{j≠i} exp(s_ij/τ)`, averaged over the view * batch anchors, with
  P all other embeddings of the anchor's class. This is the variant with the sum outside the
  logarithm. Of a single view an image may have no positive; it is then a negative to others and no
  anchor, and the loss is 0 where there is no anchor at all.

  Source: Khosla et al., NeurIPS 2020, equation 2.

  >>> import jax.numpy as jnp
  >>> labels = jnp.array([0, 1, 2])   # one image a class: nt_xent
  >>> loss, _ = supervised_contrastive(jnp.eye(3), jnp.eye(3), labels, temperature=0.5)
  >>> print(f'{loss:.6f}')
  0.432653

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Without `view2` the only view,
      or all views, `[view, batch, dim]`.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    labels: `[batch]`, whole numbers; to be given. -1 is no label: the image is a class of its own,
      whose positives are its other views, and a negative to all others.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    base_temperature: multiplies the loss by τ / base_temperature, as the authors' code does (0.07
      there); None does not.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`; `labels` are then those of the local images.

  Returns:
    The loss and the metrics of `nt_xent`: `positive_similarity` is over all of the class, and
    negatives are those of other classes.

  Raises:
    ValueError: shapes differ, fewer than 2 images, labels that are not whole numbers, a temperature
      not positive, or `block_size` not a whole number above 0.
  """
  if base_temperature is not None:
    arguments.check_number('base_temperature', base_temperature, above=0)
  arguments.check_views(view1, view2, fewest=1)
  terms = pair_terms(
    view1,
    view2,
    same_class,
    fewest_views=1,
    temperature=temperature,
    mask=mask,
    metadata={'label': arguments.check_labels(labels, view1.shape[-2])},
    block_size=block_size,
    axis_name=axis_name,
  )
  # Padding has no positive, nor may an image of a single view.
  count, is_anchor = terms.sums.positive_count, terms.mask
  of_none: float | jax.Array = jnp.nan
  if view2 is None and (jnp.ndim(view1) == 2 or view1.shape[0] == 1):
    is_anchor = count > 0
    # Zero, but for rows that are not finite, and where all rows are padding.
    each = row_means.means({'row': jnp.sum(l2_normalize(view1), axis=-1)}, mask, axis_name)
    of_none = 0 * jax.lax.stop_gradient(each['row'])
    is_anchor = is_anchor if terms.mask is None else is_anchor & terms.mask
  mean_positive = terms.sums.positive_sum / jnp.maximum(count, 1)
  scale = 1.0 if base_temperature is None else terms.temperature / base_temperature
  return compose(
    terms._replace(positives=mean_positive, mask=is_anchor),
    attract_weight=scale,
    repel_weight=scale,
    positive_in_denominator=0.0,
    of_none=of_none,
    axis_name=axis_name,
  )


def negatives_supervised_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  labels: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  positive_in_denominator: float = 1.0,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NSCL, negatives-only supervision: the positive is the other view, negatives other classes.

  `-s⁺/τ + log(κ exp(s⁺/τ) + Σ_j exp(s_ij/τ))` over both views of the images of other classes,
  averaged over the view * batch anchors. An anchor without such images is at κ = 0 only attracted.

  Source: Luthra, Yang and Galanti, 2025; κ = 1 is their code's.

  >>> import jax.numpy as jnp
  >>> labels = jnp.array([0, 0, 1])
  >>> loss, _ = negatives_supervised_contrastive(jnp.eye(3), jnp.eye(3), labels)
  >>> print(f'{loss:.5f}')   # 2/3 log(e² + 2) + 1/3 log(e² + 4) - 2
  0.30391

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    labels: `[batch]`, whole numbers; to be given. -1 is no label: the image is a class of its own.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    positive_in_denominator: κ >= 0.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`; `labels` are then those of the local images.

  Returns:
    The loss and the metrics of `nt_xent`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, labels that are not whole numbers, a number
      outside its range, or `block_size` not a whole number above 0.
  """
  arguments.check_number('positive_in_denominator', positive_in_denominator, at_least=0)
  arguments.check_views(view1, view2)
  terms = pair_terms(
    view1,
    view2,
    other_classes,
    temperature=temperature,
    mask=mask,
    metadata={'label': arguments.check_labels(labels, view1.shape[-2])},
    block_size=block_size,
    axis_name=axis_name,
  )
  return compose(terms, positive_in_denominator=float(positive_in_denominator), axis_name=axis_name)
