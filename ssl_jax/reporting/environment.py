"""Versions of the software and a description of the devices."""

import importlib.metadata
import os
import pathlib
import platform
from collections import Counter

PACKAGES = ('ssl_jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'chex', 'numpy')


def collect_versions() -> dict[str, str]:
  """Versions by name: Python, the operating system, and the packages that results depend on.

  A package without metadata is left out, except this one, which also runs from a checkout.
  """
  versions = {'python': platform.python_version(), 'system': platform.platform(terse=True)}
  for package in PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      if package == 'ssl_jax':
        import ssl_jax

        versions[package] = ssl_jax.__version__
  return versions


def describe_devices() -> str:
  """Devices in words, such as `4 x NVIDIA H200 (gpu)` or `1 x cpu (2 cores, AMD EPYC 9B14)`."""
  import jax

  counts = Counter((device.device_kind, device.platform) for device in jax.devices())
  parts = []
  for (kind, backend), count in counts.items():
    detail = f'{_available_cores()} cores{_processor()}' if backend == 'cpu' else backend
    parts.append(f'{count} x {kind} ({detail})')
  if jax.process_count() > 1:
    parts.append(f'{jax.process_count()} processes')
  return ', '.join(parts)


def _available_cores() -> int:
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _processor() -> str:
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return f', {platform.processor()}' if platform.processor() else ''
  names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
  return f', {names[0]}' if names else ''
