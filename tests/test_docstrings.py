"""Every public name has a docstring, so that the API reference has no empty entry."""

import importlib
import inspect
import re

import ssl_jax
from tests.tasks import small_runs

PACKAGES = re.findall(r'^\* `(ssl_jax\.\w+)`', ssl_jax.__doc__, re.MULTILINE)


def test_every_public_function_and_class_has_its_own_docstring():
  lacking = []
  for package in ('ssl_jax', *PACKAGES):
    module = importlib.import_module(package)
    assert module.__doc__, package
    for name in module.__all__:
      value = getattr(module, name)
      docstring = getattr(value, '__doc__', None) or ''
      # Dataclasses and named tuples without one get their signature.
      if callable(value) and (not docstring or docstring.startswith(f'{name}(')):
        lacking.append(f'{package}.{name}')
      if inspect.isclass(value):
        for method, function in vars(value).items():
          if (
            inspect.isfunction(function)
            and method[0] != '_'
            and not inspect.getdoc(getattr(value, method))
          ):
            lacking.append(f'{package}.{name}.{method}')
  assert not lacking


def test_the_reference_is_of_the_packages_that_the_overview_lists():
  makefile = (small_runs.ROOT / 'Makefile').read_text()
  named = re.search(r'^PUBLIC := (.*)$', makefile, re.MULTILINE)
  assert named and [f'ssl_jax.{name}' for name in named[1].split()] == PACKAGES
