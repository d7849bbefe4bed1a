"""SGD, LARS, LARC, Adam and AdamW as Optax transformations, with a mask for weight decay."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from ssl_jax.arguments import ArgumentError, check_choice, check_number

NAMES = ('sgd', 'lars', 'larc', 'adamw', 'adam')
EXCLUSIONS = ('none', 'norm_and_bias', 'legacy_triplet', 'legacy_iccl')


def build(
  name: str,
  *,
  schedule: optax.ScalarOrSchedule,
  momentum: float = 0.9,
  nesterov: bool = False,
  beta1: float = 0.9,
  beta2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  weight_decay_exclude: str = 'norm_and_bias',
  excluded_lr_scale: float = 1.0,
  trust_coefficient: float = 1e-3,
  clip_norm: float = 0.0,
) -> optax.GradientTransformation:
  """An update rule.

  * 'sgd', as in PyTorch: `d = g + weight_decay * w; v = momentum * v + d; w -= rate * v`.
  * 'lars': `v = momentum * v + rate * ratio * (g + weight_decay * w); w -= v`, `ratio` as in
    `scale_by_trust_ratio`; excluded parameters have `ratio` 1, so they move at the full rate.
  * 'larc': `v = momentum * v + ratio * (g + weight_decay * w); w -= rate * v`, `ratio` as in
    `scale_by_local_rate`: every parameter has one, excluded ones without weight decay.
  * 'adam': weight decay is added to the gradient, as in 'sgd'.
  * 'adamw': weight decay is decoupled, `w -= rate * weight_decay * w` (Loshchilov, Hutter, 2019).

  Args:
    name: one of the above.
    schedule: the learning rate, constant or by the number of updates done.
    momentum: decay of the momentum buffer of 'sgd', 'lars' and 'larc'; 0 has no buffer.
    nesterov: Nesterov momentum in the same three.
    beta1, beta2, eps: decay rates of the two moments and denominator offset of 'adam' and 'adamw'.
    weight_decay: coefficient, for the parameters that are not excluded.
    weight_decay_exclude: which parameters have no weight decay, and in 'lars' no ratio; one of
      `EXCLUSIONS`, see `weight_decay_mask`.
    excluded_lr_scale: learning rate of these parameters over that of the others: 0.024 in Barlow
      Twins (Zbontar et al., ICML 2021), 0.0048 against 0.2.
    trust_coefficient: factor of the ratio in 'lars' and 'larc'.
    clip_norm: scale gradients down to this global norm before anything else; 0 does not.

  Raises:
    ValueError: an argument is out of range.
  """
  check_choice('name', name, NAMES)
  check_choice('weight_decay_exclude', weight_decay_exclude, EXCLUSIONS)
  for argument, number in (('momentum', momentum), ('beta1', beta1), ('beta2', beta2)):
    check_number(argument, number, at_least=0, below=1)
  for argument, number in (
    ('weight_decay', weight_decay),
    ('clip_norm', clip_norm),
    ('excluded_lr_scale', excluded_lr_scale),
  ):
    check_number(argument, number, at_least=0)
  for argument, number in (('trust_coefficient', trust_coefficient), ('eps', eps)):
    check_number(argument, number, above=0)

  mask = lambda params: weight_decay_mask(params, weight_decay_exclude)
  decay = optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity()
  rate = optax.scale_by_learning_rate(schedule)
  adam = optax.scale_by_adam(beta1, beta2, eps)
  trace = optax.trace(momentum, nesterov) if momentum else optax.identity()
  trust = (trust_coefficient, weight_decay, weight_decay_exclude)
  rules = {
    'sgd': lambda: (decay, trace, rate),
    'lars': lambda: (scale_by_trust_ratio(*trust), rate, trace),
    'larc': lambda: (scale_by_local_rate(*trust), trace, rate),
    'adam': lambda: (decay, adam, rate),
    'adamw': lambda: (adam, decay, rate),
  }
  before = (optax.clip_by_global_norm(clip_norm),) if clip_norm else ()
  after: tuple[optax.GradientTransformation, ...] = ()
  if excluded_lr_scale != 1:
    # A constant factor on the updates is one on the rate, be it inside the momentum or outside.
    left_out = lambda params: jax.tree.map(operator.not_, mask(params))
    after = (optax.masked(optax.scale(excluded_lr_scale), left_out),)
  return optax.chain(*before, *rules[name](), *after)


def weight_decay_mask(params: chex.ArrayTree, exclude: str = 'norm_and_bias') -> Any:
  """Which parameters have weight decay and LARS's ratio: a tree of bools like `params`.

  Args:
    params: the parameters; only names and ranks are looked at.
    exclude: what is left out.
      'none': nothing.
      'norm_and_bias': every parameter of rank 0 or 1.
      'legacy_triplet': the same, but the gains of the encoder's shortcut norms stay in, as
        the regular expression of Wang et al. (ICCV 2021) has it.
      'legacy_iccl': the same, and the gains of the norms of all networks but `params['encoder']`
        stay in too, as the regular expression of Ge et al. (IEEE TIP 2023) has it.

  Raises:
    ValueError: `exclude` is none of these.
  """
  check_choice('exclude', exclude, EXCLUSIONS)

  def stays(path: tuple[Any, ...], param: chex.Array) -> bool:
    if exclude == 'none' or jnp.ndim(param) > 1:
      return True
    names = [str(getattr(entry, 'key', entry)) for entry in path]
    if exclude == 'norm_and_bias' or names[-1] != 'scale':
      return False
    return 'shortcut_norm' in names or (exclude == 'legacy_iccl' and 'encoder' not in names)

  return jax.tree_util.tree_map_with_path(stays, params)


def scale_by_trust_ratio(
  trust_coefficient: float = 1e-3, weight_decay: float = 0.0, exclude: str = 'norm_and_bias'
) -> optax.GradientTransformation:
  """`ratio * (g + weight_decay * w)`, the core of LARS, for every parameter that is not excluded.

  `ratio = trust_coefficient * |w| / (|g| + weight_decay * |w|)`, as You et al. (2017) write it and
  the official code of Wang et al. (ICCV 2021) and Ge et al. (IEEE TIP 2023) computes it.
  `optax.lars` divides by `|g + weight_decay * w|` instead (the same without weight decay) and takes
  a ratio of 1 where a norm is 0. Here a parameter that is all 0 gets no update, and so never leaves
  0: exclude biases. Where the denominator is 0 the update is 0. Excluded parameters pass unchanged.
  With `weight_decay=0` the ratio still applies; lightly's LARS then leaves it out and takes the
  plain momentum step of SGD.
  """

  def scale(adapt: bool, grad: chex.Array, param: chex.Array) -> chex.Array:
    if not adapt:
      return grad
    param_norm, grad_norm = _norm(param), _norm(grad)
    denominator = grad_norm + weight_decay * param_norm
    safe = jnp.where(denominator > 0, denominator, 1)
    ratio = jnp.where(denominator > 0, trust_coefficient * param_norm / safe, 0)
    return ratio * (grad + weight_decay * param)

  return _scale_each(scale, exclude)


def scale_by_local_rate(
  trust_coefficient: float = 1e-3, weight_decay: float = 0.0, exclude: str = 'norm_and_bias'
) -> optax.GradientTransformation:
  """`ratio * (g + decay * w)`, the core of LARC without clipping, for every parameter.

  `ratio = trust_coefficient * |w| / (|g| + decay * |w| + 1e-8)`; `decay` is `weight_decay`, and 0
  for excluded parameters, which have a ratio all the same. Where either norm is 0 the gradient
  passes as it is, without weight decay. Source: NVIDIA's apex, by which Nozawa and Sato (NeurIPS
  2021) train.
  """

  def scale(decays: bool, grad: chex.Array, param: chex.Array) -> chex.Array:
    decay = weight_decay if decays else 0.0
    param_norm, grad_norm = _norm(param), _norm(grad)
    ratio = trust_coefficient * param_norm / (grad_norm + decay * param_norm + 1e-8)
    moves = (param_norm > 0) & (grad_norm > 0)
    return jnp.where(moves, ratio * (grad + decay * param), grad)

  return _scale_each(scale, exclude)


def _scale_each(
  scale: Callable[[bool, chex.Array, chex.Array], chex.Array], exclude: str
) -> optax.GradientTransformation:
  """`scale(whether it is adapted, gradient, parameter)` of every parameter."""

  def update(
    updates: chex.ArrayTree, state: optax.EmptyState, params: chex.ArrayTree | None = None
  ) -> tuple[chex.ArrayTree, optax.EmptyState]:
    if params is None:
      raise ArgumentError('params', 'None', 'given: the ratios need their norms')
    return jax.tree.map(scale, weight_decay_mask(params, exclude), updates, params), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _norm(values: chex.Array) -> jax.Array:
  return jnp.sqrt(jnp.sum(jnp.square(values)))
