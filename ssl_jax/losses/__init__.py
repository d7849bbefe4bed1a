"""Self-supervised objectives as pure functions of arrays: no networks, no state, no files.

Every loss returns `(loss, metrics)`, scalars in float32 whatever float dtype comes in (float64
stays float64 under `jax_enable_x64`). Under `jax.jit` arrays are global; inside `jax.shard_map` or
`jax.pmap`, `axis_name=` makes the loss use the other devices' rows, with gradient, and returns the
global value. `block_size=` bounds the memory of a similarity matrix, and `mask=` leaves out rows
that are padding. What is not finite in an embedding makes loss and gradient NaN.
"""

from ssl_jax.deprecation import deprecated_names
from ssl_jax.losses.contrastive.balanced import (
  balanced_contrastive,
  class_balancing_weights,
  decoupled_contrastive,
)
from ssl_jax.losses.contrastive.debiased import debiased_contrastive, hard_negative_contrastive
from ssl_jax.losses.contrastive.hypersphere import alignment, generalized_contrastive, uniformity
from ssl_jax.losses.contrastive.info_nce import info_nce, nt_xent
from ssl_jax.losses.contrastive.instance import instance_contrastive
from ssl_jax.losses.contrastive.supervised import (
  negatives_supervised_contrastive,
  supervised_contrastive,
)
from ssl_jax.losses.dsa.anchor_scores import anchor_scores
from ssl_jax.losses.dsa.arranging_loss import arranging_loss, prior_regularizer
from ssl_jax.losses.dsa.arranging_module import (
  arranging_matrix,
  init_arranging,
  released_arranging_matrix,
)
from ssl_jax.losses.dsa.semantic_adjuster import semantic_adjuster
from ssl_jax.losses.dsa.semantic_prior import (
  calibrated_temperature,
  prior_similarity,
  update_temperature,
)
from ssl_jax.losses.dsa.settings import PRESETS as ADJUSTER_PRESETS
from ssl_jax.losses.dsa.settings import AdjusterSettings
from ssl_jax.losses.iccl.assignments import (
  centered_assignments,
  sinkhorn_assignments,
  softmax_assignments,
  update_center,
)
from ssl_jax.losses.iccl.feature_clustering import feature_cross_entropy, feature_uniformity
from ssl_jax.losses.iccl.principal_axes import PCA, fit_pca, project
from ssl_jax.losses.iccl.similarity_clustering import similarity_clustering
from ssl_jax.losses.normalize import l2_normalize
from ssl_jax.losses.redundancy import barlow_twins, vicreg
from ssl_jax.losses.regression import cosine_regression, negative_cosine
from ssl_jax.losses.schedules import cosine_temperature, fade_weight
from ssl_jax.losses.triplet.ranks import AllRanks, Deputy, MedianRank, RankWindow
from ssl_jax.losses.triplet.truncated_triplet import truncated_triplet

__all__ = [
  'ADJUSTER_PRESETS',
  'PCA',
  'AdjusterSettings',
  'AllRanks',
  'Deputy',
  'MedianRank',
  'RankWindow',
  'alignment',
  'anchor_scores',
  'arranging_loss',
  'arranging_matrix',
  'balanced_contrastive',
  'barlow_twins',
  'calibrated_temperature',
  'centered_assignments',
  'class_balancing_weights',
  'cosine_regression',
  'cosine_temperature',
  'debiased_contrastive',
  'decoupled_contrastive',
  'fade_weight',
  'feature_cross_entropy',
  'feature_uniformity',
  'fit_pca',
  'generalized_contrastive',
  'hard_negative_contrastive',
  'info_nce',
  'init_arranging',
  'instance_contrastive',
  'l2_normalize',
  'negative_cosine',
  'negatives_supervised_contrastive',
  'nt_xent',
  'prior_regularizer',
  'prior_similarity',
  'project',
  'released_arranging_matrix',
  'semantic_adjuster',
  'similarity_clustering',
  'sinkhorn_assignments',
  'softmax_assignments',
  'supervised_contrastive',
  'truncated_triplet',
  'uniformity',
  'update_center',
  'update_temperature',
  'vicreg',
]

__getattr__ = deprecated_names(
  __name__,
  {'Rotation': 'PCA', 'principal_rotation': 'fit_pca', 'rotate_features': 'project'},
)
