"""Corrections of the sum over negatives: for false negatives, and toward hard ones."""

import math

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.contrastive.terms import compose, pair_terms


def debiased_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  class_prior: float = 0.1,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NT-Xent whose negatives' sum is corrected for those of the anchor's own class.

  `-log(p / (p + N'))` with p = exp(s⁺/τ), the M = 2 * batch - 2 negatives' sum N, and
  `N' = max((N - M τ⁺ p) / (1 - τ⁺), M exp(-1/τ))`, averaged over the 2 * batch anchors.

  Source: Chuang et al., NeurIPS 2020.

  >>> import jax.numpy as jnp
  >>> loss, _ = debiased_contrastive(jnp.eye(3), jnp.eye(3), class_prior=0.0)   # is nt_xent
  >>> print(f'{loss:.6f}')
  0.432653

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    class_prior: τ⁺ in [0, 1), the probability that a negative has the anchor's class.
    group_size: see `nt_xent`.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss and the metrics of `nt_xent`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, temperature not positive, `class_prior` not in
      [0, 1), `group_size` not a divisor of the batch, or `block_size` not a whole number above 0.
  """
  return hard_negative_contrastive(
    view1,
    view2,
    temperature=temperature,
    mask=mask,
    class_prior=class_prior,
    hardness=0.0,
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )


def hard_negative_contrastive(
  view1: chex.Array,
  view2: chex.Array | None = None,
  *,
  temperature: float | jax.Array = 0.5,
  mask: chex.Array | None = None,
  class_prior: float = 0.1,
  hardness: float = 1.0,
  group_size: int | None = None,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The debiased loss with negatives weighed by their similarity to the power of a hardness.

  `debiased_contrastive` with N = Σ n^(β+1) / mean(n^β) over the negatives' n = exp(s/τ).

  Source: Robinson et al., ICLR 2021 (HCL).

  >>> import jax.numpy as jnp
  >>> loss, _ = hard_negative_contrastive(jnp.eye(3), jnp.eye(3), class_prior=0.0, hardness=2.0)
  >>> print(f'{loss:.6f}')
  0.432653

  Args:
    view1: `[batch, dim]`, any float dtype; need not be normalized. Or see `nt_xent`: all views.
    view2: `[batch, dim]`; row i is another view of the image of `view1`'s row i.
    temperature: τ > 0; may be a traced scalar.
    mask: see `nt_xent`.
    class_prior: τ⁺ in [0, 1), the probability that a negative has the anchor's class.
    hardness: β >= 0; 0 weighs all alike.
    group_size: see `nt_xent`.
    block_size: see `nt_xent`.
    axis_name: see `nt_xent`.

  Returns:
    The loss and the metrics of `nt_xent`.

  Raises:
    ValueError: shapes differ, fewer than 2 images, temperature not positive, `class_prior` not in
      [0, 1), `hardness` negative, `group_size` not a divisor of the batch, or `block_size` not a
      whole number above 0.
  """
  arguments.check_number('class_prior', class_prior, at_least=0, below=1)
  arguments.check_number('hardness', hardness, at_least=0)
  class_prior, hardness = float(class_prior), float(hardness)
  terms = pair_terms(
    view1,
    view2,
    temperature=temperature,
    mask=mask,
    powers=(hardness + 1, hardness) if hardness else (1.0,),
    group_size=group_size,
    block_size=block_size,
    axis_name=axis_name,
  )
  # Padding may leave an anchor without negatives: its sum over them, 0, stays what it is.
  count = terms.sums.negative_count
  log_count = jnp.log(jnp.maximum(count, 1))
  log_sum = terms.sums.log_sums[0]
  if hardness:
    log_mean = jnp.where(count == 0, 0, terms.sums.log_sums[1]) - log_count
    log_sum = log_sum - log_mean
  if class_prior:
    log_false = terms.positives + log_count + math.log(class_prior)
    log_sum = _log_difference(log_sum, log_false) - math.log1p(-class_prior)
    log_sum = jnp.maximum(log_sum, log_count - 1 / terms.temperature)
    log_sum = jnp.where(count == 0, -jnp.inf, log_sum)
  return compose(terms, log_negatives=log_sum, axis_name=axis_name)


def _log_difference(larger: jax.Array, smaller: jax.Array) -> jax.Array:
  """log(exp(larger) - exp(smaller)); -inf, with a gradient of zero, where that is not positive."""
  positive = larger > smaller
  gap = jnp.where(positive, smaller - larger, -1.0)
  return jnp.where(positive, larger + jnp.log(-jnp.expm1(gap)), -jnp.inf)
