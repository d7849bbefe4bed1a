"""The protocols of `--task=evaluate`, each a decorated function of an `EvalContext`.

A new one is such a function in one of the modules below.
"""

import importlib

from ssl_jax.tasks.protocols.protocol import (
  PROTOCOLS,
  TRAINED,
  UNTRAINED,
  Measurement,
  Protocol,
  Result,
  Score,
  check_protocols,
  chosen_protocols,
  protocol,
)

# In the order of `--protocols=all` and of `--help`.
_MODULES = (
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
for _module in _MODULES:
  importlib.import_module(f'{__name__}.{_module}')

__all__ = [
  'PROTOCOLS',
  'TRAINED',
  'UNTRAINED',
  'Measurement',
  'Protocol',
  'Result',
  'Score',
  'check_protocols',
  'chosen_protocols',
  'protocol',
]
