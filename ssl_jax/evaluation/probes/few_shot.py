"""Few-shot episodes: small classification tasks drawn from frozen features."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.arguments import ArgumentError, check_number, check_whole
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.features import l2_normalize

_GATHERED = 2**24  # features of so many numbers are classified at once
_NEWTON_STEPS = 30
_HALVINGS = 12


@dataclasses.dataclass(frozen=True)
class EpisodeAccuracy:
  """What `few_shot_episodes` found. Accuracies are shares from 0 to 1.

  Attributes:
    mean: over episodes.
    interval95: half of the 95 % interval of the mean, 1.96 standard errors.
    episodes: how many were drawn.
    classes: how many have enough images to be drawn.
    accuracies: `float64 [episode]`.
  """

  mean: float
  interval95: float
  episodes: int
  classes: int
  accuracies: np.ndarray


def few_shot_episodes(
  features: Any,
  labels: Any,
  *,
  ways: int = 5,
  shots: int = 1,
  queries: int = 15,
  episodes: int = 2000,
  seed: int = 0,
  l2: float = 1.0,
) -> EpisodeAccuracy:
  """The accuracy of telling a few new classes apart, given a few images of each.

  An episode draws `ways` classes, and of each `shots` images to learn from and `queries` others to
  classify. Features are L2-normalized; the classifier is logistic regression with the objective of
  scikit-learn's `LogisticRegression(C=1 / l2)`, for two classes `C=2 / l2`, solved by Newton's
  method for many episodes at once. Episode i depends on `seed` and i alone, not on how many are
  drawn.

  Source: reconstructed: DSA reports a 1-shot accuracy without its protocol; this is the usual one
  of Tian et al., ECCV 2020 ("Rethinking few-shot image classification").

  Args:
    features: `[n, dim]` of any real dtype, of images that the encoder was not trained on.
    labels: `int [n]`, from 0. Classes with fewer than shots + queries images are left out.
    ways: at least 2.
    shots: at least 1.
    queries: of each class, at least 1.
    episodes: at least 2.
    seed: 0 or greater.
    l2: above 0 and finite.

  Returns:
    The measurement, see `EpisodeAccuracy`.

  Raises:
    ValueError: shapes or labels do not fit, a feature is not finite, an option is out of range, or
      fewer than `ways` classes have enough images.
  """
  rows = check_rows('features', features)
  labels = check_labels('labels', labels, 'features', len(rows))
  for name, value, least in (('ways', ways, 2), ('shots', shots, 1), ('queries', queries, 1)):
    check_whole(name, value, least)
  check_whole('episodes', episodes, 2)
  check_number('l2', l2, above=0)
  size = shots + queries
  classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
  classes = [members for members in classes if len(members) >= size]
  if len(classes) < ways:
    raise ArgumentError(
      'ways',
      ways,
      f'at most {len(classes)}, the classes with shots + queries = {size} images or more',
    )

  drawn = np.stack([_draw(classes, ways, size, seed, index) for index in range(episodes)])
  chunk = max(1, min(episodes, _GATHERED // (ways * size * rows.shape[1])))
  accuracies = []
  for start in range(0, episodes, chunk):
    # The last chunk is filled up, so that all have one shape.
    at = np.minimum(np.arange(start, start + chunk), episodes - 1)
    gathered = np.asarray(rows[drawn[at]], np.float32)
    accuracies.append(np.asarray(_accuracies(gathered, np.float32(l2), shots), np.float64))
  found = np.concatenate(accuracies)[:episodes]
  return EpisodeAccuracy(
    mean=float(found.mean()),
    interval95=float(1.96 * found.std(ddof=1) / math.sqrt(episodes)),
    episodes=episodes,
    classes=len(classes),
    accuracies=found,
  )


def _draw(classes: list[np.ndarray], ways: int, size: int, seed: int, episode: int) -> np.ndarray:
  """Rows of one episode, `int64 [way, size]`: those to learn from come first."""
  rng = np.random.default_rng([seed, episode])
  chosen = rng.choice(len(classes), ways, replace=False)
  return np.stack([rng.choice(classes[index], size, replace=False) for index in chosen])


def _solve(inputs: jax.Array, labels: jax.Array, l2: jax.Array, classes: int) -> jax.Array:
  """The weights of logistic regression, `float32 [dim + 1, class]`, the bias last."""
  inputs = jnp.concatenate([inputs, jnp.ones((len(inputs), 1), inputs.dtype)], axis=1)
  # The bias is not penalized.
  penalty = l2 * jnp.ones((inputs.shape[1], 1), inputs.dtype).at[-1].set(0)
  product = lambda a, b: jnp.matmul(a, b, precision='highest')
  targets = jax.nn.one_hot(labels, classes)
  noise = 1e-6 * math.sqrt(len(inputs))

  def objective(weights: jax.Array) -> jax.Array:
    losses = optax.softmax_cross_entropy_with_integer_labels(product(inputs, weights), labels)
    return jnp.sum(losses) + 0.5 * jnp.sum(penalty * weights**2)

  def newton(weights: jax.Array) -> jax.Array:
    shares = jax.nn.softmax(product(inputs, weights))
    gradient = product(inputs.T, shares - targets) + penalty * weights

    def curvature(direction: jax.Array) -> jax.Array:
      change = shares * product(inputs, direction)
      change = change - shares * jnp.sum(change, axis=1, keepdims=True)
      return product(inputs.T, change) + penalty * direction

    # Below `noise` the gradient is rounding, which no direction reduces.
    direction, _ = jax.scipy.sparse.linalg.cg(
      curvature, -gradient, tol=1e-3, atol=noise, maxiter=200
    )
    # Far from the optimum a whole step may overshoot; near it, rounding must not shorten one.
    steps = 0.5 ** jnp.arange(_HALVINGS, dtype=weights.dtype)
    values = jax.vmap(lambda step: objective(weights + step * direction))(steps)
    now = objective(weights)
    good = values <= now + 1e-6 * jnp.abs(now)
    step = jnp.where(jnp.any(good), steps[jnp.argmax(good)], 0)
    return weights + step * direction

  def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    count, _, change = state
    return (count < _NEWTON_STEPS) & (change > 1e-4)

  def advance(state: tuple[jax.Array, jax.Array, jax.Array]):
    count, weights, _ = state
    moved = newton(weights)
    return count + 1, moved, jnp.max(jnp.abs(moved - weights)) / jnp.max(jnp.abs(moved))

  start = jnp.zeros((inputs.shape[1], classes), inputs.dtype)
  first = jnp.zeros((), jnp.int32), start, jnp.full((), jnp.inf, inputs.dtype)
  return jax.lax.while_loop(unfinished, advance, first)[1]


def _accuracy(rows: jax.Array, l2: jax.Array, shots: int) -> jax.Array:
  """Of one episode, from features `[way, shot + query, dim]`."""
  ways, _, dim = rows.shape
  rows = l2_normalize(rows)
  support, queries = rows[:, :shots].reshape(-1, dim), rows[:, shots:]
  if len(support) < dim:
    # The weights are combinations of the rows they are learned from: few coordinates will do.
    basis, coordinates = jnp.linalg.qr(support.T)
    support, queries = coordinates.T, jnp.matmul(queries, basis, precision='highest')
  weights = _solve(support, jnp.repeat(jnp.arange(ways), shots), l2, ways)
  scores = jnp.matmul(queries, weights[:-1], precision='highest') + weights[-1]
  return jnp.mean(jnp.argmax(scores, axis=-1) == jnp.arange(ways)[:, None])


@functools.partial(jax.jit, static_argnames='shots')
def _accuracies(rows: jax.Array, l2: jax.Array, shots: int) -> jax.Array:
  return jax.vmap(lambda episode: _accuracy(episode, l2, shots))(rows)
