"""The loop: dispatches compiled steps, never waits for one, and hands over at the sync_points that
the caller asked for."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.data import EpochSampler
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training import metrics as meter_lib
from ssl_jax.training.metrics import Meter
from ssl_jax.training.state import TrainState

# Calls that may wait in the device's queue. Enough to keep it busy, few enough that a run that is
# asked to stop need not first work off minutes of slow steps.
_MOST_UNDER_WAY = 4


@dataclasses.dataclass(frozen=True)
class Interval:
  """Metrics of one report interval: means over the steps that end with `step`, and images a
  second."""

  step: int
  metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SyncPoint:
  """A point at which the loop hands over.

  Attributes:
    step: optimizer steps done.
    state: valid until the loop is resumed, when its buffers are reused.
    intervals: the report intervals that became known since the last boundary.
    synced: whether every dispatched step is known to be finite, as before a checkpoint it must be.
    stopped: whether the loop ends here because it was asked to.
  """

  step: int
  state: TrainState
  intervals: list[Interval]
  synced: bool
  stopped: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
  """When to hand over, in optimizer steps.

  Attributes:
    total: steps of the whole run.
    report: every so many steps, metrics are collected; read one interval later.
    sync_every: every so many of these steps (0: never), all metrics are read and the state is
      handed over, for evaluation or a checkpoint.
    steps_per_call: steps in one compiled call.
  """

  total: int
  report: int
  sync_every: tuple[int, ...] = ()
  steps_per_call: int = 1

  def next_boundary(self, step: int) -> int:
    """The first boundary after `step`."""
    periods = [self.report, *[period for period in self.sync_every if period]]
    return min(self.total, *[(step // period + 1) * period for period in periods])

  def settles(self, step: int) -> bool:
    """Whether everything must be known at `step`."""
    return step == self.total or any(period and step % period == 0 for period in self.sync_every)


class _Meters:
  """The meters in flight. Reading one waits for its last step, so the newest is left alone while
  the next interval runs."""

  def __init__(self, first_step: int, images_per_step: int) -> None:
    self._pending: list[tuple[int, Meter]] = []
    self._known = (first_step, time.monotonic())
    self._images_per_step = images_per_step

  def push(self, step: int, meter: Meter) -> None:
    self._pending.append((step, meter))

  def read(self, keep: int, completed: int) -> list[Interval]:
    """Reads all but the newest `keep` meters, when `completed` steps are about done."""
    ready = self._pending[: max(len(self._pending) - keep, 0)]
    self._pending = self._pending[len(ready) :]
    if not ready:
      return []
    intervals = [Interval(step, meter_lib.read(meter)) for step, meter in ready]
    # The device is ahead of what is read, so the speed is that of what it has done meanwhile;
    # intervals read together share it.
    before, since = self._known
    now = time.monotonic()
    rate = max(completed - before, 1) * self._images_per_step / max(now - since, 1e-9)
    for interval in intervals:
      interval.metrics['images_per_second'] = rate
    self._known = (completed, now)
    return intervals

  def restart_clock(self, step: int) -> None:
    """Leaves out what the caller did at a boundary."""
    self._known = (step, time.monotonic())


def run(
  step_function: Callable[..., tuple[TrainState, Meter, jax.Array]],
  fresh_meter: Callable[[], Meter],
  state: TrainState,
  images: Any,
  order: EpochSampler,
  plan: Plan,
  mesh: Mesh,
  *,
  accumulation_steps: int = 1,
  should_stop: Callable[[], bool] = lambda: False,
  feeding: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> Iterator[SyncPoint]:
  """Trains from `state` to the end of the plan and yields at every boundary.

  The images of optimizer step `s` are batches `s * accumulation_steps ...` of `order`, so a run
  that resumes needs nothing but the state.
  `should_stop` is asked at every report boundary, the same on all processes; with one process
  before every call as well.

  Raises:
    NonFiniteLossError: at the latest at the second report boundary after the step.
  """
  images_per_step = accumulation_steps * order.batch_size
  rows, same = mesh_lib.split(mesh, axis=2), mesh_lib.replicated(mesh)
  step = int(jax.device_get(state.step))
  meters = _Meters(step, images_per_step)
  under_way: collections.deque[jax.Array] = collections.deque()
  meter = fresh_meter()
  while step < plan.total:
    boundary = plan.next_boundary(step)
    while step < boundary:
      count = min(plan.steps_per_call, boundary - step)
      with feeding():
        indices = mesh_lib.put(
          _indices(order, step, count, plan.steps_per_call, accumulation_steps), rows
        )
        calls = mesh_lib.put(np.int32(count), same)
      state, meter, done = step_function(state, meter, images, indices, calls)
      under_way.append(done)
      if len(under_way) > _MOST_UNDER_WAY:
        under_way.popleft().block_until_ready()
      step += count
      if jax.process_count() == 1 and should_stop():
        break
    stopped = should_stop()
    synced = stopped or plan.settles(step)
    meters.push(step, meter)
    meter = fresh_meter()
    if synced:
      under_way.clear()
    completed = step - len(under_way) * plan.steps_per_call
    intervals = meters.read(keep=0 if synced else 1, completed=completed)
    yield SyncPoint(step, state, intervals, synced, stopped)
    if synced:
      meters.restart_clock(step)
    if stopped:
      return


def _indices(
  order: EpochSampler, step: int, count: int, steps_per_call: int, accumulation_steps: int
) -> np.ndarray:
  """int32 [steps_per_call, accumulation_steps, batch]; the rows behind `count` are not used."""
  first = step * accumulation_steps
  batches = [order.batch(first + i) for i in range(count * accumulation_steps)]
  batches += [batches[-1]] * ((steps_per_call - count) * accumulation_steps)
  return np.stack(batches).reshape(steps_per_call, accumulation_steps, -1).astype(np.int32)
