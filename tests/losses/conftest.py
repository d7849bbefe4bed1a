"""Without the compile cache: programs of many collectives, loaded from it, can wait for ever.

On CPU they then run their collectives in another order than the devices' threads can serve, and XLA
aborts the process. Compiled afresh they do not.
"""

import pathlib
import re

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.losses.cases import all_cases, measured

# Files whose tests are named after a case, `test_WHAT__CASE`, perhaps with a dtype behind it.
BY_CASE = {'test_properties.py': all_cases, 'test_memory.py': measured}
ANOTHER_WAY = r'_float32(_|$)|_float64_blocks(_(?!None)|$)'


@pytest.fixture(scope='package', autouse=True)
def fresh_programs():
  before = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  compilation_cache.reset_cache()  # whether there is a cache is asked but once
  yield
  jax.config.update('jax_enable_compilation_cache', before)
  compilation_cache.reset_cache()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
  """Moves to the large tier what the default tier has a representative of.

  These are, in files by case, the cases that are not representative; and in the folders of
  families, the rows of `by_precision` in float32 or in blocks.
  """
  folder = pathlib.Path(__file__).parent
  tables = {folder / name: cases() for name, cases in BY_CASE.items()}
  for item in items:
    if item.path in tables:
      named = re.fullmatch(r'test_\w+?__(.+?)(_b?float(16|32|64))?', item.name)
      slow = named and not tables[item.path][named[1]].representative
    else:
      slow = folder in item.path.parents[1:] and re.search(ANOTHER_WAY, item.name)
    if slow:
      item.add_marker(pytest.mark.slow)
