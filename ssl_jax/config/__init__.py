"""Every setting of a run, declared once; flags, `--help` and `config.flags` are generated from it.

The hyper-parameters of a method are declared by the method's own dataclass and appear as
`--method.FIELD`.
"""

from ssl_jax.config.evaluation import Evaluate, Knn, Negatives, OnlineMetrics
from ssl_jax.config.flag_files import UsageError
from ssl_jax.config.images import Data, Views
from ssl_jax.config.optimization import Optimizer
from ssl_jax.config.run import (
  DEFAULT_METHOD,
  TASKS,
  Checkpoint,
  Config,
  Devices,
  Model,
  Report,
  default_flags,
  differences,
  parse,
  parser,
  read,
  resolve,
  same_place,
  to_flags,
)

__all__ = [
  'DEFAULT_METHOD',
  'TASKS',
  'Checkpoint',
  'Config',
  'Data',
  'Devices',
  'Evaluate',
  'Knn',
  'Model',
  'Negatives',
  'OnlineMetrics',
  'Optimizer',
  'Report',
  'UsageError',
  'Views',
  'default_flags',
  'differences',
  'parse',
  'parser',
  'read',
  'resolve',
  'same_place',
  'to_flags',
]
