"""Temperatures that change while training, for losses whose `temperature` may be traced."""

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
  arguments.check_number('epoch', epoch, minimum=0, traced=True)
  arguments.check_number('low', low, minimum=0, exclusive=True)
  arguments.check_number('high', high, minimum=float(low))
  arguments.check_number('half_period', half_period, minimum=0, exclusive=True)
  # Reduced to one period first: the cosine of a large float32 has few digits.
  phase = jnp.asarray(epoch, float) % (2 * half_period) / half_period
  return low + (high - low) * (1 + jnp.cos(jnp.pi * phase)) / 2
