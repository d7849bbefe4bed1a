"""Temperatures and loss weights as functions of training progress, which may be traced."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments


def cosine_temperature(
  epoch: float | jax.Array, *, low: float = 0.1, high: float = 1.0, half_period: float = 200
) -> jax.Array:
  """The temperature that swings between `high` and `low` as a cosine of the epoch.

  `low + (high - low) * (1 + cos(π epoch / half_period)) / 2`: `high` at epoch 0, `low` after
  `half_period`, `high` again after twice that. Low temperatures tell images apart; high ones let
  images of a class, frequent or rare, form groups.

  Source: Kukleva et al., ICLR 2023 (temperature schedules, for NT-Xent on long-tailed data).

  >>> print(' '.join(f'{cosine_temperature(epoch):.3f}' for epoch in (0, 50, 100, 200, 400)))
  1.000 0.868 0.550 0.100 1.000

  Args:
    epoch: >= 0, whole or fractional; may be a traced scalar, of any dtype. Steps do as well, if
      `half_period` counts steps.
    low: > 0, the least temperature.
    high: >= `low`, the greatest.
    half_period: > 0, the epochs from `high` to `low`.

  Returns:
    A scalar, float32 (float64 under `jax_enable_x64`).

  Raises:
    ValueError: a number is outside its range, or `epoch` is no scalar.
  """
  arguments.check_number('epoch', epoch, at_least=0, traced=True)
  arguments.check_number('low', low, above=0)
  arguments.check_number('high', high, at_least=float(low))
  arguments.check_number('half_period', half_period, above=0)
  # Reduced to one period first: the cosine of a large float32 has few digits.
  phase = jnp.asarray(epoch, float) % (2 * half_period) / half_period
  return low + (high - low) * (1 + jnp.cos(jnp.pi * phase)) / 2


def fade_weight(
  progress: chex.Numeric, *, start: float = 0.5, end: float = 0.6, maximum: float = 1.0
) -> jax.Array:
  """0 before `start`, 1 from `end` on, linear between: `clip((progress - start) / (end - start))`.

  The three numbers share any unit: fractions of the run, epochs or steps. Ge et al. count whole
  epochs from 0 and fade during epochs 150 to 180 of 300, or 500 to 600 of 1000.

  Source: the released code of Ge et al., IEEE TIP 2023.

  >>> print([round(float(fade_weight(epoch, start=150, end=180)), 3) for epoch in (150, 151, 180)])
  [0.0, 0.033, 1.0]

  Args:
    progress: of training, >= 0; may be a traced scalar.
    start: the last moment at which the weight is 0.
    end: >= start, the first at which it is 1; equal to `start` it makes the weight jump.
    maximum: the weight is cut off here, so that the earlier loss keeps a share.

  Returns:
    A scalar in [0, 1], float32 (float64 under x64).

  Raises:
    ValueError: a number is outside its range.
  """
  arguments.check_number('progress', progress, at_least=0, traced=True)
  arguments.check_number('start', start, at_least=0)
  arguments.check_number('end', end, at_least=float(start))
  arguments.check_fraction('maximum', maximum)
  progress = jnp.asarray(progress, float)
  if start == end:
    return jnp.where(progress >= end, maximum, 0).astype(progress.dtype)
  return jnp.clip((progress - start) / (end - start), 0, maximum)
