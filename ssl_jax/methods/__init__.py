"""Self-supervised methods: networks, the views they embed, and a loss.

A method is a frozen dataclass; its fields are its hyper-parameters. Adding one is a file here and
its class in `_CLASSES`. Every method with a projector also comes with the dynamic semantic adjuster
as `NAME+dsa`.
"""

import dataclasses
from typing import Any

from ssl_jax.arguments import check_choice
from ssl_jax.methods.balanced import Balanced
from ssl_jax.methods.barlow_twins import BarlowTwins
from ssl_jax.methods.base.batch import Batch, Embeddings, feature_std
from ssl_jax.methods.base.method import Method, Variables, hyperparameter
from ssl_jax.methods.base.online_target import OnlineTargetMethod, cosine_momentum
from ssl_jax.methods.base.projected import ProjectedMethod
from ssl_jax.methods.byol import BYOL
from ssl_jax.methods.dcl import DCL
from ssl_jax.methods.dsa import with_dsa
from ssl_jax.methods.iccl import ICCL
from ssl_jax.methods.instance_discrimination import InstanceDiscrimination
from ssl_jax.methods.moco_v2 import MoCoV2
from ssl_jax.methods.moco_v3 import MoCoV3
from ssl_jax.methods.nnclr import NNCLR
from ssl_jax.methods.simclr import SimCLR
from ssl_jax.methods.simsiam import SimSiam
from ssl_jax.methods.supcon import SupCon
from ssl_jax.methods.supervised import Supervised
from ssl_jax.methods.swav import SwAV
from ssl_jax.methods.truncated_triplet import TruncatedTriplet
from ssl_jax.methods.vicreg import VICReg

__all__ = [
  'BYOL',
  'DCL',
  'ICCL',
  'NNCLR',
  'Balanced',
  'BarlowTwins',
  'Batch',
  'Embeddings',
  'InstanceDiscrimination',
  'Method',
  'MoCoV2',
  'MoCoV3',
  'OnlineTargetMethod',
  'ProjectedMethod',
  'SimCLR',
  'SimSiam',
  'SupCon',
  'Supervised',
  'SwAV',
  'TruncatedTriplet',
  'VICReg',
  'Variables',
  'base_methods',
  'cosine_momentum',
  'create',
  'feature_std',
  'get',
  'hyperparameter',
  'names',
  'with_dsa',
]

_CLASSES: tuple[type[Method], ...] = (
  SimCLR,
  DCL,
  Balanced,
  InstanceDiscrimination,
  MoCoV2,
  MoCoV3,
  NNCLR,
  BYOL,
  SimSiam,
  TruncatedTriplet,
  ICCL,
  BarlowTwins,
  VICReg,
  SwAV,
  SupCon,
  Supervised,
)
# The methods that DSA can be added to: those with a projector.
_BASE_METHODS = tuple(kind for kind in _CLASSES if kind is not Supervised)


def names() -> tuple[str, ...]:
  """The names of all methods, those with DSA last."""
  return tuple(kind.name for kind in _registry())


def base_methods() -> tuple[str, ...]:
  """The names of the methods that DSA can be added to."""
  return tuple(kind.name for kind in _BASE_METHODS)


def get(name: str) -> type[Method]:
  """The class of a method.

  Raises:
    ValueError: no method has this name; the message gives the nearest ones.
  """
  check_choice('name', name, names())
  return next(kind for kind in _registry() if kind.name == name)


def create(name: str, **hyperparameters: Any) -> Method:
  """A method without an encoder yet, see `Method.setup`.

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
    check_choice('hyper-parameter', given, known)
  return method(**hyperparameters)


def _registry() -> tuple[type[Method], ...]:
  return (*_CLASSES, *(with_dsa(kind) for kind in _BASE_METHODS))
