"""Starts the devices and the processes of a run, which must all be about to run the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import pathlib
from collections.abc import Callable

import jax

import ssl_jax
from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.training import multihost, rendezvous

# Flags that each process has its own value of.
_OWN_FLAGS = {
  f'devices.{name}'
  for name in ('process_id', 'coordinator_address', 'connect_seconds', 'compile_cache')
}
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def start_devices(config: Config, log: Callable[[str], None] = print) -> None:
  """Chooses platform and number of devices; must run before the first use of a device.

  Raises:
    UsageError: the processes of the run cannot meet, or differ in a flag or in their software.
  """
  settings = config.devices
  platform = 'cpu' if settings.num_cpu_devices else settings.platform
  if platform != 'auto':
    # JAX names the maker; a list of makers would fail for every one that is absent.
    jax.config.update('jax_platforms', {'gpu': 'cuda'}.get(platform, platform))
  if settings.num_cpu_devices:
    jax.config.update('jax_num_cpu_devices', settings.num_cpu_devices)
  address = settings.coordinator_address
  if not address:
    return
  try:
    if address == 'auto':
      jax.distributed.initialize()
      multihost.require_same('software and flags', facts(config))
      return
    rendezvous.meet(
      address,
      settings.num_processes,
      settings.process_id,
      facts(config),
      connect_seconds=settings.connect_seconds,
      log=log,
    )
    jax.distributed.initialize(address, settings.num_processes, settings.process_id)
  except rendezvous.RendezvousError as error:
    flag = '' if str(error).startswith('--') else '--devices.coordinator_address: '
    raise UsageError(f'{flag}{error}') from error
  except (RuntimeError, ValueError) as error:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise UsageError(
      f'--devices.coordinator_address: {address} cannot be used: {reason}'
    ) from error


def facts(config: Config) -> dict[str, str]:
  """What all processes of a run must have in common before they meet: software and flags."""
  found = {f'version of {name}': importlib.metadata.version(name) for name in _PACKAGES}
  found['code of ssl_jax'] = _code_digest()
  found['version of numbers (jax_enable_x64)'] = str(jax.config.read('jax_enable_x64'))
  flags = config_lib.parser().render(config)
  # The number of processes first: with another one, other flags may well differ too.
  names = sorted(flags, key=lambda name: name != 'devices.num_processes')
  return found | {f'--{name}': flags[name] for name in names if name not in _OWN_FLAGS}


def require_same_data(experiment: Experiment) -> None:
  """Compares the data of all processes, before their devices meet.

  Raises:
    UsageError: naming the first difference, on all processes.
  """
  if jax.process_count() > 1:
    try:
      multihost.require_same('data', experiment.fingerprint.facts())
    except rendezvous.RendezvousError as error:
      raise UsageError(f'--data.source: {error}') from error


def _code_digest() -> str:
  """The beginning of the SHA-256 of the source files of this package."""
  root = pathlib.Path(ssl_jax.__file__).parent
  digest = hashlib.sha256()
  for path in sorted(root.rglob('*.py')):
    digest.update(f'{path.relative_to(root)}\0'.encode() + path.read_bytes())
  return digest.hexdigest()[:12]
