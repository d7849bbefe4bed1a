"""Values that no keyword argument of a loss may have, and calls beside those of the catalog."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ssl_jax import losses
from ssl_jax.losses import MedianRank, RankWindow
from ssl_jax.losses.dsa.arranging_module import init_arranging
from tests.losses.batches import DIM, SIZE

NAN, INF = math.nan, math.inf
NUMBER = (NAN, INF, -1, 'one', '0.5', True, np.ones(2))
POSITIVE = (*NUMBER, 0)
FRACTION = (*NUMBER, 1.01)
COUNT = (0, -1, 1.5, NAN, 'one', '2', True)
GROUP = (*COUNT, 5, 2 * SIZE)  # no divisors of the batch
CHOICE = ('none of them', 0)
PER_IMAGE = (
  np.ones(SIZE + 1, np.float32),
  np.ones((SIZE, 1), np.float32),
  -np.ones(SIZE),
  [1.0] * SIZE,
)
ROWS = (
  np.ones(DIM, np.float32),
  np.ones((4, DIM + 1), np.float32),
  np.ones((4, DIM), np.int32),
  np.ones((0, DIM), np.float32),
)

BAD_VALUES: dict[str, tuple[Any, ...]] = {
  'adaptive_temperature': CHOICE,
  'assignments': CHOICE,
  'attract_weight': NUMBER,
  'base_temperature': POSITIVE,
  'block_size': COUNT,
  'center': (np.ones(DIM + 1, np.float32), np.ones((1, DIM), np.float32)),
  'class_prior': (*FRACTION, 1),
  'covariance_weight': NUMBER,
  # There are SIZE - 1 negatives.
  'deputy': (RankWindow(SIZE, SIZE), RankWindow(2, SIZE), 'median', 5, (2, 10), MedianRank),
  'dim': (*COUNT, DIM + 1),
  'end': (*NUMBER, 0.1),
  'epsilon': POSITIVE,
  'exponent': POSITIVE,
  'fade': FRACTION,
  'form': CHOICE,
  'gamma': NUMBER,
  'gradient_scale': NUMBER,
  'group_size': GROUP,
  'half_period': POSITIVE,
  'hardness': NUMBER,
  'high': (*POSITIVE, 0.01),
  'invariance_weight': NUMBER,
  'key': (0, [0, 1], jax.random.split(jax.random.key(0))),
  'iterations': COUNT,
  'log_offset': (NAN, INF, -INF, 'one', '0.5', True, np.ones(2)),
  'low': POSITIVE,
  'margin': NUMBER,
  'mask': (
    np.ones(SIZE, np.float32),
    np.ones(SIZE, np.int32),
    np.ones(SIZE + 1, bool),
    np.ones((SIZE, 1), bool),
    [True] * SIZE,
  ),
  'maximum': FRACTION,
  'decay': FRACTION,
  'momentum': FRACTION,
  'negative_weights': (*PER_IMAGE, np.ones(SIZE, np.int32)),
  'negatives': ROWS,
  'num_negatives': (*COUNT, SIZE),
  'num_neighbors': (*COUNT, SIZE),
  'pca_dim': (*COUNT, DIM + 1),
  'pca_rows': ROWS,
  'positive_in_denominator': NUMBER,
  'prediction_temperature': POSITIVE,
  'preset': (*CHOICE, ['paper']),
  'prior_temperature': POSITIVE,
  'quantile': FRACTION,
  'reduction': CHOICE,
  'redundancy_weight': NUMBER,
  'repel_weight': NUMBER,
  'scale': POSITIVE,
  'score_mode': CHOICE,
  'sharpness': POSITIVE,
  'similarity': CHOICE,
  'similarity_weight_after': NUMBER,
  'sinkhorn_iterations': COUNT,
  'start': NUMBER,
  'target_std': POSITIVE,
  'target_temperature': POSITIVE,
  'temperature': POSITIVE,
  'threshold': (-1, 1.5, NAN, 'one'),
  'uniformity_gradient_scale': NUMBER,
  'uniformity_weight': NUMBER,
  'variance_weight': NUMBER,
  'weight_temperature': POSITIVE,
}
UNCHECKED = {
  'axis_name': 'JAX reports an axis that is not there',
  'normalize': 'either truth value will do',
  'partition': 'either truth value will do',
  'replacement': 'either truth value will do',
}


MATRICES = np.full((4, SIZE, SIZE), 0.5, np.float32)
CENTER = np.zeros(DIM, np.float32)


def _arranging(form: str = 'concatenation') -> Any:
  return init_arranging(jax.random.key(0), DIM, 4, form=form)


# Functions that are no losses; and losses whose case computes something from the batch first, which
# a wrong array would meet before the loss, or has options that exclude others.
PLAIN_CALLS: dict[str, Callable[..., Any]] = {
  'anchor_scores': lambda b, **o: losses.anchor_scores(b.target1, **{'num_neighbors': 3, **o}),
  'arranging_loss': lambda b, **o: losses.arranging_loss(
    (b.view1, b.view2), (b.target1, b.target2), MATRICES, b.weights / 4, **o
  ),
  'arranging_matrix': lambda b, **o: losses.arranging_matrix(_arranging(), b.view1, b.view2, **o),
  'calibrated_temperature': lambda b, **o: losses.calibrated_temperature(b.target1, **o),
  'centered_assignments': lambda b, **o: losses.centered_assignments(b.target1, CENTER, **o),
  'class_balancing_weights': lambda b, **o: losses.class_balancing_weights(
    b.labels, np.ones(4), **o
  ),
  'cosine_temperature': lambda b, **o: losses.cosine_temperature(3, **o),
  'fade_weight': lambda b, **o: losses.fade_weight(0.3, **o),
  'init_arranging': lambda b, **o: losses.init_arranging(jax.random.key(0), DIM, 4, **o),
  'instance_contrastive': lambda b, **o: losses.instance_contrastive(
    b.view1, b.view2, **{'num_negatives': 3, 'key': jax.random.key(0), **o}
  ),
  'fit_pca': lambda b, **o: losses.fit_pca((b.target1, b.target2), **o),
  'prior_regularizer': lambda b, **o: losses.prior_regularizer(MATRICES, MATRICES, **o),
  'prior_similarity': lambda b, **o: losses.prior_similarity(b.target1, b.target2, **o),
  'released_arranging_matrix': lambda b, **o: losses.released_arranging_matrix(
    _arranging('difference'), b.view1, **o
  ),
  'semantic_adjuster': lambda b, **o: losses.semantic_adjuster(
    _arranging(),
    (b.view1, b.view2),
    None,
    (b.target1, b.target2),
    b.target1,
    **{'preset': 'calibrated', **o},
  ),
  'similarity_clustering': lambda b, **o: losses.similarity_clustering(
    (b.view1, b.view2), (b.target1, b.target2), **{'fade': 0.5, **o}
  ),
  'project': lambda b, **o: losses.project(
    b.target1, losses.fit_pca((np.eye(DIM, dtype=np.float32),)), **o
  ),
  'sinkhorn_assignments': lambda b, **o: losses.sinkhorn_assignments(b.target1, **o),
  'softmax_assignments': lambda b, **o: losses.softmax_assignments(b.target1, **o),
  'update_temperature': lambda b, **o: losses.update_temperature(0.0, 1.0, **o),
  'update_center': lambda b, **o: losses.update_center(CENTER, (b.target1, b.target2), **o),
}


def _adjuster(batch: Any, params: Any) -> Any:
  views, priors = (batch.view1, batch.view2), (batch.target1, batch.target2)
  return losses.semantic_adjuster(params, views, None, priors, batch.target1)


# Arrays that are not a field of the batch; keys begin with the argument.
WRONG_ARRAYS: dict[str, dict[str, Callable[..., Any]]] = {
  'arranging_loss': {
    'matrices of three blocks': lambda b: losses.arranging_loss(
      (b.view1, b.view2), None, MATRICES[:3], b.weights
    ),
    'matrices that are not square': lambda b: losses.arranging_loss(
      (b.view1, b.view2), None, MATRICES[..., 1:], b.weights
    ),
  },
  'prior_regularizer': {
    'matrices of three blocks': lambda b: losses.prior_regularizer(MATRICES[:3], MATRICES),
    'priors of other images': lambda b: losses.prior_regularizer(MATRICES, MATRICES[..., 1:]),
  },
  'semantic_adjuster': {
    'params of the other form': lambda b: _adjuster(b, _arranging('difference')),
    'params left out': lambda b: _adjuster(b, {}),
  },
  'similarity_clustering': {
    'predictions of one view': lambda b: losses.similarity_clustering(
      (b.view1,), (b.target1, b.target2), fade=0.5
    ),
    'center that has another width': lambda b: losses.similarity_clustering(
      (b.view1, b.view2),
      (b.target1, b.target2),
      fade=0.5,
      assignments='centered',
      center=CENTER[1:],
    ),
  },
  'class_balancing_weights': {
    'class_probabilities of rank 2': lambda b: losses.class_balancing_weights(
      b.labels, np.ones((4, 1))
    ),
  },
}
