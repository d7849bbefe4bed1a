"""Retrieval: rank-k accuracy and mean average precision of a gallery ordered by similarity."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.analysis.features import geometry
from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.evaluation.arguments import check_integers, check_rows
from ssl_jax.evaluation.neighbors.search import cosine_similarities


@dataclasses.dataclass(frozen=True)
class RetrievalScores:
  """What `retrieval_scores` measures, over all queries; shares and means are from 0 to 1.

  A match is a gallery item of the query's id that is not junk. Of a query with M matches at the
  ranks r_1 < ... < r_M, counted from 1, precision at its i-th match is i / r_i.

  Attributes:
    cmc: by rank, the share of queries with a match at that rank or before: rank-1 and so on.
    mean_average_precision: the mean over queries of sum_i (i / r_i) / M.
    trapezoid_map: the same with the precision averaged with that of the item before, as the
      Market-1501 evaluation does: sum_i (i / r_i + (i - 1) / (r_i - 1)) / 2M, where 0 / 0 is 1.
    queries: all of them, the denominator everywhere.
    queries_without_match: of these; they are failures: 0 in every mean.
    first_match: `int64 [query]`, r_1, or 0 without a match.
  """

  cmc: Mapping[int, float]
  mean_average_precision: float
  trapezoid_map: float
  queries: int
  queries_without_match: int
  first_match: np.ndarray


def retrieval_scores(
  query_features: Any,
  query_ids: Any,
  gallery_features: Any,
  gallery_ids: Any,
  *,
  query_cameras: Any = None,
  gallery_cameras: Any = None,
  query_rows: Any = None,
  junk: Any = None,
  ranks: Sequence[int] = (1, 5, 10),
  chunk_size: int = 128,
) -> RetrievalScores:
  """How early a gallery, ordered by similarity, shows the items of each query's id.

  Similarity is the dot product of unit features, which are made so here, in float32; of equally
  similar items the one earlier in the gallery comes first. Junk is taken out of a query's ranking
  before ranks are counted: gallery items of its id and its camera, its own row of the gallery, and
  what `junk` marks. Items with a negative id, distractors, stay and match nothing.

  Where the gallery is the labeled set that the queries are from, `query_rows=np.arange(n)` leaves
  each query out of its own ranking.

  Source: the SYSU-30k evaluation of the truncated triplet loss, Wang et al., ICCV 2021, and the
  Market-1501 evaluation, Zheng et al., ICCV 2015, which it follows. There, queries without a match
  count as failures; the original Market-1501 code has none.

  >>> gallery = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]
  >>> scores = retrieval_scores([[1.0, 0.05]], [7], gallery, [-1000, 7, 7])
  >>> print(scores.cmc[1], scores.cmc[5], round(scores.mean_average_precision, 4))
  0.0 1.0 0.5833

  Args:
    query_features: `[query, dim]`, numbers of any dtype; a zero row is similar to nothing.
    query_ids: `int [query]`.
    gallery_features: `[gallery, dim]`.
    gallery_ids: `int [gallery]`.
    query_cameras: `int [query]`, with `gallery_cameras`; without both no camera makes junk.
    gallery_cameras: `int [gallery]`.
    query_rows: `int [query]`, the row of the gallery that is the query itself; -1 for none.
    junk: `bool [gallery]`, items left out of all rankings, such as the id -1 of Market-1501.
    ranks: of the cumulative match characteristic.
    chunk_size: queries compared with the gallery at once; memory is
      O(chunk_size x gallery + gallery x dim).

  Returns:
    The scores, see `RetrievalScores`.

  Raises:
    ValueError: shapes do not fit, ids are absent, a feature is not finite, cameras are given on one
      side only, no query has an id of the gallery, or an option is out of range.
  """
  gallery = check_rows('gallery_features', gallery_features)
  queries = check_rows('query_features', query_features, like=('gallery', gallery.shape[1]))
  ids = check_integers('query_ids', query_ids, 'query_features', len(queries))
  others = check_integers('gallery_ids', gallery_ids, 'gallery_features', len(gallery))
  cameras = _check_cameras(query_cameras, gallery_cameras, len(queries), len(gallery))
  rows = _check_query_rows(query_rows, len(queries), len(gallery))
  kept = ~_check_junk(junk, len(gallery))
  if not len(ranks):
    raise ArgumentError('ranks', 'none', 'at least one')
  ranks = [check_whole('ranks', rank) for rank in ranks]
  check_whole('chunk_size', chunk_size)
  if not np.isin(ids[ids >= 0], others).any():
    raise ArgumentError('query_ids', 'none that gallery_ids has', 'one of 0 or greater in both')

  first = np.zeros(len(queries), np.int64)
  precisions, trapezoids = np.zeros(len(queries)), np.zeros(len(queries))
  for start, similarities in cosine_similarities(gallery, queries, chunk_size):
    for query, row in enumerate(similarities, start):
      same = others == ids[query]
      valid = kept
      if cameras is not None:
        valid = valid & ~(same & (cameras[1] == cameras[0][query]))
      if rows[query] >= 0:
        valid = valid & (np.arange(len(gallery)) != rows[query])
      match = same & valid if ids[query] >= 0 else np.zeros_like(same)
      at = _match_ranks(row, match, valid & ~match)
      if len(at):
        first[query] = at[0]
        precisions[query], trapezoids[query] = _average_precisions(at)
  matched = first > 0
  return RetrievalScores(
    cmc={rank: float(np.mean(matched & (first <= rank))) for rank in ranks},
    mean_average_precision=float(np.mean(precisions)),
    trapezoid_map=float(np.mean(trapezoids)),
    queries=len(queries),
    queries_without_match=int(np.count_nonzero(~matched)),
    first_match=first,
  )


def flip_ensemble(features: Any, flipped_features: Any, *, released: bool = False) -> np.ndarray:
  """One unit feature for an image from that of the image and that of its horizontal flip.

  `normalize(original + flipped)`. With `released`, `normalize(normalize(original) + flipped)`, for
  parity with the released person retrieval code of the truncated triplet loss, where the flip
  dominates.

  Source: Wang et al., ICCV 2021 (truncated triplet loss), SYSU-30k evaluation.

  >>> print(flip_ensemble([[3.0, 0.0]], [[0.0, 4.0]]))
  [[0.6 0.8]]

  Args:
    features: `[n, dim]` of any real dtype, not normalized.
    flipped_features: `[n, dim]`; row i belongs to the flipped image i.
    released: whether the original feature alone is normalized before the sum.

  Returns:
    `[n, dim]`, float64 where a float64 comes in and else float32, of unit length; a sum of zero
    stays zero.

  Raises:
    ValueError: shapes differ or are not `[n, dim]`, or a feature is not finite.
  """
  arrays = [check_rows('features', features), check_rows('flipped_features', flipped_features)]
  shape, flipped_shape = (array.shape for array in arrays)
  if shape != flipped_shape:
    raise ArgumentError('flipped_features', f'shape {flipped_shape}', f'{shape}, that of features')
  wide = any(array.dtype == np.float64 for array in arrays)
  original, flipped = (array.astype(np.float64) for array in arrays)
  if released:
    original = geometry.l2_normalize(original)
  return geometry.l2_normalize(original + flipped).astype(np.float64 if wide else np.float32)


def _match_ranks(similarities: np.ndarray, match: np.ndarray, other: np.ndarray) -> np.ndarray:
  """The ranks of the matches among matches and others, from 1 and in order: `int64 [match]`."""
  matches = np.sort(_sort_keys(similarities, np.flatnonzero(match)))
  if not len(matches):
    return matches
  # Each other item goes before the matches behind it: no need to sort a gallery of a million.
  behind = np.searchsorted(matches, _sort_keys(similarities, np.flatnonzero(other)))
  before = np.cumsum(np.bincount(behind, minlength=len(matches) + 1))[: len(matches)]
  return before + np.arange(1, len(matches) + 1)


def _sort_keys(similarities: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Integers in the order of the ranking: the larger similarity first, then the earlier row."""
  # The bits of float32 numbers are in their order, but for the negative ones, which are reversed;
  # adding 0 turns -0 into 0.
  bits = (similarities[rows] + np.float32(0)).view(np.int32).astype(np.int64)
  return -np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) * 2**32 + rows


def _average_precisions(ranks: np.ndarray) -> tuple[float, float]:
  hits = np.arange(1, len(ranks) + 1)
  precision = hits / ranks
  before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1)
  return float(np.mean(precision)), float(np.mean((precision + before) / 2))


def _check_cameras(
  query_cameras: Any, gallery_cameras: Any, queries: int, gallery: int
) -> tuple[np.ndarray, np.ndarray] | None:
  if query_cameras is None and gallery_cameras is None:
    return None
  return (
    check_integers('query_cameras', query_cameras, 'query_features', queries),
    check_integers('gallery_cameras', gallery_cameras, 'gallery_features', gallery),
  )


def _check_query_rows(query_rows: Any, queries: int, gallery: int) -> np.ndarray:
  if query_rows is None:
    return np.full(queries, -1)
  rows = check_integers('query_rows', query_rows, 'query_features', queries)
  if rows.min() < -1 or rows.max() >= gallery:
    raise ArgumentError(
      'query_rows',
      f'{rows.min()} to {rows.max()}',
      f'from -1 to {gallery - 1}, the rows of the gallery',
    )
  return rows


def _check_junk(junk: Any, gallery: int) -> np.ndarray:
  if junk is None:
    return np.zeros(gallery, bool)
  mask = np.asarray(junk)
  if mask.shape != (gallery,) or mask.dtype != bool:
    raise ArgumentError(
      'junk', f'{mask.dtype} of shape {mask.shape}', f'bool of shape ({gallery},)'
    )
  return mask
