"""The house of docs/architecture.md: imports point down, heavy packages load late."""

import ast
import pathlib
import re

import chex
from absl.testing import parameterized

ROOT = pathlib.Path(__file__).resolve().parent.parent / 'ssl_jax'
# From top to bottom; packages on one line do not import each other.
FLOORS = (
  ('__main__',),
  ('cli',),
  ('sweeps',),
  ('tasks',),
  ('config',),
  ('reporting', 'evaluation'),
  ('analysis',),
  ('training',),
  ('methods',),
  ('losses', 'models', 'views', 'data'),
)
HEAVY = {'PIL', 'sklearn', 'skimage', 'matplotlib', 'rich', 'tensorboardX', 'grain'}
FILES = sorted(ROOT.rglob('*.py'))


def floor(module: str) -> int:
  return next(index for index, names in enumerate(FLOORS) if module in names)


def room(path: pathlib.Path) -> str:
  return path.relative_to(ROOT).parts[0].removesuffix('.py')


def imports(tree: ast.AST) -> list[str]:
  """Absolute names of all modules that are imported anywhere below a node."""
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == 'ssl_jax':
      found += [f'ssl_jax.{alias.name}' for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      found.append(node.module or '')
  return found


class HouseTest(chex.TestCase):
  @parameterized.parameters(*[str(path.relative_to(ROOT)) for path in FILES])
  def test_imports_point_down(self, name):
    path = ROOT / name
    if path == ROOT / '__init__.py':
      return
    here = room(path)
    tree = ast.parse(path.read_text())
    for imported in imports(tree):
      if not imported.startswith('ssl_jax.'):
        continue
      there = imported.split('.')[1]
      if there != here:
        self.assertLess(floor(here), floor(there), f'{name} imports {imported}')

  @parameterized.parameters(*[str(path.relative_to(ROOT)) for path in FILES])
  def test_heavy_packages_wait_and_flax_stays_in_models(self, name):
    tree = ast.parse((ROOT / name).read_text())
    at_once = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    packages = {module.split('.')[0] for node in at_once for module in imports(node)}
    self.assertEmpty(packages & HEAVY)
    if room(ROOT / name) != 'models':
      everywhere = {module.split('.')[0] for module in imports(tree)}
      self.assertNotIn('flax', everywhere)

  def test_training_names_no_method(self):
    from ssl_jax import methods

    for path in (ROOT / 'training').rglob('*.py'):
      for name in methods.names():
        self.assertNotRegex(path.read_text(), rf'\b{re.escape(name)}\b', path)
