"""Broadcasts and reductions of host values over all processes; no-ops with a single one."""

import jax
import numpy as np


def any_process(flag: bool) -> bool:
  """Whether `flag` is true on at least one process."""
  if jax.process_count() == 1:
    return flag
  from jax.experimental import multihost_utils

  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def broadcast(value: int) -> int:
  """The `value` of process 0; an int32."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  return int(multihost_utils.broadcast_one_to_all(np.asarray(value, np.int32)))
