"""Contrastive losses and their metrics by definition: one anchor and one candidate at a time."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

import jax
import numpy as np

Result = tuple[float, dict[str, float]]


class Anchor(NamedTuple):
  """Cosines of one anchor's candidates, and the weights of its negatives."""

  positives: list[float]
  negatives: list[float]
  weights: list[float]


def random_views(seed: int, batch: int = 5, dim: int = 4) -> np.ndarray:
  """`[2, batch, dim]`; the views of an image resemble each other, and lengths differ."""
  image, *noise = np.random.default_rng(seed).normal(size=(3, batch, dim))
  return image + 0.7 * np.stack(noise)


def unit(rows: np.ndarray) -> np.ndarray:
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pair_anchors(
  view1: np.ndarray,
  view2: np.ndarray,
  positive: Callable[[int, int], bool] = lambda i, j: i == j,
  negative: Callable[[int, int], bool] = lambda i, j: i != j,
  weights: Sequence[float] | None = None,
) -> list[Anchor]:
  """Both views of each image, image by image; what two images are to each other is asked for."""
  views = unit(np.stack([view1, view2], axis=1))
  embeddings = [(i, row) for i, pair in enumerate(views) for row in pair]
  anchors = []
  for i, row in embeddings:
    anchor = Anchor([], [], [])
    for j, other in embeddings:
      if other is row:
        continue
      if negative(i, j):
        weight = 1.0 if weights is None else float(weights[j])
        if weight:
          anchor.negatives.append(float(row @ other))
          anchor.weights.append(weight)
      elif positive(i, j):
        anchor.positives.append(float(row @ other))
    anchors.append(anchor)
  return anchors


def query_anchors(
  queries: np.ndarray, keys: np.ndarray, negatives: Iterable[Iterable[np.ndarray]]
) -> list[Anchor]:
  """Queries of one positive each, and the negatives of each."""
  anchors = []
  for query, key, rows in zip(queries, keys, negatives, strict=True):
    cosines = [float(query @ row) for row in rows]
    anchors.append(Anchor([float(query @ key)], cosines, [1.0] * len(cosines)))
  return anchors


def exp_sum(anchor: Anchor, temperature: float) -> float:
  pairs = zip(anchor.weights, anchor.negatives, strict=True)
  return sum(weight * math.exp(cosine / temperature) for weight, cosine in pairs)


def contrast(
  anchors: Sequence[Anchor],
  temperature: float,
  *,
  attract: float | Sequence[float] = 1.0,
  repel: float = 1.0,
  positive_weight: float = 1.0,
  negatives: Callable[[Anchor, float], float] = exp_sum,
  offset: float = 0.0,
) -> Result:
  """Mean over anchors of -α s⁺/τ + λ log(κ exp(s⁺/τ) + N) + c, with N of the negatives."""
  measured = []
  for anchor, weight in zip(anchors, np.broadcast_to(attract, len(anchors)), strict=True):
    positive = fmean(anchor.positives)
    total = positive_weight * math.exp(positive / temperature) + negatives(anchor, temperature)
    measured.append(
      {
        'attract': -float(weight) * positive / temperature,
        'repel': repel * math.log(total) if total else 0.0,
        'positive_similarity': positive,
        'negative_similarity': fmean(anchor.negatives or [0]),
        'effective_negatives': _effective(anchor, temperature),
        'contrast_accuracy': max(anchor.positives) > max(anchor.negatives, default=-math.inf),
      }
    )
  metrics = {name: fmean(part[name] for part in measured) for name in measured[0]}
  return metrics['attract'] + metrics['repel'] + offset, metrics


def _effective(anchor: Anchor, temperature: float) -> float:
  exps = [exp_sum(Anchor([], [s], [w]), temperature) for s, w in zip(*anchor[1:], strict=True)]
  return 1 / sum((exp / sum(exps)) ** 2 for exp in exps) if sum(exps) else 0.0


def assert_same(found: tuple[jax.Array, dict[str, jax.Array]], expected: Result) -> None:
  """Loss and every metric, to the last digits of float64."""
  loss, metrics = jax.device_get(found)
  assert loss.dtype == np.float64
  np.testing.assert_allclose(loss, expected[0], rtol=1e-11, atol=1e-12, err_msg='loss')
  assert metrics.keys() == expected[1].keys()
  for name, value in expected[1].items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-11, atol=1e-12, err_msg=name)
