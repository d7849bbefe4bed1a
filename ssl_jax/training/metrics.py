"""Metrics summed on the device, so that the host reads them once an interval and not once a
step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Meter:
  """Sums of the metrics since the last reset, and the first step whose loss was not finite.

  Attributes:
    count: int32 scalar, steps summed.
    sums: float32 scalars by name.
    bad_step: int32 scalar, the first step with a non-finite loss or gradient norm, or -1.
    bad: the metrics of that step.
  """

  count: jax.Array
  sums: dict[str, jax.Array]
  bad_step: jax.Array
  bad: dict[str, jax.Array]


def empty(names: list[str]) -> Meter:
  """A meter of nothing, for metrics called `names`."""
  zeros = lambda: {name: jnp.zeros((), jnp.float32) for name in names}
  return Meter(jnp.zeros((), jnp.int32), zeros(), jnp.full((), -1, jnp.int32), zeros())


def add(meter: Meter, step: jax.Array, metrics: dict[str, jax.Array]) -> Meter:
  """Adds the metrics of one step, which holds float32 scalars under the meter's names."""
  finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(metrics['gradient_norm'])
  first = ~finite & (meter.bad_step < 0)
  return Meter(
    count=meter.count + 1,
    sums={name: total + metrics[name] for name, total in meter.sums.items()},
    bad_step=jnp.where(first, step, meter.bad_step),
    bad={name: jnp.where(first, metrics[name], old) for name, old in meter.bad.items()},
  )


class NonFiniteLossError(RuntimeError):
  """The loss or the gradient stopped being a number.

  Attributes:
    step: the optimizer step (from 1) at which it happened.
    metrics: the parts of the loss at that step.
    last_good: the newest checkpoint, all from before that step; '' while unknown.
  """

  def __init__(self, step: int, metrics: dict[str, float], last_good: str = '') -> None:
    self.step = step
    self.metrics = metrics
    self.last_good = last_good
    parts = ', '.join(f'{name} {value:.6g}' for name, value in sorted(metrics.items()))
    kept = f'; last good checkpoint: {last_good}' if last_good else ''
    super().__init__(f'the loss is not finite at step {step}: {parts}{kept}')


def read(meter: Meter) -> dict[str, float]:
  """The means since the last reset; waits for the device.

  Raises:
    NonFiniteLossError: a step since the last reset was not finite.
  """
  host = jax.device_get(meter)
  if host.bad_step >= 0:
    raise NonFiniteLossError(int(host.bad_step) + 1, {n: float(v) for n, v in host.bad.items()})
  count = max(int(host.count), 1)
  return {name: float(total) / count for name, total in host.sums.items()}
