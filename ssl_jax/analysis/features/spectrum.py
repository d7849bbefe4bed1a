"""Rank metrics of features from their singular values: RankMe, effective rank."""

import dataclasses
from typing import Any

import numpy as np

from ssl_jax.analysis import arguments
from ssl_jax.analysis.features import geometry

_EPSILON = 1e-7  # of RankMe: that of its paper, for float32


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """What `spectrum` measures, with the entropy H in natural logarithms.

  The last three read the eigenvalues λ of the covariance of centered features. Where all rows are
  equal, up to the rounding of float64, there are none, and the three are 1.

  Attributes:
    rank_me: exp H(p) with `p = σ / sum σ + 1e-7`, σ the singular values of the features, not
      centered; from 1, but for that constant, to min(n, dim).
    effective_rank: exp H(λ / sum λ), from 1 to min(n - 1, dim).
    participation_ratio: (sum λ)^2 / sum λ^2, from 1 to min(n - 1, dim).
    top_share: the share of the largest λ in their sum, the variance.
  """

  rank_me: float
  effective_rank: float
  participation_ratio: float
  top_share: float


def spectrum(features: Any) -> Spectrum:
  """How evenly the features spread over directions.

  All four are the same for rotated and for scaled features. Low numbers mean that dimensions have
  collapsed; high ones are necessary for a good representation and not sufficient.

  Singular values come from the matrix of features itself, in float64: its Gram matrix would lose
  those below 1e-8 of the largest, of which RankMe counts some.

  Source: Garrido et al., ICML 2023 (RankMe); Roy and Vetterli, EUSIPCO 2007 (effective rank, here
  of the covariance).

  >>> found = spectrum([[2.0, 0], [-2, 0], [0, 2], [0, -2]])
  >>> print(f'{found.effective_rank:.3f} {found.participation_ratio:.3f} {found.top_share:.3f}')
  2.000 2.000 0.500

  Args:
    features: `[n, dim]` of any real dtype.

  Returns:
    The metrics, see `Spectrum`.

  Raises:
    ValueError: the shape is another one, or a feature is not finite.
  """
  rows = arguments.as_features(features, ndim=2)
  largest = np.max(np.abs(rows))
  rows = rows / (largest if largest > 0 else 1)
  plain = np.linalg.svd(rows, compute_uv=False)
  centered = np.linalg.svd(geometry.centered(rows), compute_uv=False)
  rounding = max(rows.shape) * np.finfo(np.float64).eps * plain[0]
  variances = np.where(centered > rounding, centered, 0) ** 2
  total = float(np.sum(variances))
  shares = variances / total if total > 0 else np.eye(1, len(variances))[0]
  return Spectrum(
    rank_me=_exp_entropy(plain / (np.sum(plain) or 1) + _EPSILON),
    effective_rank=_exp_entropy(shares[shares > 0]),
    participation_ratio=float(1 / np.sum(shares**2)),
    top_share=float(np.max(shares)),
  )


def _exp_entropy(shares: np.ndarray) -> float:
  return float(np.exp(-np.sum(shares * np.log(shares))))
