"""The memory of this machine, and whether arrays fit in it."""

import contextlib
import os
import pathlib

from ssl_jax.arguments import ArgumentError

# What a container may use, of which the system inside it does not know.
_LIMITS = ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes')


def machine_memory() -> int | None:
  """Bytes of memory of this machine or container; None where the system does not say."""
  found = []
  with contextlib.suppress(AttributeError, ValueError, OSError):
    found.append(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
  for path in _LIMITS:
    try:
      found.append(int(pathlib.Path(path).read_text()))
    except (ValueError, OSError):  # 'max', or no such system
      continue
  return min(found, default=None)


def check_memory(name: str, needed: int, what: str = '') -> None:
  """Raises ArgumentError, naming `name`, unless so many bytes are at most all memory there is."""
  there = machine_memory()
  if there is not None and needed > there:
    raise ArgumentError(
      name,
      f'{what}{needed / 2**30:,.1f} GiB',
      f'at most {there / 2**30:,.1f} GiB, the memory of this machine',
    )


def check_images(name: str, count: int, size: int) -> None:
  """`check_memory` of uint8 [count, size, size, 3]."""
  check_memory(name, count * size * size * 3, f'{count:,} images of {size}x{size} pixels, ')
