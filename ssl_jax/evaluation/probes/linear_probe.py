"""The linear probe: one layer trained on frozen features, for a grid of settings at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.arguments import ArgumentError, check_seed
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.features import l2_normalize
from ssl_jax.evaluation.neighbors.knn import count_classes
from ssl_jax.evaluation.probes.label_subset import hold_out
from ssl_jax.evaluation.probes.recipes import ProbeRecipe, learning_rate_factors

_SCORES = 2**24  # held at once while measuring
_READ = 2**22  # numbers read at once while standardizing


@dataclasses.dataclass(frozen=True)
class LinearProbeResult:
  """What `linear_probe` found. Accuracies are shares from 0 to 1.

  Attributes:
    accuracy: on test, after the last epoch: the figure to report.
    best_accuracy: on test, of the best epoch on test. It is chosen by test labels; some papers
      report it.
    top5: on test, after the last epoch; None with fewer than six classes.
    held_out_accuracy: of the chosen setting on the held-out part of the training rows; None where
      there was nothing to choose, or nothing to choose on.
    learning_rate: the chosen one.
    weight_decay: the chosen one.
    members: the grid, (learning rate, weight decay).
    member_accuracies: `float64 [member]`, held-out accuracies; NaN where one diverged or was not
      measured.
    diverged: the members whose training left the finite numbers.
    per_epoch: `float64 [epoch]`, test accuracies of the chosen setting.
    predictions: `int32 [test]`, after the last epoch.
  """

  accuracy: float
  best_accuracy: float
  top5: float | None
  held_out_accuracy: float | None
  learning_rate: float
  weight_decay: float
  members: tuple[tuple[float, float], ...]
  member_accuracies: np.ndarray
  diverged: tuple[tuple[float, float], ...]
  per_epoch: np.ndarray
  predictions: np.ndarray


def linear_probe(
  train: Any,
  train_labels: Any,
  test: Any,
  test_labels: Any,
  *,
  recipe: ProbeRecipe,
  held_out_fraction: float = 0.1,
  num_classes: int | None = None,
  seed: int = 0,
) -> LinearProbeResult:
  """Trains a linear classifier on frozen features and measures it.

  All members of the recipe's grid see the same batches in one compiled program. The one with the
  highest accuracy on a held-out, stratified part of the training rows after the last epoch is
  chosen (of equal ones, that of the lowest cross-entropy), trained anew on all training rows and
  measured on test; test labels choose nothing. A member that diverges never wins. Where no class
  has two rows, nothing can be held out, and `recipe.middle` is taken.

  The cross-entropy is averaged over each batch; the last batch of an epoch may be smaller. One
  device computes everything, in float32, so the result does not depend on their number.

  Source: the linear evaluation of Zhang et al., ECCV 2016, as the papers of `PRESETS` run it;
  choosing on held-out training rows is ours.

  Args:
    train: `[n, dim]`, or `[n, view, dim]`, features of so many augmented passes: epoch e is trained
      on view e mod V, and held-out rows are measured on view 0. Real numbers of any dtype, on the
      host; one view lies on the device.
    train_labels: `int [n]`, from 0.
    test: `[test, dim]`.
    test_labels: `int [test]`; labels that training lacks count as wrong.
    recipe: of `PRESETS`, or your own.
    held_out_fraction: of the training rows of each class, above 0 and below 1.
    num_classes: by default the largest training label plus one.
    seed: of the initial weights, the order of rows and the held-out part; 0 or greater.

  Returns:
    The measurement, see `LinearProbeResult`.

  Raises:
    ValueError: shapes or labels do not fit, a feature is not finite, an option is out of range, or
      every setting diverged.
  """
  check_seed('seed', seed)
  train, test = _check_features(train, test)
  train_labels = check_labels('train_labels', train_labels, 'train', len(train))
  test_labels = check_labels('test_labels', test_labels, 'test', len(test))
  classes = count_classes(train_labels, num_classes)
  fit, held = hold_out(train_labels, held_out_fraction, seed=seed)

  members = recipe.members
  accuracies = np.full(len(members), np.nan)
  finite = np.ones(len(members), bool)
  ranked = np.array([recipe.middle])
  chosen_on_held_out = len(members) > 1 and len(held) > 0
  if chosen_on_held_out:
    probe = _Probe(train, train_labels, fit, recipe, members, classes, seed)
    for trained in probe.epochs():
      parameters = trained
    found = probe.measure(parameters, train[held, 0], train_labels[held])
    finite = found.finite
    accuracies[finite] = found.accuracies[finite]
    ranked = np.lexsort((found.losses, -np.where(finite, found.accuracies, -1)))
    ranked = ranked[finite[ranked]]

  everything = np.arange(len(train))
  for member in ranked:
    probe = _Probe(
      train, train_labels, everything, recipe, members[member : member + 1], classes, seed
    )
    per_epoch = []
    for parameters in probe.epochs():
      found = probe.measure(parameters, test, test_labels)
      per_epoch.append(found.accuracies[0])
    if not found.finite[0]:
      finite[member] = False
      continue
    return LinearProbeResult(
      accuracy=float(per_epoch[-1]),
      best_accuracy=float(max(per_epoch)),
      top5=float(found.top5[0]) if classes > 5 else None,
      held_out_accuracy=float(accuracies[member]) if chosen_on_held_out else None,
      learning_rate=members[member][0],
      weight_decay=members[member][1],
      members=members,
      member_accuracies=accuracies,
      diverged=tuple(one for one, is_finite in zip(members, finite, strict=True) if not is_finite),
      per_epoch=np.asarray(per_epoch),
      predictions=found.predictions[0],
    )
  raise ArgumentError(
    'recipe',
    f'learning rates {recipe.learning_rates}, all of which diverge on these features',
    'lower, or the features scaled',
  )


def _check_features(train: Any, test: Any) -> tuple[np.ndarray, np.ndarray]:
  """`[n, view, dim]` and `[test, dim]`."""
  train = np.asarray(train)
  if train.ndim not in (2, 3) or 0 in train.shape:
    raise ArgumentError(
      'train', f'shape {train.shape}', '[n, dim] or [n, view, dim], none of them 0'
    )
  if train.ndim == 2:
    train = train[:, None]
  check_rows('train', train.reshape(-1, train.shape[-1]))
  return train, check_rows('test', test, like=('training features', train.shape[-1]))


@dataclasses.dataclass(frozen=True)
class _Measured:
  """One entry a member; `predictions` are `int32 [member, n]`."""

  accuracies: np.ndarray
  top5: np.ndarray
  losses: np.ndarray
  finite: np.ndarray
  predictions: np.ndarray


class _Probe:
  """Members of a grid in training on some rows."""

  def __init__(
    self,
    train: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    recipe: ProbeRecipe,
    members: tuple[tuple[float, float], ...],
    classes: int,
    seed: int,
  ) -> None:
    self._train, self._labels, self._rows = train, labels, rows
    self._recipe, self._members, self._classes, self._seed = recipe, members, classes, seed
    plain: tuple[np.ndarray, np.ndarray] = np.zeros(1, np.float32), np.ones(1, np.float32)
    self._shift, self._scale = _standard(train, rows) if recipe.scaling == 'standard' else plain

  def epochs(self) -> Iterator[jax.Array]:
    """The parameters after each epoch: `float32 [member, dim + 1, class]`, the bias last."""
    recipe, count = self._recipe, len(self._rows)
    size = min(recipe.batch_size, count)
    batches = -(-count // size)
    factors = learning_rate_factors(recipe, batches).astype(np.float32)
    rates, decays = np.asarray(self._members, np.float32).T
    parameters = self._initial()
    moments = jax.vmap(_rule(recipe).init)(parameters)
    labels = jnp.asarray(self._labels)

    features = None
    for epoch in range(recipe.epochs):
      if features is None or self._train.shape[1] > 1:
        features = self._prepare(self._train[:, epoch % self._train.shape[1]])
      bits = np.random.PCG64([self._seed, epoch]).random_raw(count)
      order = np.full(batches * size, -1, np.int32)
      order[:count] = self._rows[np.argsort(bits, kind='stable')]
      parameters, moments = _train_epoch(
        parameters,
        moments,
        features,
        labels,
        order.reshape(batches, size),
        factors[epoch],
        rates,
        decays,
        recipe,
      )
      yield parameters

  def measure(self, parameters: jax.Array, rows: np.ndarray, labels: np.ndarray) -> _Measured:
    """The predictions, ranks and losses of all members on other rows, `[n, dim]`."""
    chunk = max(1, min(len(rows), _SCORES // (len(parameters) * self._classes)))
    parts = []
    for start in range(0, len(rows), chunk):
      # The last chunk reaches back, so that all have one shape.
      at = max(0, min(start, len(rows) - chunk))
      features = self._prepare(rows[at : at + chunk])
      part = jax.device_get(_measure(parameters, features, labels[at : at + chunk]))
      parts.append([array[:, start - at :] for array in part])
    predictions, ranks, losses = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    finite = np.isfinite(losses).all(axis=1) & np.isfinite(jax.device_get(_largest(parameters)))
    return _Measured(
      accuracies=np.mean(predictions == labels, axis=1),
      top5=np.mean(ranks < 5, axis=1),
      losses=np.where(finite, np.mean(losses, axis=1, dtype=np.float64), np.inf),
      finite=finite,
      predictions=predictions,
    )

  def _prepare(self, rows: np.ndarray) -> jax.Array:
    return _prepare(np.asarray(rows, np.float32), self._shift, self._scale, self._recipe.scaling)

  def _initial(self) -> jax.Array:
    shape = self._train.shape[-1], self._classes
    key = jax.random.key(self._seed)
    weights = self._recipe.initial_std * jax.random.normal(key, shape, jnp.float32)
    with_bias = jnp.concatenate([weights, jnp.zeros((1, self._classes), jnp.float32)])
    return jnp.repeat(with_bias[None], len(self._members), axis=0)


def _standard(train: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and one over standard deviation of each column, over `rows` and all views."""
  step = max(1, _READ // (train.shape[1] * train.shape[2]))
  blocks = lambda: (
    np.float64(train[rows[start : start + step]]).reshape(-1, train.shape[2])
    for start in range(0, len(rows), step)
  )
  count = len(rows) * train.shape[1]
  mean = sum(block.sum(axis=0) for block in blocks()) / count
  variance = sum(((block - mean) ** 2).sum(axis=0) for block in blocks()) / count
  deviation = np.sqrt(variance)
  # A column that is constant up to the rounding of its float32 features says nothing.
  deviation[deviation <= 1e-6 * np.abs(mean)] = np.inf
  # Its inverse leaves float32 below that.
  deviation[deviation < 1 / np.finfo(np.float32).max] = np.inf
  return mean.astype(np.float32), (1 / deviation).astype(np.float32)


def _rule(recipe: ProbeRecipe) -> optax.GradientTransformation:
  if recipe.optimizer == 'adam':
    return optax.scale_by_adam()
  return optax.trace(recipe.momentum, recipe.nesterov) if recipe.momentum else optax.identity()


@functools.partial(jax.jit, static_argnames='scaling')
def _prepare(rows: jax.Array, shift: jax.Array, scale: jax.Array, scaling: str) -> jax.Array:
  """Scaled, with a column of ones for the bias."""
  rows = l2_normalize(rows) if scaling == 'unit' else (rows - shift) * scale
  return jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)


@functools.partial(jax.jit, static_argnames='recipe')
def _train_epoch(
  parameters: jax.Array,
  moments: Any,
  features: jax.Array,
  labels: jax.Array,
  order: jax.Array,
  factors: jax.Array,
  rates: jax.Array,
  decays: jax.Array,
  recipe: ProbeRecipe,
) -> tuple[jax.Array, Any]:
  rule = _rule(recipe)

  def step(state: tuple[jax.Array, Any], batch: tuple[jax.Array, jax.Array]):
    rows, factor = batch
    counts = rows >= 0
    inputs, targets = features[rows], labels[rows]

    def loss(weights: jax.Array) -> jax.Array:
      scores = jnp.matmul(inputs, weights, precision='highest')
      losses = optax.softmax_cross_entropy_with_integer_labels(scores, targets)
      return jnp.sum(jnp.where(counts, losses, 0)) / jnp.sum(counts)

    def member(weights: jax.Array, moments: Any, rate: jax.Array, decay: jax.Array):
      gradient = jax.grad(loss)(weights) + decay * weights
      direction, moments = rule.update(gradient, moments)
      return weights - factor * rate * direction, moments

    return jax.vmap(member)(*state, rates, decays), None

  return jax.lax.scan(step, (parameters, moments), (order, factors))[0]


@jax.jit
def _measure(
  parameters: jax.Array, features: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Class, rank of the label from 0, and cross-entropy: `[member, n]` each."""
  scores = jnp.einsum('nd,mdc->mnc', features, parameters, precision='highest')
  known = labels < scores.shape[-1]
  at = jnp.where(known, labels, 0)
  own = jnp.take_along_axis(scores, at[None, :, None], axis=2)
  earlier = jnp.arange(scores.shape[-1]) < at[:, None]
  before = (scores > own) | ((scores == own) & earlier)
  ranks = jnp.where(known, jnp.sum(before, axis=2), scores.shape[-1])
  losses = jax.nn.logsumexp(scores, axis=2) - own[..., 0]
  return jnp.argmax(scores, axis=2).astype(jnp.int32), ranks, losses


@jax.jit
def _largest(parameters: jax.Array) -> jax.Array:
  return jnp.max(jnp.abs(parameters), axis=(1, 2))
