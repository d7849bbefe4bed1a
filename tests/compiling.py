"""XLA's flags for tests, which compile for most of their time and run for little of it.

LLVM's optimizations are off, and one thread generates code, as every core has a test of its own.
The newer emitters of fused loops take twice as long as the older ones, which jaxlib 0.11 dropped.
"""

from importlib import metadata

FLAGS = {'xla_backend_optimization_level': '0', 'xla_cpu_parallel_codegen_split_count': '1'}
if tuple(map(int, metadata.version('jaxlib').split('.')[:2])) < (0, 11):
  FLAGS['xla_cpu_use_fusion_emitters'] = 'false'


def xla_flags(devices: int = 0, before: str = '') -> str:
  """For the environment variable XLA_FLAGS, with so many devices; what `before` sets stays."""
  flags = dict(FLAGS)
  if devices:
    flags['xla_force_host_platform_device_count'] = str(devices)
  added = [f'--{name}={value}' for name, value in flags.items() if name not in before]
  return ' '.join([before, *added]).strip()
