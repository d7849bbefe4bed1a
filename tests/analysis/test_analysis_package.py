"""The analysis package: it stands alone, and the examples in its docstrings run."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import chex
from absl.testing import parameterized

from ssl_jax import analysis

MODULES = sorted(
  module.name for module in pkgutil.walk_packages(analysis.__path__, 'ssl_jax.analysis.')
)
ALONE = """
import sys
import ssl_jax.analysis
packages = {name.split('.')[1] for name in sys.modules if name.startswith('ssl_jax.')}
assert packages == {'analysis', 'arguments'}, packages
assert not {'jax', 'scipy', 'sklearn'} & set(sys.modules)
"""


class AnalysisPackageTest(chex.TestCase):
  def test_imports_neither_jax_nor_another_package(self):
    subprocess.run([sys.executable, '-c', ALONE], check=True)

  @parameterized.named_parameters(*zip(MODULES, MODULES, strict=True))
  def test_examples(self, name):
    outcome = doctest.testmod(importlib.import_module(name))
    self.assertEqual(outcome.failed, 0, f'examples of {name} fail, see the output')

  def test_every_function_has_an_example(self):
    for name in analysis.__all__:
      if name.islower():
        self.assertIn('>>>', getattr(analysis, name).__doc__, name)
