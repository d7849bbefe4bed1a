"""Schedules of a run that goes on after its end: learning rate and momentum of the average."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import chex
import jax.numpy as jnp
import optax

from ssl_jax.training import schedules


@dataclasses.dataclass(frozen=True)
class Extension:
  """Updates that follow the end of a run, or of the extension before.

  Attributes:
    start: updates before the first one.
    updates: their number.
    rewarms: whether schedules are those of a run of that length; else they stay at their end.
  """

  start: int
  updates: int
  rewarms: bool

  @property
  def end(self) -> int:
    """Updates done after the last one."""
    return self.start + self.updates


def learning_rate(
  schedule: optax.Schedule,
  extensions: Sequence[Extension],
  of_length: Callable[[int], optax.Schedule],
) -> optax.Schedule:
  """`schedule`, then in each extension a schedule of its own, or the rate of the update before it.

  Args:
    schedule: updates done to learning rate, of the run without extensions.
    extensions: in their order.
    of_length: the schedule of a run of so many updates.
  """
  for extension in extensions:
    if extension.rewarms:
      own = of_length(extension.updates)
    else:
      own = schedules.constant(float(schedule(extension.start - 1)))
    schedule = optax.join_schedules([schedule, own], [extension.start])
  return schedule


def momentum_batch(
  extensions: Sequence[Extension], accumulation_steps: int
) -> Callable[[chex.Numeric], chex.Numeric]:
  """From a forward batch to the one of the run without extensions that has its momentum.

  In an extension that rewarms, the momentum passes through the whole schedule of the run again;
  else it stays that of the run's last batch.

  Args:
    extensions: in their order.
    accumulation_steps: forward batches of an update.
  """
  if not extensions:
    return lambda batch: batch
  total = extensions[0].start * accumulation_steps

  def mapped(batch: chex.Numeric) -> chex.Numeric:
    found = jnp.asarray(batch)
    for extension in extensions:
      start, length = (n * accumulation_steps for n in (extension.start, extension.updates))
      own = jnp.full_like(found, total - 1)
      if extension.rewarms:
        share = jnp.asarray(batch - start, float) / length
        own = jnp.round(share * total).astype(found.dtype)
      found = jnp.where(batch < start, found, own)
    return found

  return mapped
