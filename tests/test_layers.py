"""The layers of docs/architecture.md: imports point down, heavy packages load late.

Each test walks all modules of the package and lists everything that is wrong at once.
"""

import ast
import pathlib
import re

from ssl_jax import methods

ROOT = pathlib.Path(__file__).resolve().parent.parent / 'ssl_jax'
# From top to bottom. A line imports lines below it only, so packages on one line are independent. A
# new package or module of `ssl_jax` is added to a line, or to one of its own.
LAYERS = (
  ('__main__',),
  ('cli',),
  ('sweeps',),
  ('tasks',),
  ('config',),
  ('evaluation',),
  ('analysis',),
  ('training',),
  ('methods',),
  ('losses', 'models', 'views', 'data', 'reporting'),
  ('arguments', 'deprecation'),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
# Imported inside functions: `import ssl_jax`, and training from memory, do without them.
HEAVY = {'PIL', 'sklearn', 'skimage', 'matplotlib', 'rich', 'tensorboardX', 'grain'}
MAX_LINES = 450
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.rglob('*.py'))}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}


def package(name: str) -> str:
  """The package of `ssl_jax` that a file belongs to: losses of losses/dsa/settings.py."""
  return name.partition('/')[0].removesuffix('.py')


def imports(nodes) -> set[str]:
  """Absolute names of the modules that any of the nodes imports."""
  found = set()
  for node in nodes:
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module == 'ssl_jax':
      found |= {f'ssl_jax.{alias.name}' for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found.add(node.module or '')
  return found


def test_imports_point_down():
  assert {package(name) for name in TEXTS} - {'__init__'} == LAYER_OF.keys()
  wrong = [
    f'{name} imports {module}'
    for name, tree in TREES.items()
    for module in imports(ast.walk(tree))
    if name != '__init__.py' and module.startswith('ssl_jax.')
    for there in [module.split('.')[1]]
    if there != package(name) and LAYER_OF[there] <= LAYER_OF[package(name)]
  ]
  assert not wrong, wrong


def test_heavy_packages_load_late_and_flax_in_models_only():
  wrong = []
  for name, tree in TREES.items():
    at_once = {module.split('.')[0] for module in imports(tree.body)}
    wrong += [f'{name} imports {module} at once' for module in at_once & HEAVY]
    anywhere = {module.split('.')[0] for module in imports(ast.walk(tree))}
    if 'flax' in anywhere and package(name) != 'models':
      wrong.append(f'{name} imports flax')
  assert not wrong, wrong


def test_training_names_no_method():
  named = re.compile(rf'\b({"|".join(map(re.escape, methods.names()))})\b')
  wrong = {name: named.findall(text) for name, text in TEXTS.items() if package(name) == 'training'}
  assert not any(wrong.values()), wrong


def test_files_are_short_and_named_for_what_they_hold():
  vague = {'utils', 'util', 'helpers', 'common', 'misc'}
  wrong = [
    f'{name} has more than {MAX_LINES} lines'
    for name, text in TEXTS.items()
    if text.count('\n') > MAX_LINES
  ]
  wrong += [name for name in TEXTS if vague & set(re.split(r'[/_.]', name))]
  assert not wrong, wrong
