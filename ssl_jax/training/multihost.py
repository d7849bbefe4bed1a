"""Broadcasts and reductions of host values over all processes; no-ops with a single one."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ssl_jax.training.rendezvous import RendezvousError, first_difference

_WAIT_SECONDS = 1800


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


def require_same(what: str, facts: Mapping[str, str]) -> None:
  """Compares facts of all processes through the coordinator, before any of their devices meet.

  Args:
    what: the facts are, a word for each call of a process.
    facts: by name.

  Raises:
    RendezvousError: the first fact that differs, on all processes.
  """
  if jax.process_count() == 1:
    return
  # The library has no public name for the store of its coordinator.
  from jax._src import distributed

  client: Any = distributed.global_state.client
  own = jax.process_index()
  key = lambda name: f'ssl_jax/{what}/{name}'
  read = lambda name: client.blocking_key_value_get(key(name), _WAIT_SECONDS * 1000)
  if own:
    client.key_value_set(key(own), json.dumps(dict(facts)))
    problem = read('problem')
  else:
    others = ((one, json.loads(read(one))) for one in range(1, jax.process_count()))
    problem = next(filter(None, (first_difference(facts, them, one) for one, them in others)), '')
    client.key_value_set(key('problem'), problem)
  if problem:
    raise RendezvousError(problem)
