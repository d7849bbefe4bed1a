"""The train state: parameters, statistics, optimizer state, step and random key as one pytree."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ssl_jax.arguments import check_seed
from ssl_jax.methods import Method
from ssl_jax.training import mesh as mesh_lib

# Independent streams of random numbers, all from the run's one root key.
INIT, VIEWS, METHOD, PAIRS = 0, 1, 2, 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state between two optimizer steps.

  Attributes:
    step: int32 scalar, optimizer steps done.
    params: float32 tree, one sub-tree a network.
    batch_stats: float32 tree, batch statistics of the online networks.
    target: float32 tree, the moving average of some sub-trees of `params`; empty without one.
    method_state: other arrays of the method that training changes (a queue, a center).
    opt_state: the optimizer's state.
    key: typed PRNG key, the root of every random number.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  target: Any
  method_state: Any
  opt_state: Any
  key: jax.Array

  @property
  def variables(self) -> dict[str, Any]:
    """The trees that the functions of a method take as `variables`."""
    return {
      'params': self.params,
      'batch_stats': self.batch_stats,
      'target': self.target,
      'method_state': self.method_state,
    }


def create(
  method: Method, optimizer: optax.GradientTransformation, seed: int, size: int, mesh: Mesh
) -> TrainState:
  """The state at step 0, a function of the seed alone, copied to every device of `mesh`.

  Args:
    method: set up with its encoder.
    optimizer: whose state is initialized from the parameters.
    seed: of the root key.
    size: side of a view in pixels.
    mesh: the devices.

  Raises:
    ArgumentError: the seed has more than 32 bits.
  """

  def init(key: jax.Array) -> TrainState:
    # Two images: batch statistics of one would be degenerate, and no parameter depends on the
    # number.
    images = jnp.zeros((2, size, size, 3), jnp.float32)
    variables = method.init(jax.random.fold_in(key, INIT), images)
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=variables['params'],
      batch_stats=variables['batch_stats'],
      target=variables['target'],
      method_state=variables['method_state'],
      opt_state=optimizer.init(variables['params']),
      key=key,
    )

  key = jax.random.key(check_seed('seed', seed))
  return jax.jit(init, out_shardings=mesh_lib.replicated(mesh))(key)
