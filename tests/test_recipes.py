"""Recipes: every flag file parses, describes itself, and fits its method; every method has some."""

import pathlib
import re

import chex
from absl.testing import parameterized

from ssl_jax import config, methods, views
from ssl_jax.config.flags import expand

_REPOSITORY = pathlib.Path(__file__).parent.parent
_FLAGS = _REPOSITORY / 'experiments' / 'flags'
_PATHS = tuple(str(path.relative_to(_FLAGS)) for path in sorted(_FLAGS.rglob('*.flags')))


def _is_recipe(path):
  """Whether a file, or one it includes, sets a method; bases are what recipes share."""
  if path.endswith('base.flags'):
    return False
  arguments = expand([f'--flagfile={_FLAGS / path}'])
  return any(argument.text.startswith('--method.name=') for argument in arguments)


_RECIPES = tuple(path for path in _PATHS if _is_recipe(path))
_JUDGES = tuple(path for path in _PATHS if path.startswith('evaluate/'))


def _opening(path):
  """The comment that a file opens with, as one line."""
  lines = []
  for line in (_FLAGS / path).read_text(encoding='utf-8').splitlines():
    if not line.startswith('#'):
      break
    lines.append(line.lstrip('# '))
  return ' '.join(lines)


def _parse(path):
  return config.parse([f'--flagfile={_FLAGS / path}'])


class FlagFileTest(chex.TestCase):
  @parameterized.parameters(*_PATHS)
  def test_parses_and_renders(self, path):
    parsed = _parse(path)
    flags = [line for line in config.to_flags(parsed).splitlines() if line]
    self.assertEqual(config.parse(flags), parsed)

  @parameterized.parameters(*_PATHS)
  def test_opens_with_a_comment_and_sets_each_flag_once(self, path):
    self.assertNotEmpty(_opening(path))
    lines = (_FLAGS / path).read_text(encoding='utf-8').splitlines()
    names = [line.partition('=')[0] for line in lines if line.startswith('--')]
    self.assertLen(set(names), len(names))

  @parameterized.parameters(*_RECIPES, *_JUDGES)
  def test_a_recipe_says_how_it_is_run_where_and_what_comes_out(self, path):
    opening = _opening(path)
    command = rf'python experiments/run\.py --flagfile=experiments/flags/{re.escape(path)}(\s|$)'
    self.assertRegex(opening, command)
    self.assertRegex(opening, r'Hardware: \S')
    self.assertRegex(opening, r'Time(: \S| and result: )')
    self.assertRegex(opening, r'(Result\b.*|Time and result): \S')

  @parameterized.parameters(*_RECIPES)
  def test_the_method_fits_batch_and_views(self, path):
    parsed = _parse(path)
    parsed.method.validate_batch(parsed.data.batch_size, parsed.view_size)
    recipe = views.recipe(
      parsed.views.recipe,
      size=parsed.view_size,
      crop_scale_min=parsed.views.crop_scale_min or None,
      jitter_strength=parsed.views.jitter_strength,
      local_crops=parsed.views.local_crops,
      local_size=parsed.views.local_size,
    )
    self.assertLessEqual(recipe.size, parsed.data.image_size)


class CoverageTest(chex.TestCase):
  @parameterized.product(
    folder=('photographs', 'cifar10', 'imagenette'),
    name=(*(name for name in methods.names() if '+' not in name), 'dsa'),
  )
  def test_every_method_has_a_recipe(self, folder, name):
    path = f'{folder}/{name}.flags'
    self.assertIn(path, _RECIPES)
    expected = 'simclr+dsa' if name == 'dsa' else name
    self.assertEqual(_parse(path).method.name, expected)


class ComparisonTest(chex.TestCase):
  @parameterized.parameters(*(path for path in _RECIPES if path.split('/')[1] == 'compare'))
  def test_is_on_equal_terms(self, path):
    name = pathlib.Path(path).stem
    found, shared = _parse(path), _parse(str(pathlib.Path(path).with_name('base.flags')))
    self.assertEqual(found.method.name, name)
    differing = {line.partition(':')[0] for line in config.differences(shared, found)}
    apart = {flag for flag in differing if not flag.startswith('--method.')}
    self.assertContainsSubset(apart, {'--optimizer.learning_rate'})
