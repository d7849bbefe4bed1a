"""Self-supervised objectives as pure functions of arrays: no networks, no state, no files.

Every loss returns `(loss, metrics)`, scalars in float32 whatever float dtype comes in (float64
stays float64 under `jax_enable_x64`). Under `jax.jit` arrays are global; inside `jax.shard_map` or
`jax.pmap`, `axis_name=` gathers what the loss needs, with gradient, and returns the global value.
"""

from ssl_jax.losses.deputies import AllRanks, Deputy, MedianRank, RankWindow
from ssl_jax.losses.info_nce import nt_xent
from ssl_jax.losses.normalize import l2_normalize
from ssl_jax.losses.regression import cosine_regression
from ssl_jax.losses.triplet import truncated_triplet

__all__ = [
  'AllRanks',
  'Deputy',
  'MedianRank',
  'RankWindow',
  'cosine_regression',
  'l2_normalize',
  'nt_xent',
  'truncated_triplet',
]
