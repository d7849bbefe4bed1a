"""Fine-tuning: the whole encoder trained on few labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.arguments import ArgumentError, check_number, check_seed, check_whole
from ssl_jax.deprecation import deprecated_keywords
from ssl_jax.evaluation.arguments import check_labels
from ssl_jax.evaluation.features import extract
from ssl_jax.evaluation.neighbors.knn import count_classes
from ssl_jax.evaluation.probes.label_subset import hold_out

Apply = Callable[[Any, Any, jax.Array, bool], tuple[jax.Array, Any]]


@dataclasses.dataclass(frozen=True)
class FineTuneRecipe:
  """SGD on all parameters; the defaults are OpenSelfSup's 1 % protocol.

  Attributes:
    learning_rates: of the encoder, each crossed with each of `head_multipliers`.
    head_multipliers: of the learning rate, for the new classifier.
    epochs: passes over the labeled images.
    batch_size: images a step; fewer images are one batch.
    momentum: from 0, below 1.
    weight_decay: of all parameters, added to the gradient.
    decay_points: shares of the run, after which the learning rates are multiplied by
      `decay_factor`: epochs 12 and 16 of 20.
    decay_factor: above 0.
  """

  learning_rates: tuple[float, ...] = (0.001, 0.01, 0.1)
  head_multipliers: tuple[float, ...] = (1.0, 10.0, 100.0)
  epochs: int = 20
  batch_size: int = 256
  momentum: float = 0.9
  weight_decay: float = 5e-4
  decay_points: tuple[float, ...] = (0.6, 0.8)
  decay_factor: float = 0.2

  def __post_init__(self) -> None:
    for name in ('learning_rates', 'head_multipliers', 'decay_points'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    for name in ('learning_rates', 'head_multipliers'):
      if not getattr(self, name):
        raise ArgumentError(name, '()', 'at least one number')
      for value in getattr(self, name):
        check_number(name, value, above=0)
    check_whole('epochs', self.epochs)
    check_whole('batch_size', self.batch_size)
    check_number('momentum', self.momentum, at_least=0, below=1)
    check_number('weight_decay', self.weight_decay, at_least=0)
    for point in self.decay_points:
      check_number('decay_points', point, above=0, below=1)
    check_number('decay_factor', self.decay_factor, above=0)

  @property
  def members(self) -> tuple[tuple[float, float], ...]:
    """The grid: (learning rate, head multiplier), the learning rate changing slowest."""
    return tuple((rate, head) for rate in self.learning_rates for head in self.head_multipliers)

  def learning_rate_factor(self, epoch: int) -> float:
    """The factor on the learning rates in an epoch, counted from 0.

    >>> [FineTuneRecipe().learning_rate_factor(epoch) for epoch in (11, 12)]
    [1.0, 0.2]
    """
    passed = sum(epoch >= math.floor(at * self.epochs + 0.5) for at in self.decay_points)
    return self.decay_factor**passed


@dataclasses.dataclass(frozen=True)
class FineTuneResult:
  """What `fine_tune` found. Accuracies are shares from 0 to 1.

  Attributes:
    accuracy: on test, after the last epoch.
    held_out_accuracy: of the chosen setting on the held-out part of the labeled images; None where
      nothing was chosen.
    learning_rate: of the encoder, the chosen one.
    head_multiplier: the chosen one.
    members: the grid, (learning rate, head multiplier).
    member_accuracies: `float64 [member]`, held-out accuracies; NaN where one diverged or was not
      measured.
    diverged: the members whose training left the finite numbers.
    predictions: `int32 [test]`.
  """

  accuracy: float
  held_out_accuracy: float | None
  learning_rate: float
  head_multiplier: float
  members: tuple[tuple[float, float], ...]
  member_accuracies: np.ndarray
  diverged: tuple[tuple[float, float], ...]
  predictions: np.ndarray


@deprecated_keywords({'plain': 'unaugmented'})
def fine_tune(
  apply: Apply,
  variables: Mapping[str, Any],
  train_images: Any,
  train_labels: Any,
  test_images: Any,
  test_labels: Any,
  *,
  recipe: FineTuneRecipe,
  unaugmented: Callable[[jax.Array], jax.Array],
  augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  num_classes: int | None = None,
  seed: int = 0,
  held_out_fraction: float = 0.2,
) -> FineTuneResult:
  """Trains an encoder and a new linear classifier on labeled images, and measures them.

  The members of the recipe's grid are trained one after the other, which is light on memory, on all
  labeled images but a stratified, held-out part; the one with the highest accuracy there after the
  last epoch is trained anew on all of them. Test labels choose nothing, and a member that diverges
  never wins. Where a class has a single image, nothing is held out, and the middle learning rate
  and multiplier are taken. The last batch of an epoch is filled up with the epoch's first images.

  Source: OpenSelfSup's semi-supervised ImageNet protocol, which the code of Wang et al., ICCV 2021,
  inherits; choosing on held-out images is ours.

  Args:
    apply: from (params, batch_stats, images, train) to features `[batch, dim]` and new batch_stats.
    variables: `params` and `batch_stats` of the encoder at the start; left as they are.
    train_images: `uint8 [n, height, width, 3]`, or a source whose `source[indices]` is such.
    train_labels: `int [n]`, from 0.
    test_images: as `train_images`.
    test_labels: `int [test]`; labels that training lacks count as wrong.
    recipe: see `FineTuneRecipe`.
    unaugmented: from a uint8 batch to the encoder's images, for measuring.
    augment: from a key and a uint8 batch to one training view of each; by default `unaugmented`.
    num_classes: by default the largest training label plus one.
    seed: of the classifier, the order of images, the views and the held-out part; 0 or greater.
    held_out_fraction: of the labeled images of each class, above 0 and below 1.

  Returns:
    The measurement, see `FineTuneResult`.

  Raises:
    ValueError: labels do not fit the images, an option is out of range, or every setting diverged.
  """
  check_seed('seed', seed)
  for name, images in (('train_images', train_images), ('test_images', test_images)):
    if not len(images):
      raise ArgumentError(name, '0 images', 'at least 1')
  train_labels = check_labels('train_labels', train_labels, 'train_images', len(train_images))
  test_labels = check_labels('test_labels', test_labels, 'test_images', len(test_images))
  classes = count_classes(train_labels, num_classes)
  fit, held = hold_out(train_labels, held_out_fraction, seed=seed)
  tuner = _Tuner(apply, variables, recipe, unaugmented, augment, classes, seed)

  members = recipe.members
  accuracies = np.full(len(members), np.nan)
  finite = np.ones(len(members), bool)
  rates, heads = len(recipe.learning_rates), len(recipe.head_multipliers)
  ranked = np.array([(rates - 1) // 2 * heads + (heads - 1) // 2])
  room = np.unique(train_labels, return_counts=True)[1].min() > 1
  if len(members) > 1 and room:
    for index, member in enumerate(members):
      trained = tuner.train(member, train_images, train_labels, fit)
      scores = tuner.scores(trained, train_images, held)
      finite[index] = np.isfinite(scores).all()
      if finite[index]:
        accuracies[index] = np.mean(scores.argmax(axis=1) == train_labels[held])
    ranked = np.argsort(-np.where(finite, accuracies, -1), kind='stable')
    ranked = ranked[finite[ranked]]

  for chosen in ranked:
    trained = tuner.train(members[chosen], train_images, train_labels, np.arange(len(train_labels)))
    scores = tuner.scores(trained, test_images, np.arange(len(test_labels)))
    finite[chosen] = np.isfinite(scores).all()
    if not finite[chosen]:
      continue
    predictions = scores.argmax(axis=1).astype(np.int32)
    held_out = accuracies[chosen]
    return FineTuneResult(
      accuracy=float(np.mean(predictions == test_labels)),
      held_out_accuracy=None if np.isnan(held_out) else float(held_out),
      learning_rate=members[chosen][0],
      head_multiplier=members[chosen][1],
      members=members,
      member_accuracies=accuracies,
      diverged=tuple(one for one, is_finite in zip(members, finite, strict=True) if not is_finite),
      predictions=predictions,
    )
  raise ArgumentError(
    'recipe',
    f'learning rates {recipe.learning_rates} of which all diverge',
    'lower ones',
  )


class _Tuner:
  """One compiled step and one compiled measurement for all members."""

  def __init__(
    self,
    apply: Apply,
    variables: Mapping[str, Any],
    recipe: FineTuneRecipe,
    unaugmented: Callable[[jax.Array], jax.Array],
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None,
    classes: int,
    seed: int,
  ) -> None:
    self._recipe, self._classes, self._seed = recipe, classes, seed
    # On the host: a member starts from a copy, whose memory its steps may reuse.
    self._start = jax.device_get((variables['params'], variables['batch_stats']))
    self._key = jax.random.key(seed)
    momentum = optax.trace(recipe.momentum)
    self._momentum = momentum

    def step(state: Any, images: jax.Array, labels: jax.Array, key: jax.Array, rates: jax.Array):
      params, batch_stats, moments = state
      views = unaugmented(images) if augment is None else augment(key, images)

      def loss(params: Any) -> tuple[jax.Array, Any]:
        features, new_stats = apply(params['encoder'], batch_stats, views, True)
        scores = _classify(params['head'], features)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, labels)), new_stats

      gradient, new_stats = jax.grad(loss, has_aux=True)(params)
      decayed = jax.tree.map(lambda g, p: g + recipe.weight_decay * p, gradient, params)
      direction, moments = momentum.update(decayed, moments)
      moved = {
        part: jax.tree.map(lambda p, d, rate=rate: p - rate * d, params[part], direction[part])
        for part, rate in (('encoder', rates[0]), ('head', rates[1]))
      }
      return moved, new_stats, moments

    def scores(state: Any, images: jax.Array) -> jax.Array:
      params, batch_stats, _ = state
      features, _ = apply(params['encoder'], batch_stats, unaugmented(images), False)
      return _classify(params['head'], features)

    self._step = jax.jit(step, donate_argnums=0)
    self._scores = jax.jit(scores)
    self._features = lambda params, batch_stats, images: apply(
      params, batch_stats, unaugmented(images), False
    )[0]

  def train(
    self, member: tuple[float, float], images: Any, labels: np.ndarray, rows: np.ndarray
  ) -> Any:
    """The state after the last epoch on the images `rows`."""
    recipe = self._recipe
    size = min(recipe.batch_size, len(rows))
    batches = -(-len(rows) // size)
    state = self._initial(np.asarray(images[rows[:1]]))
    for epoch in range(recipe.epochs):
      bits = np.random.PCG64([self._seed, epoch]).random_raw(len(rows))
      order = np.resize(rows[np.argsort(bits, kind='stable')], (batches, size))
      rate = member[0] * recipe.learning_rate_factor(epoch)
      rates = np.asarray([rate, rate * member[1]], np.float32)
      for index, batch in enumerate(order):
        key = jax.random.fold_in(self._key, epoch * batches + index)
        state = self._step(state, np.asarray(images[batch]), labels[batch], key, rates)
    return state

  def scores(self, state: Any, images: Any, rows: np.ndarray) -> np.ndarray:
    """`float32 [row, class]`."""
    size = min(self._recipe.batch_size, len(rows))
    return extract(lambda batch: self._scores(state, batch), _Rows(images, rows), batch_size=size)

  def _initial(self, image: np.ndarray) -> Any:
    params, batch_stats = jax.tree.map(jnp.array, self._start)
    width = jax.eval_shape(self._features, params, batch_stats, image).shape[-1]
    # One past the steps' keys.
    key = jax.random.fold_in(self._key, 2**31 - 1)
    weights = 0.01 * jax.random.normal(key, (width, self._classes), jnp.float32)
    head = {'weights': weights, 'bias': jnp.zeros(self._classes, jnp.float32)}
    params = {'encoder': params, 'head': head}
    return params, batch_stats, self._momentum.init(params)


@dataclasses.dataclass(frozen=True)
class _Rows:
  """A subset of a source's images, as a source."""

  images: Any
  rows: np.ndarray

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, indices: np.ndarray) -> np.ndarray:
    return np.asarray(self.images[self.rows[indices]])


def _classify(head: Mapping[str, jax.Array], features: jax.Array) -> jax.Array:
  features = features.astype(jnp.float32)
  return jnp.matmul(features, head['weights'], precision='highest') + head['bias']
