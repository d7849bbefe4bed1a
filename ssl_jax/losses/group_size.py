"""The size of the contiguous groups of images within which a loss compares them."""

from ssl_jax.losses import arguments


def check_group_size(group_size: int, num_global: int) -> None:
  """Requires a whole number >= 2 that divides the global batch.

  Raises:
    ValueError: naming the argument, what was found and what is allowed.
  """
  arguments.check_whole('group_size', group_size, minimum=2)
  if num_global % group_size:
    raise ValueError(
      f'group_size: found {group_size}, must be a divisor of the batch, {num_global}'
    )
