"""How a setting refuses a value."""

from __future__ import annotations

from ssl_jax.flag_parsing import UsageError


def require(name: str, value: float | int | str, allowed: str, ok: bool) -> None:
  """Raises a UsageError that names the flag, what was found and what is allowed, unless `ok`."""
  if not ok:
    raise UsageError(f'--{name}: found {value}, must be {allowed}')
