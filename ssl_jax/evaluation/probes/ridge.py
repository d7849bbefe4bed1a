"""The ridge classifier: least squares onto one-hot labels, in closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError, check_number
from ssl_jax.evaluation.arguments import check_labels, check_rows
from ssl_jax.evaluation.neighbors.knn import count_classes

_READ = 2**22
_GRID = 10.0 ** np.arange(-6, 4)


@dataclasses.dataclass(frozen=True)
class RidgeProbeResult:
  """What `ridge_probe` found. Accuracies are shares from 0 to 1.

  Attributes:
    accuracy: on test.
    l2: the penalty, given or chosen.
    left_out_accuracy: of the training rows, each classified by the fit to all others.
    l2_grid: `float64 [grid]`, the penalties compared.
    left_out_errors: `float64 [grid]`, the mean squared error of left-out rows, over rows and
      classes.
    weights: `float64 [dim, class]`.
    bias: `float64 [class]`; the scores of rows x are x @ weights + bias.
    predictions: `int32 [test]`.
  """

  accuracy: float
  l2: float
  left_out_accuracy: float
  l2_grid: np.ndarray
  left_out_errors: np.ndarray
  weights: np.ndarray
  bias: np.ndarray
  predictions: np.ndarray


def ridge_probe(
  train: Any,
  train_labels: Any,
  test: Any,
  test_labels: Any,
  *,
  l2: float | None = None,
  num_classes: int | None = None,
) -> RidgeProbeResult:
  """Least squares onto one-hot labels with a penalty, exact and without iterations.

  Minimizes |Y - X W - 1 b'|^2 + l2 |W|^2, the bias b unpenalized: scikit-learn's `Ridge(l2)` on
  one-hot labels. Unless it is given, l2 is the one of a grid with the least squared error of
  left-out rows, in closed form: row i's residual over 1 - h_i, with h_i its leverage. The grid is
  10^-6 to 10^3 times the mean over dimensions of the centered sum of squares, so the scale of the
  features does not matter. Float64 on the host.

  Source: left-out errors as in Rifkin & Lippert, 2007 ("Notes on regularized least squares").

  Args:
    train: `[n, dim]` of any real dtype, at least 2 rows; read in blocks.
    train_labels: `int [n]`, from 0.
    test: `[test, dim]`.
    test_labels: `int [test]`; labels that training lacks count as wrong.
    l2: above 0 and finite, or None to choose it.
    num_classes: by default the largest label plus one.

  Returns:
    The measurement, see `RidgeProbeResult`.

  Raises:
    ValueError: shapes or labels do not fit, a feature is not finite, all training rows are equal,
      or `l2` is out of range.
  """
  train = check_rows('train', train)
  test = check_rows('test', test, like=('training features', train.shape[1]))
  train_labels = check_labels('train_labels', train_labels, 'train', len(train))
  test_labels = check_labels('test_labels', test_labels, 'test', len(test))
  classes = count_classes(train_labels, num_classes)
  if l2 is not None:
    check_number('l2', l2, above=0)
  if len(train) < 2:
    raise ArgumentError('train', f'{len(train)} row', 'at least 2')

  count, dim = train.shape
  shares = np.bincount(train_labels, minlength=classes) / count
  mean = sum(block.sum(axis=0) for _, block in _blocks(train)) / count
  squares, basis = _principal(train, mean)
  if not squares.max() > 0:
    raise ArgumentError('train', f'{count} equal rows', 'rows that differ')
  grid = np.array([l2]) if l2 is not None else _GRID * squares.sum() / dim
  # In the basis of principal directions, the fit is a division.
  products = np.zeros((len(squares), classes))
  for start, block in _blocks(train):
    targets = _one_hot(train_labels[start : start + len(block)], classes) - shares
    products += ((block - mean) @ basis).T @ targets
  fits = [products / (squares + one)[:, None] for one in grid]

  errors, right = np.zeros(len(grid)), np.zeros(len(grid))
  for start, block in _blocks(train):
    own = train_labels[start : start + len(block)]
    targets = _one_hot(own, classes)
    inputs = (block - mean) @ basis
    leverages = 1 / count + inputs**2 @ (1 / (squares[:, None] + grid))
    for index, fit in enumerate(fits):
      left_out = (targets - shares - inputs @ fit) / (1 - leverages[:, index, None])
      errors[index] += np.sum(left_out**2)
      right[index] += np.sum(np.argmax(targets - left_out, axis=1) == own)

  chosen = int(np.argmin(errors))
  weights = basis @ fits[chosen]
  bias = shares - mean @ weights
  predictions = np.concatenate(
    [np.argmax(block @ weights + bias, axis=1).astype(np.int32) for _, block in _blocks(test)]
  )
  return RidgeProbeResult(
    accuracy=float(np.mean(predictions == test_labels)),
    l2=float(grid[chosen]),
    left_out_accuracy=float(right[chosen] / count),
    l2_grid=grid,
    left_out_errors=errors / (count * classes),
    weights=weights,
    bias=bias,
    predictions=predictions,
  )


def _principal(train: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Squared singular values of the centered rows, and their right singular vectors as columns."""
  count, dim = train.shape
  if count <= dim:
    _, values, rows = np.linalg.svd(np.float64(train) - mean, full_matrices=False)
    return values**2, rows.T
  gram = np.zeros((dim, dim))
  for _, block in _blocks(train):
    gram += (block - mean).T @ (block - mean)
  values, basis = np.linalg.eigh(gram)
  return np.maximum(values, 0), basis


def _blocks(rows: np.ndarray):
  """Starts, and consecutive rows in float64."""
  step = max(1, _READ // rows.shape[1])
  for start in range(0, len(rows), step):
    yield start, np.float64(rows[start : start + step])


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
  return (labels[:, None] == np.arange(classes)).astype(np.float64)
