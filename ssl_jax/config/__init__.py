"""Every setting of a run, declared once; flags, `--help` and `config.flags` are generated from it.

The hyper-parameters of a method are declared by the method's own dataclass and appear as
`--method.FIELD`.
"""

from ssl_jax.config.evaluation import Evaluate, Knn, Negatives, OnlineMetrics
from ssl_jax.config.flags import UsageError
from ssl_jax.config.optimization import Optimizer
from ssl_jax.config.run import (
  DEFAULT_METHOD,
  TASKS,
  Checkpoint,
  Config,
  Data,
  Devices,
  Model,
  Report,
  Views,
  differences,
  parse,
  parser,
  resolve,
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
  'differences',
  'parse',
  'parser',
  'resolve',
  'to_flags',
]
