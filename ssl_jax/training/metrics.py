"""Means of the metrics of an interval, summed on the device and read by the host once."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricsAccumulator:
  """Sums of the metrics of an interval, and the first step whose loss was not finite.

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

  @classmethod
  def init(cls, names: list[str]) -> MetricsAccumulator:
    """No steps yet, for metrics called `names`, `loss` and `gradient_norm` among them."""
    zeros = lambda: {name: jnp.zeros((), jnp.float32) for name in names}
    return cls(jnp.zeros((), jnp.int32), zeros(), jnp.full((), -1, jnp.int32), zeros())

  def update(self, step: jax.Array, metrics: dict[str, jax.Array]) -> MetricsAccumulator:
    """Adds one step: its number, an int32 scalar, and float32 scalars by name."""
    finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(metrics['gradient_norm'])
    first = ~finite & (self.bad_step < 0)
    return MetricsAccumulator(
      count=self.count + 1,
      sums={name: total + metrics[name] for name, total in self.sums.items()},
      bad_step=jnp.where(first, step, self.bad_step),
      bad={name: jnp.where(first, metrics[name], old) for name, old in self.bad.items()},
    )

  def compute(self) -> dict[str, float]:
    """The means over the steps; waits for the device.

    Raises:
      NonFiniteLossError: the loss or gradient norm of a step was not finite.
    """
    host = jax.device_get(self)
    if host.bad_step >= 0:
      raise NonFiniteLossError(int(host.bad_step) + 1, {n: float(v) for n, v in host.bad.items()})
    count = max(int(host.count), 1)
    return {name: float(total) / count for name, total in host.sums.items()}


class NonFiniteLossError(RuntimeError):
  """The loss or the gradient norm is NaN or infinite; the message names all that is, with values.

  Attributes:
    step: the first such optimizer step, counted from 1.
    metrics: all metrics of that step.
    last_good: the newest checkpoint, all from before that step; '' while unknown.
  """

  def __init__(self, step: int, metrics: dict[str, float], last_good: str = '') -> None:
    self.step = step
    self.metrics = metrics
    self.last_good = last_good
    # The two that end the run come first.
    ranked = sorted(metrics, key=lambda name: (name not in ('loss', 'gradient_norm'), name))
    told: dict[bool, list[str]] = {True: [], False: []}
    for name in ranked:
      told[math.isfinite(metrics[name])].append(f'{name} {metrics[name]:.6g}')
    finite = f'; finite: {", ".join(told[True])}' if told[True] else ''
    kept = f'; last good checkpoint: {last_good}' if last_good else ''
    super().__init__(f'not finite at step {step}: {", ".join(told[False])}{finite}{kept}')
