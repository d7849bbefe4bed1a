"""Flags from dataclasses, flag files, and the one-line refusals."""

import dataclasses

import chex
import pytest
from absl.testing import parameterized

from ssl_jax.config.flags import Parser, UsageError, setting
from ssl_jax.config.help import help_text


@dataclasses.dataclass(frozen=True)
class Cake:
  layers: int = setting(2, 'how many')
  sweetness: float = setting(0.5, 'from 0 to 1')
  iced: bool = setting(False, 'with icing')
  flavour: str = setting('lemon', 'of the dough', choices=('lemon', 'vanilla'))
  widths: tuple[int, ...] = setting((3, 2), 'of the layers')


@dataclasses.dataclass(frozen=True)
class Fire:
  name = 'fire'
  heat: float = setting(200.0, 'degrees')


@dataclasses.dataclass(frozen=True)
class Steam:
  name = 'steam'
  pressure: float = setting(1.0, 'bar')


@dataclasses.dataclass(frozen=True)
class Kitchen:
  seed: int = setting(0, 'of the oven')
  note: str = setting('', 'decides nothing', affects_result=False)
  cake: Cake = Cake()
  oven: Fire | Steam = Fire()


PARSER = Parser(Kitchen, {'oven': {'fire': Fire, 'steam': Steam}}, {'oven': 'fire'})


class ParseTest(chex.TestCase):
  def test_defaults(self):
    self.assertEqual(PARSER.parse([]), Kitchen())

  @parameterized.parameters(
    ('--cake.layers=3', 'layers', 3),
    ('--cake.sweetness=1', 'sweetness', 1.0),
    ('--cake.iced', 'iced', True),
    ('--nocake.iced', 'iced', False),
    ('--cake.iced=true', 'iced', True),
    ('--cake.flavour=vanilla', 'flavour', 'vanilla'),
    ('--cake.widths=5,4,3', 'widths', (5, 4, 3)),
    ('--cake.widths=', 'widths', ()),
  )
  def test_values(self, argument, field, value):
    self.assertEqual(getattr(PARSER.parse([argument]).cake, field), value)

  def test_value_behind_a_space(self):
    self.assertEqual(PARSER.parse(['--cake.layers', '7']).cake.layers, 7)
    self.assertEqual(PARSER.parse(['--seed', '-7']).seed, -7)

  def test_the_name_chooses_the_class_wherever_it_stands(self):
    config = PARSER.parse(['--oven.pressure=2', '--oven.name=steam'])
    self.assertEqual(config.oven, Steam(pressure=2.0))

  def test_render_repeats_every_configuration(self):
    config = PARSER.parse(['--oven.name=steam', '--cake.widths=1,1', '--cake.iced', '--seed=3'])
    arguments = [f'--{name}={value}' for name, value in PARSER.render(config).items()]
    self.assertEqual(PARSER.parse(arguments), config)

  def test_deciding_flags(self):
    names = PARSER.affecting_result(Kitchen())
    self.assertIn('cake.layers', names)
    self.assertIn('oven.name', names)
    self.assertNotIn('note', names)

  @parameterized.parameters(
    ('--cake.layer=3', '--cake.layer: unknown flag; nearest: --cake.layers'),
    ('--layers=3', '--cake.layers'),
    ('--cake.layers=3.5', "--cake.layers: found '3.5', must be a whole number"),
    ('--cake.iced=maybe', "--cake.iced: found 'maybe', must be true or false"),
    ('--cake.flavour=lemmon', "found 'lemmon', must be one of lemon, vanilla; nearest: lemon"),
    ('--cake.widths=3,x', "--cake.widths: found '3,x', must be comma-separated ints"),
    ('--oven.name=stem', '--oven.name: found stem, must be one of fire, steam; nearest: steam'),
    ('--oven.pressure=3', '--oven.pressure: oven fire has no pressure; it belongs to steam'),
    ('layers=3', "'layers=3' is not a flag"),
    ('--cake.sweetness=inf', "--cake.sweetness: found 'inf', must be a finite number"),
    ('--oven=steam', '--oven: a section, not a flag; nearest: --oven.name=steam'),
    ('--oven.name=STEAM', 'nearest: steam'),
    ('--seed', '--seed: found nothing, must be a whole number'),
    ('--flagfile=nowhere.flags', '--flagfile: nowhere.flags is not a file'),
  )
  def test_refusals_are_one_line(self, argument, expected):
    with pytest.raises(UsageError) as refusal:
      PARSER.parse([argument])
    self.assertIn(expected, str(refusal.value))
    self.assertNotIn('\n', str(refusal.value))


class FlagFileTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  def write(self, name, *lines):
    path = self.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(lines))
    return f'--flagfile={path}'

  def test_a_recipe_is_the_difference_to_its_base(self):
    self.write('base.flags', '# the base', '', '--cake.layers=5', '--seed=1')
    recipe = self.write('deep/recipe.flags', '--flagfile=../base.flags', '--seed=2')
    config = PARSER.parse([recipe])
    self.assertEqual((config.cake.layers, config.seed), (5, 2))
    self.assertEqual(PARSER.parse([recipe, '--seed=3']).seed, 3)

  def test_a_refusal_names_file_and_line(self):
    recipe = self.write('recipe.flags', '# one', '--cake.layers=5', '--cake.iced=perhaps')
    with pytest.raises(UsageError, match=r'recipe\.flags:3'):
      PARSER.parse([recipe])

  def test_a_stray_word_in_a_file(self):
    recipe = self.write('recipe.flags', 'cake.layers=5')
    with pytest.raises(UsageError, match=r'recipe\.flags:1: found .cake\.layers=5'):
      PARSER.parse([recipe])

  @parameterized.parameters('--cake.layers 5', '--cake.layers=5 # five')
  def test_a_line_that_is_no_flag_alone(self, line):
    recipe = self.write('recipe.flags', line)
    with pytest.raises(UsageError, match=r'recipe\.flags:1: found .*on a line of its own'):
      PARSER.parse([recipe])

  def test_a_folder_is_no_flag_file(self):
    self.write('recipe.flags', '--seed=1')
    with pytest.raises(UsageError, match=r'is not a file; nearest: .*recipe\.flags'):
      PARSER.parse([f'--flagfile={self.folder}'])

  def test_a_file_that_includes_itself(self):
    recipe = self.write('loop.flags', '--flagfile=loop.flags')
    with pytest.raises(UsageError, match='includes itself'):
      PARSER.parse([recipe])

  def test_a_mistyped_file_names_its_neighbors(self):
    recipe = self.write('recipe.flags', '--seed=1')
    with pytest.raises(UsageError, match=r'nearest: .*recipe\.flags'):
      PARSER.parse([recipe.replace('recipe', 'recipes')])


class HelpTest(chex.TestCase):
  def test_overview_names_the_sections(self):
    page = help_text(PARSER, '', {'oven': 'fire'}, 'bake')
    self.assertIn('--help=SECTION', page)
    self.assertIn('cake, oven', page)

  def test_a_section_shows_default_and_choices(self):
    page = help_text(PARSER, 'cake', {'oven': 'fire'}, 'bake')
    self.assertIn('--cake.flavour=lemon', page)
    self.assertIn('[lemon, vanilla]', page)

  def test_the_chosen_class_is_shown(self):
    self.assertIn('--oven.pressure', help_text(PARSER, 'oven', {'oven': 'steam'}, 'bake'))

  def test_unknown_section(self):
    with pytest.raises(UsageError, match='nearest: cake'):
      help_text(PARSER, 'cakes', {'oven': 'fire'}, 'bake')
