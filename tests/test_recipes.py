"""Recipes and sweeps: each parses, describes itself and fits its method; every method has some."""

import functools
import pathlib
import re

import chex
import pytest

from docs import recipe_index
from ssl_jax import config, methods
from ssl_jax.config.flag_files import find_file, recipes_folder
from ssl_jax.sweeps import sweep_file

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
_FILES = recipe_index.flag_files()
_RECIPES = recipe_index.recipes()
_SWEEPS = recipe_index.sweeps()


def _flags(name):
  lines = _FILES[name].read_text(encoding='utf-8').splitlines()
  return [line for line in lines if line.startswith('-')]


def _includes(name):
  return [line.partition('=')[2] for line in _flags(name) if line.startswith('--flagfile=')]


def _parse(name):
  return config.parse([f'--flagfile={name}'])


@functools.cache
def _all():
  """Name and configuration of every recipe and of every line of a sweep."""
  found = [(name, _parse(name)) for name in _RECIPES]
  for sweep, file in _SWEEPS.items():
    found += [(f'{sweep}: {name}', parsed) for name, parsed in recipe_index.variants(file).items()]
  return found


class FileTest(chex.TestCase):
  def test_every_file_parses_and_renders(self):
    self.assertNotEmpty(_FILES)
    for name in _FILES:
      with self.subTest(name):
        parsed = _parse(name)
        self.assertEqual(config.parse(config.to_flags(parsed).splitlines()), parsed)

  def test_every_file_opens_with_a_comment_and_sets_each_flag_once(self):
    for name, file in _FILES.items():
      with self.subTest(name):
        self.assertNotEmpty(recipe_index.header(file).text)
        flags = [line.partition('=')[0] for line in _flags(name)]
        self.assertLen(set(flags), len(flags))

  def test_a_recipe_includes_at_most_one_base_and_a_base_nothing(self):
    for name, file in _FILES.items():
      with self.subTest(name):
        included = _includes(name)
        self.assertLessEqual(len(included), int(name in _RECIPES))
        for path in included:
          base = (file.parent / path).resolve().relative_to(recipes_folder())
          self.assertIn(base.with_suffix('').as_posix(), set(_FILES) - set(_RECIPES))

  def test_every_base_is_used(self):
    used = {(file.parent / path).resolve() for n, file in _FILES.items() for path in _includes(n)}
    sweeps = '\n'.join(file.read_text(encoding='utf-8') for file in _SWEEPS.values())
    for name in set(_FILES) - set(_RECIPES):
      self.assertTrue(_FILES[name] in used or f'--flagfile={name}\n' in sweeps, name)


class HeaderTest(chex.TestCase):
  def test_it_says_how_a_recipe_or_sweep_is_run_where_and_what_comes_out(self):
    commands = {name: f'ssl-jax --flagfile={name}' for name in _RECIPES}
    commands |= {name: f'ssl-jax sweep {name}' for name in _SWEEPS}
    for name, file in {**_RECIPES, **_SWEEPS}.items():
      with self.subTest(name):
        header = recipe_index.header(file)
        self.assertRegex(header.commands[0], rf'{re.escape(commands[name])}(\s|$)')
        published = ('Source',) if name.startswith('papers/') else ()
        self.assertEqual(tuple(header.facts), (*published, 'Hardware', 'Time', 'Result'))
        self.assertTrue(all(header.facts.values()))

  def test_published_settings_say_that_they_never_ran(self):
    published = {name: file for name, file in {**_FILES, **_SWEEPS}.items() if 'papers/' in name}
    self.assertNotEmpty(published)
    for name, file in published.items():
      with self.subTest(name):
        header = recipe_index.header(file)
        self.assertStartsWith(header.text, 'Never run here. ')
        if header.facts:
          self.assertStartsWith(header.facts['Result'], 'never run here. Published')

  def test_the_index_is_up_to_date(self):
    written = recipe_index.PAGE.read_text(encoding='utf-8')
    self.assertEqual(written, recipe_index.page(), 'python docs/recipe_index.py writes it')


class SettingsTest(chex.TestCase):
  def test_the_method_fits_batch_and_views(self):
    for name, parsed in _all():
      with self.subTest(name):
        parsed.method.validate_batch(parsed.data.batch_size, parsed.view_size)
        recipe = parsed.views.build(parsed.view_size)
        self.assertLessEqual(recipe.size, parsed.data.image_size)

  def test_gpus_compute_in_bfloat16_and_cpus_in_float32(self):
    for name, parsed in _all():
      file = {**_RECIPES, **_SWEEPS}[name.partition(':')[0]]
      on_cpu = 'CPU' in recipe_index.header(file).facts['Hardware']
      self.assertEqual(parsed.model.dtype, 'float32' if on_cpu else 'bfloat16', name)

  def test_every_method_has_a_recipe_or_a_line_of_a_sweep(self):
    every = {*(name for name in methods.names() if '+' not in name), 'simclr+dsa'}
    compared = every & {one.method.name for name, one in _all() if 'photographs_methods' in name}
    self.assertContainsSubset({'simclr', 'iccl', 'simclr+dsa'}, compared)
    # One on photographs is enough for a new method; those compared there have one everywhere.
    for source, names in (('photographs', every), ('cifar10', compared), ('imagenette', compared)):
      own = {
        parsed.method.name
        for name, parsed in _all()
        if name.startswith(source) and not name.startswith(f'{source}_methods')
      }
      self.assertContainsSubset(names, own, source)


class ComparisonTest(chex.TestCase):
  def test_methods_are_compared_on_equal_terms(self):
    for name in ('photographs_methods', 'cifar10_methods'):
      common = [flag.text for flag in sweep_file.read(_SWEEPS[name]).common]
      shared = config.parse(common)
      for variant, found in recipe_index.variants(_SWEEPS[name]).items():
        # A second form of a method is named after it: iccl_ema.
        self.assertStartsWith(variant, found.method.name)
        differing = {line.partition(':')[0] for line in config.differences(shared, found)}
        apart = {flag for flag in differing if not flag.startswith('--method.')}
        self.assertContainsSubset(apart, {'--optimizer.learning_rate'}, f'{name}: {variant}')

  def test_the_rows_of_the_documented_tables_are_variants(self):
    text = (_REPOSITORY / 'docs' / 'results.md').read_text(encoding='utf-8')
    for name in ('photographs_methods', 'cifar10_methods'):
      table = text.partition(f'ssl-jax sweep {name}')[2].partition('random initialization')[2]
      rows = re.findall(r'^\| (\S+) \|', table.partition('\n\n')[0], re.MULTILINE)
      self.assertEqual(rows, list(recipe_index.variants(_SWEEPS[name])))


class DocumentationTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _at_the_root(self, monkeypatch):
    monkeypatch.chdir(_REPOSITORY)

  def test_recipes_and_sweeps_named_in_commands_exist(self):
    pages = [_REPOSITORY / 'README.md', *sorted((_REPOSITORY / 'docs').glob('*.md'))]
    for page in pages:
      text = page.read_text(encoding='utf-8')
      for path in re.findall(r'--flagfile=([\w/.+-]+\w)', text):
        if 'PAPER' not in path:
          self.assertIsNotNone(find_file(path, '.flags', recipes_folder()), f'{page}: {path}')
      for path in re.findall(r'ssl-jax sweep (\w[\w/.+-]+\w)', text):
        if path not in ('FILE', 'temperatures.sweep'):
          found = find_file(path, '.sweep', recipes_folder('sweeps'))
          self.assertIsNotNone(found, f'{page}: {path}')
