"""Self-supervised methods: which networks see which views, and which loss joins them.

A method is a frozen dataclass; its fields are its hyper-parameters. Adding one is a file here and
its class in `_CLASSES`.
"""

import dataclasses
import difflib
from typing import Any

from ssl_jax.methods.base import Embeddings, Method, hyperparameter
from ssl_jax.methods.byol import BYOL
from ssl_jax.methods.momentum import cosine_momentum
from ssl_jax.methods.online_target import OnlineTargetMethod
from ssl_jax.methods.simclr import SimCLR
from ssl_jax.methods.truncated_triplet import TruncatedTriplet

__all__ = [
  'BYOL',
  'Embeddings',
  'Method',
  'OnlineTargetMethod',
  'SimCLR',
  'TruncatedTriplet',
  'cosine_momentum',
  'create',
  'get',
  'hyperparameter',
  'names',
]

_CLASSES: tuple[type[Method], ...] = (SimCLR, BYOL, TruncatedTriplet)


def names() -> tuple[str, ...]:
  """The names of all methods."""
  return tuple(method.name for method in _CLASSES)


def get(name: str) -> type[Method]:
  """The class of a method.

  Raises:
    ValueError: no method has this name; the message gives the nearest ones.
  """
  for method in _CLASSES:
    if method.name == name:
      return method
  raise ValueError(_unknown('method.name', name, names()))


def create(name: str, **hyperparameters: Any) -> Method:
  """A method that is not yet bound to an encoder.

  >>> create('simclr', temperature=0.2).temperature
  0.2

  Raises:
    ValueError: the name or a hyper-parameter is unknown, or a value is not allowed.
  """
  method = get(name)
  known = tuple(
    field.name for field in dataclasses.fields(method) if field.metadata.get('flag', True)
  )
  for given in hyperparameters:
    if given not in known:
      raise ValueError(_unknown(f'method.{given}', given, known))
  return method(**hyperparameters)


def _unknown(argument: str, found: Any, allowed: tuple[str, ...]) -> str:
  nearest = difflib.get_close_matches(str(found), allowed, n=3, cutoff=0.5)
  hint = f'nearest: {", ".join(nearest)}; ' if nearest else ''
  return f'{argument}: found {found!r}; {hint}allowed: {", ".join(allowed)}'
