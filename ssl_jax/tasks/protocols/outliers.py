"""DSA's anchor scores of training images: do they tell outliers from the others?"""

from __future__ import annotations

import numpy as np

from ssl_jax import losses
from ssl_jax.arguments import UNLABELED
from ssl_jax.tasks.protocols.context import EvalContext
from ssl_jax.tasks.protocols.protocol import Measurement, higher, plain, protocol

_GROUP, _FEWEST = 128, 4


@protocol(
  'anchor_scores',
  help="DSA's anchor scores of training images, unlabeled (planted outliers) against labeled",
)
def anchor_scores(context: EvalContext) -> Measurement:
  """Scores in random groups of 128 images, k = 16 neighbors and threshold 1: 0 is an outlier.

  The area under the ROC curve is the probability that an unlabeled image has a lower score than a
  labeled one, ties counting half.
  """
  features = context.features('train')
  size = min(_GROUP, len(features))
  if size < _FEWEST:
    raise ValueError(f'training images: found {size}, must be at least {_FEWEST}')
  order = np.random.default_rng(context.seed).permutation(len(features))
  rows = order[: len(order) // size * size]
  found = np.asarray(
    losses.anchor_scores(
      np.asarray(features)[rows], num_neighbors=max(1, min(20, size // 8)), group_size=size
    )
  )
  scores = {'mean score': plain(found.mean()), 'share of scores 0': plain((found == 0).mean())}
  labels = context.source('train').labels
  outlier = np.zeros(len(rows), bool) if labels is None else labels[rows] == UNLABELED
  if outlier.any() and not outlier.all():
    low, rest = np.sort(found[outlier]), found[~outlier]
    below, upto = (np.searchsorted(low, rest, side=side) for side in ('left', 'right'))
    scores['mean score, unlabeled'] = plain(low.mean())
    scores['mean score, labeled'] = plain(rest.mean())
    scores['AUC of a low score'] = higher((below + upto).mean() / (2 * len(low)))
  return Measurement(scores, {}, {'images': len(rows), 'outliers': int(outlier.sum())})
