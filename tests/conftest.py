"""Eight simulated devices and a compile cache for the whole suite, set before JAX starts."""

import gc
import os
import pathlib

import pytest

from tests import compiling

os.environ['XLA_FLAGS'] = compiling.xla_flags(8, before=os.environ.get('XLA_FLAGS', ''))
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
