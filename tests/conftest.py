"""Eight simulated devices and a compile cache for the whole suite, set before JAX starts.

LLVM's optimisations are off: tests compile for most of their time, and run for little of it.
"""

import gc
import os
import pathlib

import pytest

_flags = os.environ.get('XLA_FLAGS', '')
for _name, _value in (('force_host_platform_device_count', 8), ('backend_optimization_level', 0)):
  if f'xla_{_name}' not in _flags:
    _flags = f'{_flags} --xla_{_name}={_value}'.strip()
os.environ['XLA_FLAGS'] = _flags
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('MPLBACKEND', 'agg')

_cache = pathlib.Path(__file__).parent.parent / '.cache' / 'jax'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_cache))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')


@pytest.fixture(scope='module', autouse=True)
def forget_programs():
  """Drops a file's compiled programs with it, and what it did to the compile cache.

  Each holds mappings of memory, of which a process may have 65,530: with all of them kept, a worker
  dies in the compiler late in the suite.
  """
  import jax

  before = jax.config.jax_enable_compilation_cache
  yield
  jax.config.update('jax_enable_compilation_cache', before)
  jax.clear_caches()
  gc.collect()
