"""Flags from dataclasses, flag files, and the one-line refusals."""

import dataclasses

import chex
import pytest
from absl.testing import parameterized

import ssl_jax
from ssl_jax import cli, config
from ssl_jax.arguments import setting
from ssl_jax.config import flag_files
from ssl_jax.config.flags import Parser, UsageError
from ssl_jax.config.help import help_text, show_text


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


TASKS = next(
  field.metadata['choices'] for field in dataclasses.fields(config.Config) if field.name == 'task'
)
# Taken before tests replace it.
RECIPES_FOLDER = flag_files.recipes_folder
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

  def test_one_word_without_dashes_where_a_setting_takes_it(self):
    parser = Parser(Cake, word='flavour')
    for argv in (['vanilla', '--layers', '3'], ['--iced', 'vanilla', '--layers=3', '--noiced']):
      self.assertEqual(parser.parse(argv), Cake(layers=3, flavour='vanilla'))
    with pytest.raises(UsageError, match="'lemon' is not a flag"):
      parser.parse(['vanilla', 'lemon'])
    with pytest.raises(UsageError, match="--flavour: found 'plum', must be one of lemon, vanilla"):
      parser.parse(['plum'])

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
    ('--cake.widths=3,x', "--cake.widths: found '3,x', must be comma-separated whole numbers"),
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


class RecipeLookupTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch):
    self.shipped, self.working = tmp_path / 'shipped', tmp_path / 'working'
    for file, layers in {'cakes/base': 3, 'cakes/plain': 4, 'loaf': 5}.items():
      self.write(self.shipped / f'{file}.flags', f'--cake.layers={layers}')
    self.write(self.shipped / 'cakes' / 'iced.flags', '--flagfile=base.flags', '--cake.iced')
    self.working.mkdir()
    monkeypatch.chdir(self.working)
    monkeypatch.setattr(flag_files, 'recipes_folder', lambda kind='flags': self.shipped)

  def write(self, path, *lines):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text('\n'.join(lines))

  def layers(self, path):
    return PARSER.parse([f'--flagfile={path}']).cake.layers

  @parameterized.parameters('cakes/plain', 'cakes/plain.flags')
  def test_a_shipped_recipe_is_found_from_any_folder(self, path):
    self.assertEqual(self.layers(path), 4)

  def test_a_shipped_recipe_includes_the_base_beside_it(self):
    self.write(self.working / 'base.flags', '--cake.layers=9')
    self.assertEqual(PARSER.parse(['--flagfile=cakes/iced']).cake, Cake(layers=3, iced=True))

  def test_own_files_come_before_the_shipped_ones(self):
    self.write(self.working / 'loaf.flags', '--cake.layers=6')
    self.assertEqual(self.layers('loaf'), 6)

  def test_own_files_can_include_shipped_ones_and_those_of_the_working_directory(self):
    self.write(self.working / 'mine' / 'one.flags', '--flagfile=cakes/plain')
    self.write(self.working / 'mine' / 'two.flags', '--flagfile=other/three')
    self.write(self.working / 'other' / 'three.flags', '--cake.layers=7')
    self.assertEqual(self.layers('mine/one.flags'), 4)
    self.assertEqual(self.layers('mine/two'), 7)

  @parameterized.parameters(
    ('cakes/plein', 'cakes/plain'), ('cake/plain.flags', 'cakes/plain'), ('leaf', 'loaf')
  )
  def test_a_mistyped_name_is_answered_with_shipped_recipes(self, path, expected):
    with pytest.raises(UsageError, match=f'--flagfile: {path} is not a file; nearest: {expected}'):
      self.layers(path)

  def test_an_installed_package_holds_the_recipes_itself(self):
    folder = RECIPES_FOLDER
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(ssl_jax, '__file__', str(self.working / 'ssl_jax' / '__init__.py'))
      self.assertEqual(folder(), self.working / 'experiments' / 'flags')
      self.assertEqual(folder('sweeps'), self.working / 'experiments' / 'sweeps')
      (self.working / 'ssl_jax' / 'recipes').mkdir(parents=True)
      self.assertEqual(folder(), self.working / 'ssl_jax' / 'recipes')
      self.assertEqual(folder('sweeps'), self.working / 'ssl_jax' / 'recipes' / 'sweeps')


class ShowTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch, capsys):
    self.capsys = capsys
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'base.flags').write_text('--cake.layers=5\n--oven.name=steam\n')
    (tmp_path / 'recipe.flags').write_text('# one\n--flagfile=base.flags\n\n--cake.layers=4\n')

  def test_every_flag_has_the_line_that_set_it(self):
    argv = ['--flagfile=recipe.flags', '--nocake.iced', '--seed', '3', '--cake.flavour=lemon']
    config, origins = PARSER.resolve(argv)
    rows = [line.split() for line in show_text(PARSER, '', config, origins).splitlines()]
    self.assertEqual(
      [(words[0], ' '.join(words[1:])) for words in rows],
      [
        ('--seed=3', 'command line'),
        ('--cake.layers=4', 'recipe.flags:4'),
        ('--cake.iced=false', 'command line'),
        ('--cake.flavour=lemon', 'command line'),
        ('--oven.name=steam', 'base.flags:2'),
        ('--note=', 'default'),
        ('--cake.sweetness=0.5', 'default'),
        ('--cake.widths=3,2', 'default'),
        ('--oven.pressure=1.0', 'default'),
      ],
    )

  def test_one_section(self):
    page = show_text(PARSER, 'cake', *PARSER.resolve(['--cake.layers=1']))
    self.assertLen(page.splitlines(), 5)
    self.assertStartsWith(page, '--cake.layers=1')
    with pytest.raises(UsageError, match=r"--show: found 'cakes', .*; nearest: cake"):
      show_text(PARSER, 'cakes', *PARSER.resolve([]))

  @parameterized.parameters(*TASKS)
  def test_the_program_shows_any_task_and_runs_none(self, task):
    self.assertEqual(cli.main([f'--task={task}', '--flagfile=photographs/simclr', '--show']), 0)
    page = self.capsys.readouterr().out
    self.assertRegex(page, rf'--task={task} +command line')
    self.assertRegex(page, r'--model\.width=16 +\S*photographs/base\.flags:\d+\n')
    self.assertRegex(page, r'--method\.name=simclr +\S*photographs/simclr\.flags:\d+\n')
    self.assertRegex(page, r'--views\.local_crops=0 +default\n')

  @parameterized.parameters('--show=optimizer', '--show optimizer')
  def test_the_program_shows_one_section(self, argument):
    self.assertEqual(cli.main([*argument.split(), '--optimizer.name=lars']), 0)
    lines = self.capsys.readouterr().out.splitlines()
    self.assertRegex(lines[0], '--optimizer.name=lars +command line')
    self.assertTrue(all(line.startswith('--optimizer.') for line in lines))

  def test_flags_are_checked_before_they_are_shown(self):
    self.assertEqual(cli.main(['--show', '--seed=-1']), 2)
    self.assertIn('--seed: found -1', self.capsys.readouterr().err)


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
