"""The momentum of a target network that is a moving average of the online one."""

import chex
import jax
import jax.numpy as jnp

SCHEDULES = ('cosine', 'constant')


def cosine_momentum(step: chex.Numeric, total_steps: int, base: float) -> jax.Array:
  """1 - (1 - base) (cos(π step / total_steps) + 1) / 2, from `base` up to 1.

  Source: Grill et al., NeurIPS 2020, section 3.3; with `base` 0.99, the released code of Wang et
  al., ICCV 2021. There `step` counts forward batches, the last of those accumulated into an update.

  Args:
    step: from 0; may be traced. Beyond `total_steps` the momentum stays 1.
    total_steps: at which the momentum would be 1.
    base: the momentum at step 0.
  """
  # The sine of half the complement: 1 + cos would cancel near the end, where little is left of it.
  left = jnp.clip(total_steps - jnp.asarray(step), 0, total_steps) / total_steps
  return 1 - (1 - base) * jnp.sin(jnp.pi / 2 * left) ** 2


def target_momentum(schedule: str, step: chex.Numeric, total_steps: int, base: float) -> jax.Array:
  """`cosine_momentum`, or with the schedule 'constant' `base` at every step."""
  if schedule == 'constant':
    return jnp.asarray(base, float)
  return cosine_momentum(step, total_steps, base)
