"""What a sweep file and the command line of a sweep say, and the one-line refusals."""

import dataclasses
import pathlib

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import config
from ssl_jax.config.flag_files import UsageError, recipes_folder
from ssl_jax.sweeps import options, planning, sweep_file

GOOD = """
# common first
--epochs=3 --model.width=4

--data.batch_size=16
simclr: --method.name=simclr --method.temperature=0.2
byol+x-1_b: --method.name=byol --run_note
plain:
"""


class ReadTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.path = tmp_path / 'a.sweep'

  def read(self, text):
    self.path.write_text(text)
    return sweep_file.read(self.path)

  def refusal(self, text):
    with self.assertRaises(UsageError) as caught:
      self.read(text)
    self.assertNotIn('\n', str(caught.exception))
    return str(caught.exception)

  def test_reads_common_flags_and_variants(self):
    sweep = self.read(GOOD)
    self.assertEqual(
      [flag.text for flag in sweep.common],
      ['--epochs=3', '--model.width=4', '--data.batch_size=16'],
    )
    self.assertEqual([v.name for v in sweep.variants], ['simclr', 'byol+x-1_b', 'plain'])
    first = sweep.variants[0]
    self.assertEqual(first.origin, f'{self.path}:6')
    self.assertEqual(
      [f.text for f in first.flags], ['--method.name=simclr', '--method.temperature=0.2']
    )
    self.assertEqual(sweep.variants[2].flags, ())

  def test_quotes_hold_a_value_together(self):
    sweep = self.read('a: "--data.source=folder:my images"')
    self.assertEqual(sweep.variants[0].flags[0].text, '--data.source=folder:my images')

  @parameterized.parameters(
    ('a: --x=1\nb\n', ':2: ', "'b'"),
    ('a --epochs=1\n', ':1: ', 'NAME: '),
    ('data.source=npz:x --epochs=1\n', ':1: ', 'NAME: '),
    ('a:--epochs=1\n', ':1: ', 'NAME: '),
    ('a: epochs=1\n', ':1: ', "'epochs=1'"),
    ('a: --epochs=1 # short\n', ':1: ', '# comment on a line of its own'),
    ('a: --epochs="1\n', ':1: ', 'quotation'),
    ('../a: --epochs=1\n', ':1: ', "'../a'"),
    ('.a: --epochs=1\n', ':1: ', "'.a'"),
    ('a:\nb:\na:\n', ':3: ', 'a.sweep:1 has a'),
    ('a:\nA:\n', ':2: ', 'a.sweep:1 has a'),
    ('--seed=1\na:\n', ':1: ', '--seeds'),
    ('a: --run_dir=x\n', ':1: ', '--out'),
    ('a: -seed 3\n', ':1: ', '--seeds'),
    ('# nothing\n--epochs=1\n', 'a.sweep: ', 'at least one line'),
  )
  def test_refuses_by_line(self, text, where, what):
    message = self.refusal(text)
    self.assertIn(where, message)
    self.assertIn(what, message)

  def test_refuses_what_is_no_text(self):
    self.path.write_bytes(b'\xff\xfe\x00')
    with self.assertRaisesRegex(UsageError, 'must be UTF-8'):
      sweep_file.read(self.path)

  def test_a_missing_file_names_the_nearest(self):
    self.path.write_text('a:')
    with self.assertRaisesRegex(UsageError, r'found .*b\.sweep, must be .*nearest: .*a\.sweep'):
      sweep_file.read(self.path.with_name('b.sweep'))
    with self.assertRaisesRegex(UsageError, r'nearest: .*a\.sweep'):
      sweep_file.read(self.path.parent)

  def test_indented_lines_continue_the_variant_above(self):
    sweep = self.read('  --epochs=1\na: --seeded\n  # why\n  --model.width=4 --x=1\nb:\n--epochs=2')
    self.assertEqual([flag.text for flag in sweep.common], ['--epochs=1', '--epochs=2'])
    self.assertEqual(
      [f.text for f in sweep.variants[0].flags], ['--seeded', '--model.width=4', '--x=1']
    )
    self.assertEqual(sweep.variants[0].flags[2].origin, f'{self.path}:4')
    self.assertEqual(sweep.variants[1].flags, ())

  def test_a_shipped_sweep_is_found_by_name(self):
    for name in ('photographs_methods', 'photographs_methods.sweep'):
      sweep = sweep_file.read(pathlib.Path(name))
      self.assertEqual(sweep.path, recipes_folder('sweeps') / 'photographs_methods.sweep')
    with self.assertRaisesRegex(
      UsageError, 'found photograph_methods, .*nearest: photographs_methods'
    ):
      sweep_file.read(pathlib.Path('photograph_methods'))


class PlanTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  def plan(self, text, extra=(), seeds=(0, 1)):
    path = self.folder / 'a.sweep'
    path.write_text(text)
    sweep = sweep_file.read(path)
    extra = sweep_file.arguments(extra, 'after --')
    return planning.plan(sweep, sweep.variants, seeds, self.folder / 'out', extra)

  def test_every_variant_with_every_seed(self):
    runs = self.plan('--epochs=3\na: --epochs=2\nb: --method.name=byol', ['--model.width=8'])
    self.assertEqual([r.name for r in runs], ['a-seed0', 'b-seed0', 'a-seed1', 'b-seed1'])
    self.assertEqual(
      runs[2].flags,
      (
        '--epochs=3',
        '--epochs=2',
        '--model.width=8',
        '--seed=1',
        f'--run_dir={self.folder}/out/a-seed1',
      ),
    )
    self.assertEqual(runs[2].config.epochs, 2)
    self.assertEqual(runs[2].config.seed, 1)
    self.assertEqual(runs[3].config.method.name, 'byol')
    self.assertEqual(runs[0].log, self.folder / 'out' / 'a-seed0.log')

  @parameterized.parameters(
    ('a:\nb: --epoch=1', (), 'a.sweep:2: variant b: --epoch: unknown flag'),
    ('--epochs=x\na:\nb:', (), 'a.sweep:1: variant a: --epochs: found'),
    ('--epochs=1\na:\nb: --epochs=0', (), 'a.sweep:3: variant b: --epochs: found 0'),
    ('a:', ('--epochs=no',), 'after --: variant a: --epochs: found'),
    ('a:', ('stray',), "after --: variant a: 'stray' is not a flag"),
    ('a:', ('--seed=1',), 'after --: found --seed=1, must be left out'),
    ('a: --method.temperature=-1', (), 'a.sweep:1: variant a: --method.temperature'),
    ('a:\nb: --flagfile=no.flags', (), 'a.sweep:2: variant b: --flagfile: no.flags is not'),
  )
  def test_every_flag_is_checked_before_the_first_run(self, text, extra, message):
    with self.assertRaises(UsageError) as caught:
      self.plan(text, extra)
    self.assertIn(message, str(caught.exception))
    self.assertFalse((self.folder / 'out').exists())

  def test_a_run_that_is_extended_has_not_finished(self):
    (run,) = self.plan('a:', ['--epochs=3'], seeds=(0,))
    run.folder.mkdir(parents=True)
    (run.folder / 'config.flags').write_text(config.to_flags(run.config))
    (run.folder / 'result.json').write_text('{"steps": 7}')
    self.assertIsNotNone(planning.finished(run))
    (longer,) = self.plan('a:', ['--epochs=3', '--extend=2'], seeds=(0,))
    self.assertIsNone(planning.finished(longer))
    (run.folder / 'result.json').write_text('{"steps": 9, "extend": [2.0]}')
    self.assertIsNotNone(planning.finished(longer))


class OptionsTest(chex.TestCase):
  @parameterized.parameters(
    (['a.sweep', '--seeds=3,4', '--jobs', '2', '--dry_run', '--only=x'],),
    (['--seeds', '3,4', '--dry_run', 'a.sweep', '--jobs=2', '--only', 'x'],),
  )
  def test_the_file_is_a_word_anywhere_between_the_flags(self, argv):
    expected = options.Options('a.sweep', seeds=(3, 4), jobs=2, only=('x',), dry_run=True)
    self.assertEqual(options.PARSER.parse(argv), expected)

  @parameterized.parameters(
    ('--seeds=0,x', '--seeds: found'),
    ('--seeds=', '--seeds: found none'),
    ('--seeds=-1', 'whole number from 0 to'),
    ('--seeds=1,1', '--seeds: found 1 twice'),
    ('--jobs=0', '--jobs: found 0, must be a whole number >= 1'),
    ('--columns=knn,knm', "--columns: found 'knm', must be one of knn, .*nearest: knn"),
    ('--columns=', '--columns: found none'),
    ('--colums=knn', '--colums: unknown flag; nearest: --columns'),
    ('other.sweep', "'other.sweep' is not a flag"),
  )
  def test_refuses(self, word, message):
    with self.assertRaisesRegex(UsageError, message):
      options.PARSER.parse(['a.sweep', word])

  def test_refuses_no_file(self):
    with self.assertRaisesRegex(UsageError, '--file: found none, must be a sweep file'):
      options.PARSER.parse(['--seeds=0'])

  def test_help_names_every_flag(self):
    page = options.help_page()
    for field in dataclasses.fields(options.Options):
      self.assertIn(f'--{field.name}=', page)
    self.assertLessEqual(max(map(len, page.splitlines())), 100)
