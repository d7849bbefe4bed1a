"""Multinomial logistic regression to convergence, and the probe that chooses its penalty."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize

from ssl_jax.arguments import ArgumentError, check_number, check_whole
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.neighbors.knn import count_classes
from ssl_jax.evaluation.probes.label_subset import hold_out

# A training image, from hardly any penalty to one that leaves little but the class means.
L2_PER_IMAGE = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_READ = 2**22


@dataclasses.dataclass(frozen=True)
class LogisticRegression:
  """A fitted classifier: the scores of rows x are x @ weights + bias.

  Attributes:
    weights: `float64 [dim, class]`.
    bias: `float64 [class]`.
    iterations: of L-BFGS.
    converged: whether the gradient, or the progress of the objective, fell below the tolerance.
    objective: what was minimized, at the end.
  """

  weights: np.ndarray
  bias: np.ndarray
  iterations: int
  converged: bool
  objective: float

  def scores(self, features: Any) -> np.ndarray:
    """The log-odds of each class up to a constant a row, `float64 [n, class]`, for `[n, dim]`."""
    rows = check_rows('features', features, like=('training features', len(self.weights)))
    step = max(1, _READ // rows.shape[1])
    parts = [np.float64(rows[at : at + step]) @ self.weights for at in range(0, len(rows), step)]
    return np.concatenate(parts) + self.bias

  def predict(self, features: Any) -> np.ndarray:
    """The class of the highest score, `int32 [n]`, for `[n, dim]`."""
    return np.argmax(self.scores(features), axis=1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class LogisticProbeResult:
  """What `logistic_probe` found. Accuracies are shares from 0 to 1.

  Attributes:
    accuracy: on test.
    l2: the penalty of the final fit, as in `logistic_regression`.
    held_out_accuracy: of the chosen penalty; None where nothing was chosen.
    l2_per_image: the grid.
    grid_accuracies: `float64 [grid]`, held-out accuracies; NaN where they were not measured.
    iterations: of the final fit.
    converged: whether the final fit converged.
    predictions: `int32 [test]`.
  """

  accuracy: float
  l2: float
  held_out_accuracy: float | None
  l2_per_image: tuple[float, ...]
  grid_accuracies: np.ndarray
  iterations: int
  converged: bool
  predictions: np.ndarray


def logistic_regression(
  train: Any,
  labels: Any,
  *,
  l2: float = 1.0,
  max_iterations: int = 1000,
  tolerance: float = 1e-7,
  num_classes: int | None = None,
  start: LogisticRegression | None = None,
) -> LogisticRegression:
  """Minimizes the sum over rows of the cross-entropy, plus l2 / 2 times the squared weights.

  The objective is that of scikit-learn's `LogisticRegression(C=1 / l2)` with three or more classes,
  of its `C=2 / l2` with two, for which it keeps one vector of weights; the bias is not penalized.
  Full-batch L-BFGS in float64 on the host, value and gradient on one device.

  Source: the L-BFGS protocol of Kornblith et al., CVPR 2019; also in the released code of DSA.

  Args:
    train: `[n, dim]` of any real dtype.
    labels: `int [n]`, from 0.
    l2: above 0 and finite.
    max_iterations: at least 1.
    tolerance: above 0; done when no entry of the gradient of the mean objective a row is larger.
    num_classes: by default the largest label plus one. Classes without rows get scores too.
    start: a fit of the same shape to start from, say with another `l2`; by default zeros.

  Returns:
    The classifier, whether or not it converged.

  Raises:
    ValueError: shapes or labels do not fit, a feature is not finite, or an option is out of range.
  """
  rows = check_rows('train', train)
  labels = check_labels('labels', labels, 'train', len(rows))
  classes = count_classes(labels, num_classes)
  _check_positive('l2', l2)
  _check_positive('tolerance', tolerance)
  check_whole('max_iterations', max_iterations)
  shape = rows.shape[1] + 1, classes
  initial = np.zeros(shape)
  if start is not None:
    initial = np.concatenate([start.weights, start.bias[None]])
    if initial.shape != shape:
      raise ArgumentError('start', f'weights of shape {start.weights.shape}', f'as {shape}')

  with jax.enable_x64(True):
    features, targets = jnp.asarray(rows, jnp.float64), jnp.asarray(labels)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
      value, gradient = _value_and_gradient(flat.reshape(shape), features, targets, l2)
      return float(value), np.asarray(gradient, np.float64).ravel()

    found = scipy.optimize.minimize(
      objective,
      initial.ravel(),
      jac=True,
      method='L-BFGS-B',
      options={
        'maxiter': max_iterations,
        'maxfun': 10 * max_iterations,
        'maxcor': 20,
        'gtol': tolerance,
        'ftol': 64 * np.finfo(np.float64).eps,
      },
    )
  parameters = found.x.reshape(shape)
  return LogisticRegression(
    weights=parameters[:-1],
    bias=parameters[-1],
    iterations=int(found.nit),
    converged=bool(found.success),
    objective=float(found.fun) * len(rows),
  )


def logistic_probe(
  train: Any,
  train_labels: Any,
  test: Any,
  test_labels: Any,
  *,
  l2_per_image: Sequence[float] = L2_PER_IMAGE,
  standardize: bool = True,
  held_out_fraction: float = 0.1,
  max_iterations: int = 1000,
  tolerance: float = 1e-5,
  num_classes: int | None = None,
  seed: int = 0,
) -> LogisticProbeResult:
  """Logistic regression on frozen features, its penalty chosen on held-out training rows.

  The penalty with the highest accuracy on a stratified, held-out part of the training rows (of
  equal ones the stronger) is used on all of them; test labels choose nothing. Where no class has
  two rows nothing can be held out, and the middle of the grid is taken.

  Args:
    train: `[n, dim]` of any real dtype.
    train_labels: `int [n]`, from 0.
    test: `[test, dim]`.
    test_labels: `int [test]`; labels that training lacks count as wrong.
    l2_per_image: the grid: `l2` of `logistic_regression` over the number of rows it is fitted to.
    standardize: whether columns are brought to mean 0 and variance 1 over the training rows.
    held_out_fraction: of each class, above 0 and below 1.
    max_iterations, tolerance, num_classes: of `logistic_regression`.
    seed: of the held-out part.

  Returns:
    The measurement, see `LogisticProbeResult`.

  Raises:
    ValueError: shapes or labels do not fit, a feature is not finite, or an option is out of range.
  """
  train = check_rows('train', train)
  test = check_rows('test', test, like=('training features', train.shape[1]))
  train_labels = check_labels('train_labels', train_labels, 'train', len(train))
  test_labels = check_labels('test_labels', test_labels, 'test', len(test))
  classes = count_classes(train_labels, num_classes)
  grid = tuple(float(one) for one in l2_per_image)
  if not grid:
    raise ArgumentError('l2_per_image', '()', 'at least one number')
  for one in grid:
    _check_positive('l2_per_image', one)
  fit, held = hold_out(train_labels, held_out_fraction, seed=seed)

  def fitted(rows: np.ndarray, per_image: float, start: LogisticRegression | None):
    return logistic_regression(
      rows,
      train_labels if len(rows) == len(train) else train_labels[fit],
      l2=per_image * len(rows),
      max_iterations=max_iterations,
      tolerance=tolerance,
      num_classes=classes,
      start=start,
    )

  accuracies = np.full(len(grid), np.nan)
  chosen, start = sorted(range(len(grid)), key=grid.__getitem__)[len(grid) // 2], None
  if len(grid) > 1 and len(held):
    scale = _standard(train[fit]) if standardize else np.asarray
    inputs, held_inputs = scale(train[fit]), scale(train[held])
    fits = {}
    # From the strongest penalty on: each solution is near the next.
    for index in sorted(range(len(grid)), key=grid.__getitem__, reverse=True):
      start = fits[index] = fitted(inputs, grid[index], start)
      accuracies[index] = np.mean(start.predict(held_inputs) == train_labels[held])
    chosen = max(range(len(grid)), key=lambda index: (accuracies[index], grid[index]))
    start = fits[chosen]

  scale = _standard(train) if standardize else np.asarray
  final = fitted(scale(train), grid[chosen], start)
  predictions = final.predict(scale(test))
  measured = not np.isnan(accuracies[chosen])
  return LogisticProbeResult(
    accuracy=float(np.mean(predictions == test_labels)),
    l2=grid[chosen] * len(train),
    held_out_accuracy=float(accuracies[chosen]) if measured else None,
    l2_per_image=grid,
    grid_accuracies=accuracies,
    iterations=final.iterations,
    converged=final.converged,
    predictions=predictions,
  )


def _standard(rows: np.ndarray):
  """The map to mean 0 and variance 1 over `rows`; constant columns become 0."""
  mean = np.asarray(np.mean(rows, axis=0, dtype=np.float64))
  deviation = np.asarray(np.std(rows, axis=0, dtype=np.float64))
  deviation[(deviation <= 1e-6 * np.abs(mean)) | (deviation == 0)] = np.inf
  return lambda features: (features - mean) / deviation


@jax.jit
def _value_and_gradient(
  parameters: jax.Array, features: jax.Array, labels: jax.Array, l2: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Of the objective over the number of rows, which makes tolerances those of one row."""

  def objective(parameters: jax.Array) -> jax.Array:
    weights, bias = parameters[:-1], parameters[-1]
    scores = jnp.matmul(features, weights, precision='highest') + bias
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    return jnp.mean(losses) + 0.5 * l2 / len(features) * jnp.sum(weights**2)

  return jax.value_and_grad(objective)(parameters)


def _check_positive(name: str, value: float) -> None:
  check_number(name, value, above=0)
