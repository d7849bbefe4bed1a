"""Without the compile cache: programs of many collectives, loaded from it, can wait for ever.

On CPU they then run their collectives in another order than the devices' threads can serve, and XLA
aborts the process. Compiled afresh they do not.
"""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope='package', autouse=True)
def fresh_programs():
  before = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  compilation_cache.reset_cache()  # whether there is a cache is asked but once
  yield
  jax.config.update('jax_enable_compilation_cache', before)
  compilation_cache.reset_cache()
