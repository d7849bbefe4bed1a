"""Flags that nothing reads are refused, wherever they are given; paths; where flags were set."""

import pathlib

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import cli, config
from ssl_jax.config.flag_files import UsageError, recipes_folder
from ssl_jax.tasks.protocols import PROTOCOLS, check_protocols


def resolve(*flags):
  return config.resolve(flags, check_protocols)[0]


class UnreadTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch, capsys):
    self.folder, self.capsys = tmp_path, capsys
    monkeypatch.chdir(tmp_path)

  def file(self, *lines, name='a.flags'):
    (self.folder / name).write_text('\n'.join(lines))
    return f'--flagfile={name}'

  @parameterized.parameters(
    ('pretrain', '--weights=a.npz', '--task=evaluate --weights'),
    ('pretrain', '--compare=a,b', '--task=evaluate'),
    ('pretrain', '--class_counts=5,5', '--task=negatives --class_counts'),
    ('pretrain', '--negatives.epochs=3', '--task=negatives'),
    ('pretrain', '--evaluate.probe=dsa', 'linear'),
    ('pretrain', '--evaluate.views=3', '--task=evaluate'),
    ('evaluate', '--negatives.epochs=3', '--task=negatives'),
    ('evaluate', '--class_counts=5,5', '--task=negatives'),
    ('negatives', '--weights=a.npz', '--task=evaluate'),
    ('pretrain', '--method.base_momentum=0.5', 'byol'),
  )
  def test_refused_on_the_command_line_and_in_a_file(self, task, flag, reader):
    name = flag.partition('=')[0]
    with pytest.raises(UsageError, match=f'^{name}: .*{reader}'):
      resolve(f'--task={task}', flag)
    with pytest.raises(UsageError, match=rf'^{name}: .*{reader}.* \(from a\.flags:2\)'):
      resolve(f'--task={task}', self.file('# one', flag))

  @parameterized.parameters(
    ('--weights=a.npz', '--optimizer.learning_rate=1'),
    ('--weights=a.npz', '--method.name=byol'),
    ('--weights=a.npz', '--evaluate.checkpoint=best'),
    ('--protocols=knn', '--evaluate.probe=dsa'),
    ('--protocols=linear', '--knn.k=5'),
  )
  def test_refused_by_form_and_protocol(self, form, flag):
    with pytest.raises(UsageError, match=flag.partition('=')[0]):
      resolve('--task=evaluate', form, flag)

  @parameterized.parameters(
    ('--optimizer.beta1=0.5', '--optimizer.name=adam'),
    ('--optimizer.nesterov=true', '--optimizer.name=lars'),
    ('--optimizer.trust_coefficient=0.01', '--optimizer.name=larc'),
    ('--optimizer.decay_factor=0.5', '--optimizer.schedule=step --optimizer.decay_epochs=3'),
    ('--views.local_size=8', '--views.local_crops=2'),
    ('--devices.num_processes=2', '--devices.coordinator_address=auto'),
    ('--extend_schedule=constant', '--extend=3'),
    ('--online_metrics.images=9', '--online_metrics.names=crowding'),
  )
  def test_what_another_setting_switches_off(self, flag, with_):
    resolve(flag, *with_.split())
    name, others = flag.partition('=')[0], [name.partition('=')[0] for name in with_.split()]
    off = '--optimizer.name=sgd' if 'beta' in flag or 'trust' in flag else '--optimizer.name=adam'
    with pytest.raises(UsageError, match=rf'^{name}: .* with {others[0]}'):
      resolve(flag, off)
    resolve(self.file(flag))  # a recipe may be changed

  def test_a_plan_reads_two_settings(self):
    plan = ('--task=negatives', '--class_counts=5,5', '--data.batch_size=4')
    resolve(*plan, '--negatives.batch_sizes=2,4')
    for flag in ('--negatives.epochs=3', '--model.width=8'):
      with pytest.raises(UsageError, match='must be left out of --task=negatives --class_counts'):
        resolve(*plan, flag)

  def test_recipes_of_training_describe_an_encoder_and_a_plan(self):
    recipe = '--flagfile=photographs/byol'
    for flags in (('evaluate', '--weights=a.npz'), ('negatives', '--class_counts=500,500')):
      resolve(f'--task={flags[0]}', flags[1], recipe)

  def test_every_shipped_recipe_is_read(self):
    for file in recipes_folder().rglob('*.flags'):
      resolve(f'--flagfile={file}')
      if file.parent.name == 'evaluate':  # any protocol of a paper, without the others
        resolve(f'--flagfile={file}', '--protocols=knn', '--run_dir=a')

  def test_a_stored_configuration_has_every_flag(self):
    for task in config.TASKS:
      stored = config.to_flags(config.parse(['--steps=3', '--knn.k=3', '--method.name=byol']))
      file = self.file(*stored.splitlines(), '--negatives.epochs=7', name='config.flags')
      self.assertEmpty(
        resolve(file, f'--task={task}', '--run_dir=a').given.keys() - {'task', 'run_dir'}
      )
      # A copy under another name has the defaults of what is not read.
      resolve(self.file(*stored.splitlines()), '--run_dir=a')

  def test_metrics_of_training_have_their_settings(self):
    resolve('--evaluate.bank_chunk_rows=100')
    with pytest.raises(UsageError, match=r'--evaluate\.bank_chunk_rows: .* read by knn'):
      resolve('--evaluate.bank_chunk_rows=100', '--protocols=')
    with pytest.raises(UsageError, match=r'--evaluate\.kmeans_restarts: .*clustering'):
      resolve('--online_metrics.names=crowding', '--evaluate.kmeans_restarts=2')

  def test_every_setting_of_protocols_has_a_reader(self):
    declared = config.parser().metadata(config.Config())
    read = {name for one in PROTOCOLS.values() for name in one.settings}
    for name in declared:
      if name.startswith('evaluate.') and 'pretrain' in declared[name]['read_by']:
        self.assertIn(name, read)
    for how in declared.values():
      self.assertContainsSubset(how.get('read_by') or (), {
        'pretrain', 'evaluate', 'evaluate --weights', 'negatives', 'negatives --class_counts'
      })  # fmt: skip

  def test_refusals_after_parsing_name_the_line(self):
    file = self.file('', '--data.source=folder:nosuch')
    self.assertEqual(cli.main([file, '--devices.compile_cache=']), 2)
    (line,) = self.capsys.readouterr().err.splitlines()
    self.assertIn('--data.source: found folder:nosuch', line)
    self.assertIn(f'relative to {self.folder}', line)
    self.assertIn('may be given anew', line)
    self.assertEndsWith(line, '(from a.flags:2)')

  def test_an_old_flag_and_a_mistake_are_one_line(self):
    for mistake in ('--seed=x', '--protocols=knm', '--negatives.epochs=3'):
      self.assertEqual(cli.main(['--optimizer.exclude=norm_and_bias', mistake]), 2)
      (line,) = self.capsys.readouterr().err.splitlines()
      self.assertIn(mistake.partition('=')[0], line)

  def test_a_stored_configuration_of_old_flags_is_no_reason_to_warn(self):
    file = self.file('--optimizer.exclude=norm_and_bias', name='config.flags')
    parsed = config.parse([file, '--optimizer.weight_decay_exclude=legacy_iccl'])
    self.assertEqual(parsed.optimizer.weight_decay_exclude, 'legacy_iccl')
    self.assertEmpty(self.capsys.readouterr().err)

  @parameterized.parameters(
    (['swep', 'a.sweep'], 'nearest: sweep'),
    (['evaluate', '--run_dir=a'], 'nearest: --task=evaluate'),
    (['seed=3'], 'nearest: --seed=3'),
    (['--steps=1', '\u2014seed=3'], 'nearest: --seed=3'),
    (['--optimizer.lr=1'], 'nearest: --optimizer.learning_rate'),
    (['--optimizer.wd=1'], 'nearest: --optimizer.weight_decay'),
    (['--data.batch=8'], 'nearest: --data.batch_size'),
    (['--lr=1'], 'nearest: --optimizer.learning_rate'),
    (['--temperature=1'], '--method.temperature'),
  )  # fmt: skip
  def test_hints(self, argv, hint):
    self.assertEqual(cli.main(argv), 2)
    (line,) = self.capsys.readouterr().err.splitlines()
    self.assertIn(hint, line)


class PathTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch):
    self.folder = tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))

  @parameterized.parameters(
    ('run_dir', '~/x', '{}/x'),
    ('data.source', 'folder:~/x', 'folder:{}/x'),
    ('data.source', 'npz:~', 'npz:{}'),
    ('devices.compile_cache', '~/c', '{}/c'),
    ('compare', '~/a,~/b', '{0}/a,{0}/b'),
    ('weights', '~/a.npz', '{}/a.npz'),
    ('evaluate.transfer', 'npz:~/a', 'npz:{}/a'),
    ('evaluate.reid', 'folder:~/a', 'folder:{}/a'),
    ('evaluate.label_lists', '~/1,2', '{}/1,2'),
    ('run_dir', './~', '{}/../~'),
    ('run_dir', 'a/~/b', 'a/~/b'),
  )
  def test_the_home_folder(self, flag, given, expected):
    task = 'pretrain' if flag in ('run_dir', 'data.source') else 'evaluate'
    parsed = config.parse([f'--task={task}', f'--{flag}={given}'])
    home = str(self.folder / 'home')
    expected = expected.format(home).replace('home/../', '')
    self.assertEqual(config.parser().render(parsed)[flag], expected)
    # What is stored is not expanded again.
    self.assertEqual(config.parse([f'--task={task}', f'--{flag}={expected}']), parsed)

  def test_every_setting_that_is_a_path_is_declared(self):
    declared = config.parser().metadata(config.parse(['--method.name=simclr+dsa']))
    paths = {name for name, how in declared.items() if how.get('path')}
    words = ('folder', 'FILE', 'PATH', 'runs/', 'a file', 'files of', 'data.source')
    for name, how in declared.items():
      if name not in paths and how.get('help'):
        self.assertFalse(any(word in how['help'] for word in words), f'{name}: {how["help"]}')

  def test_a_flag_file_in_the_home_folder(self):
    (self.folder / 'home').mkdir()
    (self.folder / 'home' / 'a.flags').write_text('--seed=5')
    self.assertEqual(config.parse(['--flagfile=~/a']).seed, 5)

  def test_two_paths_to_one_place_do_not_differ(self):
    pathlib.Path('set').mkdir()
    old = config.parse(['--data.source=folder:set'])
    for same in (f'folder:{self.folder}/set', 'folder:./set', 'folder:set/'):
      self.assertEmpty(config.differences(old, config.parse([f'--data.source={same}'])))
    pathlib.Path('other').mkdir()
    other = config.parse(['--data.source=folder:other'])
    self.assertLen(config.differences(old, other), 1)
    self.assertLen(config.differences(old, config.parse(['--data.source=npz:set'])), 1)
    pathlib.Path('set').rename('moved')
    self.assertEmpty(config.differences(old, config.parse(['--data.source=folder:moved'])))
