"""When one loss fades into another: the weight of the later one over training."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments


def check_fraction(name: str, value: Any, *, traced: bool = False) -> None:
  """Requires a number between 0 and 1; where `traced`, a traced scalar passes unchecked.

  Raises:
    ValueError: naming the argument, its value and what is allowed.
  """
  arguments.check_number(name, value, minimum=0, traced=traced)
  if not isinstance(value, jax.core.Tracer) and float(value) > 1:
    raise ValueError(f'{name}: found {value}, must be between 0 and 1')


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
  arguments.check_number('progress', progress, minimum=0, traced=True)
  arguments.check_number('start', start, minimum=0)
  arguments.check_number('end', end, minimum=float(start))
  check_fraction('maximum', maximum)
  progress = jnp.asarray(progress, float)
  if start == end:
    return jnp.where(progress >= end, maximum, 0).astype(progress.dtype)
  return jnp.clip((progress - start) / (end - start), 0, maximum)
