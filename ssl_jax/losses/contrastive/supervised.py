"""Contrastive losses that use labels: SupCon and negatives-only supervision."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.terms import compose, other_classes, pair_terms, same_class


def supervised_contrastive(
  view1: chex.Array,
  view2: chex.Array,
  labels: chex.Array,
  *,
  temperature: float | jax.Array = 0.1,
  base_temperature: float | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """SupCon: all views of the anchor's class are its positives.

  `-1/|P| Σ_{p in P} s_ip/τ + log Σ_{j≠i} exp(s_ij/τ)`, averaged over the 2 * batch anchors, with P
  all other embeddings of the anchor's class. This is the variant with the sum outside the
  logarithm.

  Source: Khosla et al., NeurIPS 2020, equation 2.

  >>> import jax.numpy as jnp
  >>> labels = jnp.array([0, 1, 2])   # one image a class: nt_xent
  >>> loss, _ = supervised_contrastive(jnp.eye(3), jnp.eye(3), labels, temperature=0.5)
  >>> print(f'{loss:.6f}')
  0.432653

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    labels: `[batch]`, whole numbers.
    temperature: τ > 0; may be a traced scalar.
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
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_per_image('labels', labels, view1.shape[0], whole=True)
  terms = pair_terms(
    view1,
    view2,
    same_class,
    temperature=temperature,
    metadata={'label': jnp.asarray(labels)},
    block_size=block_size,
    axis_name=axis_name,
  )
  # The image's other view is always there: the count is never 0.
  mean_positive = terms.sums.positive_sum / terms.sums.positive_count
  scale = 1.0 if base_temperature is None else terms.temperature / base_temperature
  return compose(
    terms._replace(positives=mean_positive),
    attract_weight=scale,
    repel_weight=scale,
    positive_in_denominator=0.0,
    axis_name=axis_name,
  )


def negatives_supervised_contrastive(
  view1: chex.Array,
  view2: chex.Array,
  labels: chex.Array,
  *,
  temperature: float | jax.Array = 0.5,
  positive_in_denominator: float = 1.0,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NSCL, negatives-only supervision: the positive is the other view, negatives other classes.

  `-s⁺/τ + log(κ exp(s⁺/τ) + Σ_j exp(s_ij/τ))` over both views of the images of other classes,
  averaged over the 2 * batch anchors. An anchor without such images, at κ = 0, is only attracted.

  Source: Luthra, Yang and Galanti, 2025; κ = 1 is their code's.

  >>> import jax.numpy as jnp
  >>> labels = jnp.array([0, 0, 1])
  >>> loss, _ = negatives_supervised_contrastive(jnp.eye(3), jnp.eye(3), labels)
  >>> print(f'{loss:.5f}')   # 2/3 log(e² + 2) + 1/3 log(e² + 4) - 2
  0.30391

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    labels: `[batch]`, whole numbers.
    temperature: τ > 0; may be a traced scalar.
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
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_per_image('labels', labels, view1.shape[0], whole=True)
  terms = pair_terms(
    view1,
    view2,
    other_classes,
    temperature=temperature,
    metadata={'label': jnp.asarray(labels)},
    block_size=block_size,
    axis_name=axis_name,
  )
  return compose(terms, positive_in_denominator=float(positive_in_denominator), axis_name=axis_name)
