"""The training loop: dispatches compiled steps without waiting for them, and yields at the steps
where metrics are due or the state is wanted."""

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

from ssl_jax.arguments import check_whole
from ssl_jax.data import EpochSampler
from ssl_jax.training import mesh as mesh_lib
from ssl_jax.training.metrics import MetricsAccumulator
from ssl_jax.training.state import TrainState

# Calls in the device's queue at most: enough to keep it busy, few enough that a run that is asked
# to stop does not first finish minutes of slow steps.
_MAX_QUEUED_CALLS = 4
# The device counts batches in int32.
MOST_BATCHES = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Interval:
  """Metrics of one logging interval.

  Attributes:
    step: optimizer steps done at its end.
    metrics: means over its steps by name, and `images_per_second`.
  """

  step: int
  metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SyncPoint:
  """A step at which the loop yields.

  Attributes:
    step: optimizer steps done.
    state: valid until the loop is resumed, when its buffers are reused.
    intervals: the logging intervals whose metrics were read since the last yield.
    synced: whether the metrics of every dispatched step have been read, and so are known to be
      finite, as they must be before a checkpoint.
    stopped: whether the loop ends here because `should_stop` returned True.
  """

  step: int
  state: TrainState
  intervals: list[Interval]
  synced: bool
  stopped: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
  """The steps at which the loop yields, in optimizer steps.

  Attributes:
    total: steps of the whole run.
    log_every: length of a logging interval. The loop yields at its end without waiting for it; its
      metrics are read one interval later.
    sync_every: periods (0: never) at whose multiples all metrics are read before the loop yields,
      for an evaluation or a checkpoint.
    steps_per_call: steps in one compiled call.
  """

  total: int
  log_every: int
  sync_every: tuple[int, ...] = ()
  steps_per_call: int = 1

  def next_yield(self, step: int) -> int:
    """The first step after `step` at which the loop yields."""
    periods = [self.log_every, *[period for period in self.sync_every if period]]
    return min(self.total, *[(step // period + 1) * period for period in periods])

  def syncs_at(self, step: int) -> bool:
    """Whether all metrics are read at `step`."""
    return step == self.total or any(period and step % period == 0 for period in self.sync_every)


class _PendingMetrics:
  """The accumulators of intervals not yet read. Reading one waits for its last step, so the newest
  is left unread while the next interval runs."""

  def __init__(self, first_step: int, images_per_step: int) -> None:
    self._pending: list[tuple[int, MetricsAccumulator]] = []
    self._last_read = (first_step, time.monotonic())
    self._images_per_step = images_per_step

  def push(self, step: int, metrics: MetricsAccumulator) -> None:
    self._pending.append((step, metrics))

  def read(self, keep: int, completed: int) -> list[Interval]:
    """Reads all but the newest `keep`, when about `completed` steps are done."""
    ready = self._pending[: max(len(self._pending) - keep, 0)]
    self._pending = self._pending[len(ready) :]
    if not ready:
      return []
    intervals = [Interval(step, metrics.compute()) for step, metrics in ready]
    # The device is ahead of what is read, so the speed is that of the steps it completed since the
    # last reading; intervals read together share it.
    before, since = self._last_read
    now = time.monotonic()
    rate = max(completed - before, 1) * self._images_per_step / max(now - since, 1e-9)
    for interval in intervals:
      interval.metrics['images_per_second'] = rate
    self._last_read = (completed, now)
    return intervals

  def restart_clock(self, step: int) -> None:
    """Excludes the time that the caller spent at a sync point."""
    self._last_read = (step, time.monotonic())


def run(
  step_function: Callable[..., tuple[TrainState, MetricsAccumulator, jax.Array]],
  init_metrics: Callable[[], MetricsAccumulator],
  state: TrainState,
  images: Any,
  sampler: EpochSampler,
  plan: Plan,
  mesh: Mesh,
  *,
  accumulation_steps: int = 1,
  should_stop: Callable[[], bool] = lambda: False,
  input_timer: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> Iterator[SyncPoint]:
  """Trains from `state` to the end of the plan and yields where the plan says.

  The images of optimizer step `s` are batches `s * accumulation_steps ...` of `sampler`, so a run
  that resumes needs nothing but the state.

  Args:
    step_function: the compiled step, from `compile_step`.
    init_metrics: makes an empty accumulator, from `compile_step`.
    state: where to start; its buffers are donated.
    images: the data set on the devices, as the step was compiled for.
    sampler: the images of each batch.
    plan: when to yield.
    mesh: the devices.
    accumulation_steps: batches in one optimizer step.
    should_stop: whether to end at the next opportunity, the same answer on all processes. Called
      at every yield; with a single process after every call of the step as well.
    input_timer: makes a context manager that is entered while indices are put on the devices.

  Raises:
    ArgumentError: the run has more batches than the device can count.
    NonFiniteLossError: at the latest at the second yield after the step.
  """
  check_whole('total', plan.total, 0, at_most=MOST_BATCHES // accumulation_steps)
  rows, same = mesh_lib.split(mesh, axis=2), mesh_lib.replicated(mesh)
  step = int(jax.device_get(state.step))
  pending = _PendingMetrics(step, accumulation_steps * sampler.batch_size)
  queued: collections.deque[jax.Array] = collections.deque()
  metrics = init_metrics()
  while step < plan.total:
    yield_at = plan.next_yield(step)
    while step < yield_at:
      count = min(plan.steps_per_call, yield_at - step)
      with input_timer():
        indices = mesh_lib.put(
          _indices(sampler, step, count, plan.steps_per_call, accumulation_steps), rows
        )
        calls = mesh_lib.put(np.int32(count), same)
      state, metrics, done = step_function(state, metrics, images, indices, calls)
      queued.append(done)
      if len(queued) > _MAX_QUEUED_CALLS:
        queued.popleft().block_until_ready()
      step += count
      if jax.process_count() == 1 and should_stop():
        break
    stopped = should_stop()
    synced = stopped or plan.syncs_at(step)
    pending.push(step, metrics)
    metrics = init_metrics()
    if synced:
      queued.clear()
    completed = step - len(queued) * plan.steps_per_call
    intervals = pending.read(keep=0 if synced else 1, completed=completed)
    yield SyncPoint(step, state, intervals, synced, stopped)
    if synced:
      pending.restart_clock(step)
    if stopped:
      return


def _indices(
  sampler: EpochSampler, step: int, count: int, steps_per_call: int, accumulation_steps: int
) -> np.ndarray:
  """int32 [steps_per_call, accumulation_steps, batch]; the rows from `count` on are not used."""
  first = step * accumulation_steps
  batches = [sampler.batch(first + i) for i in range(count * accumulation_steps)]
  batches += [batches[-1]] * ((steps_per_call - count) * accumulation_steps)
  return np.stack(batches).reshape(steps_per_call, accumulation_steps, -1).astype(np.int32)
