"""Every public name says what it is, in one form, and every example in a docstring runs."""

import doctest
import importlib
import inspect
import pkgutil
import re

import chex

from ssl_jax import losses

PUBLIC = {name: getattr(losses, name) for name in losses.__all__}
FUNCTIONS = sorted(name for name, value in PUBLIC.items() if inspect.isfunction(value))
CLASSES = sorted(name for name, value in PUBLIC.items() if inspect.isclass(value))
MODULES = sorted(
  module.name for module in pkgutil.walk_packages(losses.__path__, 'ssl_jax.losses.')
)
PARTS = {
  'a source': r'^  Source: \S',
  'an example': r'^  >>> ',
  'arguments': r'^  Args:$',
  'what it returns': r'^  Returns:$',
  'errors': r'^  Raises:$',
}
# What a function that is no loss may do without.
LACKING = {
  'init_arranging': {'a source'},  # the distribution of the first weights is ours
  'l2_normalize': {'a source', 'an example', 'errors'},  # school mathematics; takes any array
}


def section(docstring: str, title: str) -> str:
  """The indented lines below `title:`."""
  found = re.search(rf'^  {title}:\n((?:    .*\n|\n)*)', docstring, re.MULTILINE)
  return found[1] if found else ''


class DocstringTest(chex.TestCase):
  def test_parts(self):
    for name in FUNCTIONS:
      with self.subTest(name):
        docstring = PUBLIC[name].__doc__ or ''
        lacking = {
          part for part, line in PARTS.items() if not re.search(line, docstring, re.MULTILINE)
        }
        self.assertEqual(lacking, LACKING.get(name, set()), f'the docstring of {name}')

  def test_summary_is_one_line(self):
    for name in FUNCTIONS:
      with self.subTest(name):
        lines = (PUBLIC[name].__doc__ or '').splitlines()
        self.assertRegex(lines[0], r'^\S.*\.$')
        self.assertEmpty(lines[1].strip())

  def test_every_argument_is_described(self):
    for name in FUNCTIONS:
      with self.subTest(name):
        described = section(PUBLIC[name].__doc__ or '', 'Args')
        names = set(re.findall(r'\w+', ' '.join(re.findall(r'^    (\w[\w, ]*):', described, re.M))))
        self.assertEqual(names, set(inspect.signature(PUBLIC[name]).parameters))

  def test_classes_have_their_own_docstring(self):
    for name in CLASSES:
      with self.subTest(name):
        docstring = PUBLIC[name].__doc__ or ''
        # Dataclasses write one themselves, which starts like a call.
        assert docstring and not docstring.startswith(f'{name}(')

  def test_examples(self):
    for name in MODULES:
      with self.subTest(name):
        outcome = doctest.testmod(importlib.import_module(name))
        self.assertEqual(outcome.failed, 0, f'examples of {name} fail, see the output')

  def test_every_exception_is_public(self):
    self.assertContainsSubset(LACKING, FUNCTIONS)
