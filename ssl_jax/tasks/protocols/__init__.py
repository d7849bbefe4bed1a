"""The protocols of `--task=evaluate`, each a decorated function of an `EvalContext`.

A new one is such a function in a module of this package.
"""

import importlib
import pkgutil

from ssl_jax.tasks.protocols.protocol import (
  PROTOCOLS,
  TRAINED,
  UNTRAINED,
  Measurement,
  Protocol,
  Result,
  Score,
  check_files,
  check_protocols,
  chosen_protocols,
  lacking,
  protocol,
)

# In the order of `--protocols=all` and of `--help`; other modules come after them.
_FIRST = (
  'neighbors',
  'probes',
  'low_shot',
  'mean_classifier',
  'retrieval',
  'clusters',
  'geometry',
  'prototypes',
  'embedding',
)
for _module in dict.fromkeys((*_FIRST, *(found.name for found in pkgutil.iter_modules(__path__)))):
  importlib.import_module(f'{__name__}.{_module}')

__all__ = [
  'PROTOCOLS',
  'TRAINED',
  'UNTRAINED',
  'Measurement',
  'Protocol',
  'Result',
  'Score',
  'check_files',
  'check_protocols',
  'chosen_protocols',
  'lacking',
  'protocol',
]
