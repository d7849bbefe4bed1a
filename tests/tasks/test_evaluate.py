"""`--task=evaluate` as a user meets it: a table, a file of numbers, a part of the report."""

import json
import shutil
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import cli, models
from ssl_jax import config as config_lib
from ssl_jax.tasks import protocols
from ssl_jax.tasks.protocols import PROTOCOLS
from ssl_jax.tasks.protocols.protocol import plain
from ssl_jax.tasks.run.stored import open_run
from ssl_jax.training import Checkpoints
from tests.tasks import small_runs

QUICK = (
  '--knn.k=1,5',
  '--evaluate.probe_epochs=3',
  '--evaluate.views=2',
  '--evaluate.augmented_images=16',
  '--evaluate.fractions=0.5',
  '--evaluate.fine_tuning_epochs=1',
  '--evaluate.ways=2',
  '--evaluate.queries=3',
  '--evaluate.episodes=4',
  '--evaluate.kmeans_restarts=1',
  '--evaluate.false_negative_batch_size=8',
)
WITHOUT_LABELS = ('spectrum', 'hypersphere', 'anchor_scores')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A small run of 64 training and 16 test images."""
  folder = tmp_path_factory.mktemp('evaluate')
  images = small_runs.write_images(folder / 'images.npz')
  assert cli.main(small_runs.arguments(images, folder / 'run')) == 0
  return folder


class EvaluateTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, run, tmp_path, capfd):
    self.images, self.folder, self.capfd = run / 'images.npz', tmp_path, capfd
    self.run_dir = tmp_path / 'run'
    shutil.copytree(run / 'run', self.run_dir)
    # A recipe, which may hold the settings of protocols that are not chosen.
    (tmp_path / 'quick.flags').write_text('\n'.join(QUICK))

  def call(self, *flags, run_dir=None):
    """Exit status, standard output and standard error."""
    self.capfd.readouterr()
    chosen = [f'--run_dir={run_dir or self.run_dir}', '--report.html=false']
    recipe = f'--flagfile={self.folder}/quick.flags'
    status = cli.main(['--task=evaluate', *chosen, recipe, *flags])
    return status, *self.capfd.readouterr()

  def refused(self, *flags, **kwargs):
    """The one line that refuses."""
    status, out, err = self.call(*flags, **kwargs)
    self.assertEqual(status, 2, out + err)
    lines = err.strip().splitlines()
    self.assertLen(lines, 1, err)
    return lines[0]

  def numbers(self, run_dir=None):
    return json.loads(((run_dir or self.run_dir) / 'evaluation.json').read_text())


class ProtocolsTest(EvaluateTest):
  @pytest.mark.slow
  def test_all_at_once(self):
    status, out, err = self.call(
      '--protocols=all', f'--evaluate.transfer=npz:{self.images}', '--report.html=true'
    )
    self.assertEqual(status, 0, err)
    found = self.numbers()
    self.assertEqual(set(found['protocols']), set(PROTOCOLS))
    for name, protocol in found['protocols'].items():
      with self.subTest(name):
        self.assertEqual(set(protocol['scores']), {'trained', 'untrained'})
        scores = protocol['scores']['trained']
        if name != 'embedding':
          self.assertNotEmpty(scores)
        for value in scores.values():
          self.assertIsInstance(value, float | int)
    self.assertIn('knn: k=5, T=0.07', out)
    page = (self.run_dir / 'report.html').read_text()
    for heading in ('Crowding', 'Confusion, trained', 'Similarities', 'Retrieval', 'Maps of'):
      self.assertIn(heading, page)
    self.assertTrue((self.run_dir / 'evaluation' / 'evaluation.csv').is_file())

  def test_a_decorated_function_is_a_protocol(self):
    with mock.patch.dict(PROTOCOLS):

      @protocols.protocol('pixel_mean', help='mean pixel of the test images', aliases=('mean',))
      def pixel_mean(context):
        return protocols.Measurement({'mean': plain(context.source('test').images.mean())})

      status, out, err = self.call('--protocols=mean,spectrum', '--evaluate.baseline=false')
      self.assertEqual(status, 0, err)
      with np.load(self.images) as arrays:
        expected = arrays['test_images'].mean()
      found = self.numbers()['protocols']
      self.assertEqual(found['pixel_mean']['scores'], {'trained': {'mean': expected}})
      self.assertIn('pixel_mean: mean', out)
      with self.assertRaisesRegex(ValueError, 'found mean, must be a name of its own, not'):
        protocols.protocol('mean', help='')(pixel_mean)
      self.assertEqual(cli.main(['--help=evaluate']), 0)
      self.assertIn('mean pixel of the test images', self.capfd.readouterr().out)
    self.assertIn('found pixel_mean', self.refused('--protocols=pixel_mean'))

  def test_old_names_are_accepted(self):
    self.call('--protocols=few_labels,class_means,bias,knn_online')
    names = {'low_shot', 'mean_classifier', 'prototype_bias', 'iccl_knn5'}
    self.assertEqual(set(self.numbers()['protocols']), names)

  def test_brightness_is_no_secret_to_the_encoder(self):
    status, _, err = self.call('--protocols=knn,ridge,crowding')
    self.assertEqual(status, 0, err)
    found = self.numbers()['protocols']
    self.assertEqual(found['knn']['scores']['trained']['k=5, T=0.07'], 1.0)
    self.assertGreater(found['ridge']['scores']['trained']['accuracy'], 0.9)
    self.assertGreater(found['crowding']['scores']['trained']['crowding_ratio'], 0)

  def test_results_of_the_same_encoder_stay_beside_new_ones(self):
    self.call('--protocols=knn')
    self.call('--protocols=knn_euclidean')
    self.assertEqual(set(self.numbers()['protocols']), {'knn', 'knn_euclidean'})
    # Flags that others read do not matter to it.
    self.call('--protocols=ridge,knn_euclidean', '--evaluate.bank_chunk_rows=7')
    self.assertEqual(set(self.numbers()['protocols']), {'knn', 'knn_euclidean', 'ridge'})
    settings = {name: one['settings'] for name, one in self.numbers()['protocols'].items()}
    self.assertEqual(settings['knn_euclidean'], {'evaluate.bank_chunk_rows': '7'})
    self.assertEqual(settings['knn']['evaluate.bank_chunk_rows'], '65536')
    before = self.numbers()
    _, out, _ = self.call('--protocols=spectrum', '--evaluate.baseline=false')
    self.assertEqual(set(self.numbers()['protocols']), {'spectrum'})
    kept = list((self.run_dir / 'evaluation').glob('before-*.json'))
    self.assertLen(kept, 1)
    self.assertIn(str(kept[0]), out)
    self.assertEqual(json.loads(kept[0].read_text()), before)

  def test_iccl_knn5_and_its_limit(self):
    self.call('--protocols=iccl_knn5')
    value = next(iter(self.numbers()['protocols']['iccl_knn5']['scores']['trained'].values()))
    self.assertLessEqual(value, 0.8)


class FeaturesTest(EvaluateTest):
  def test_extracted_once(self):
    _, out, _ = self.call('--protocols=knn')
    self.assertNotIn(' from ', out)
    _, out, _ = self.call('--protocols=knn,ridge')
    lines = [line for line in out.splitlines() if line.startswith('features')]
    self.assertLen(lines, 4)
    for line in lines:
      self.assertIn(' from ', line)

  def test_of_another_encoder_are_replaced(self):
    self.call('--protocols=knn', '--evaluate.baseline=false')
    kept = self.run_dir / 'evaluation' / 'features'
    before = {path.name for path in kept.iterdir()}
    newest = max((self.run_dir / 'checkpoints').iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest)
    self.call('--protocols=knn', '--evaluate.baseline=false')
    after = {path.name for path in kept.iterdir()}
    self.assertLen(after, 2)
    self.assertEmpty(before & after)

  def test_a_damaged_file_is_made_again(self):
    self.call('--protocols=knn')
    expected = self.numbers()['protocols']['knn']['scores']
    for path in (self.run_dir / 'evaluation' / 'features').iterdir():
      path.write_bytes(path.read_bytes()[:100])
    status, _, err = self.call('--protocols=knn')
    self.assertEqual((status, err), (0, ''))
    self.assertEqual(self.numbers()['protocols']['knn']['scores'], expected)

  def test_a_folder_that_cannot_be_written_keeps_them_in_memory(self):
    (self.run_dir / 'evaluation').mkdir()
    (self.run_dir / 'evaluation' / 'features').write_text('in the way')
    status, out, err = self.call('--protocols=knn')
    self.assertEqual(status, 0, err)
    self.assertIn('kept in memory', out)

  def test_chunks_of_the_bank_change_nothing(self):
    self.call('--protocols=knn,knn_euclidean')
    whole = self.numbers()['protocols']
    self.call('--protocols=knn,knn_euclidean', '--evaluate.bank_chunk_rows=7')
    for name, protocol in self.numbers()['protocols'].items():
      self.assertEqual(protocol['scores'], whole[name]['scores'])

  def test_one_device_and_eight(self):
    chosen = '--protocols=knn,ridge,crowding,prototype_bias'
    self.assertEqual(len(jax.devices()), 8)
    self.call(chosen)
    eight = self.numbers()['protocols']
    recipe = f'--flagfile={self.folder}/quick.flags'
    argv = ['--task=evaluate', f'--run_dir={self.run_dir}', '--report.html=false', recipe, chosen]
    shutil.rmtree(self.run_dir / 'evaluation')
    status, _, err = small_runs.finish(small_runs.start(argv))
    self.assertEqual(status, 0, err)
    for name, protocol in self.numbers()['protocols'].items():
      for who, scores in protocol['scores'].items():
        chex.assert_trees_all_close(scores, eight[name]['scores'][who], rtol=1e-4, atol=1e-5)


class WeightsTest(EvaluateTest):
  ARCHITECTURE = ('--model.name=resnet10', '--model.width=4', '--data.image_size=8')

  def export(self, name='encoder.npz', change=lambda variables: variables):
    kept = Checkpoints(self.run_dir / 'checkpoints', read_only=True)
    state, _ = kept.read()
    variables = {part: state[part]['encoder'] for part in ('params', 'batch_stats')}
    path = self.folder / name
    models.save_weights(path, change(variables))
    return path

  def flags(self, path):
    return (
      f'--weights={path}',
      f'--data.source=npz:{self.images}',
      '--data.batch_size=16',
      *self.ARCHITECTURE,
    )

  @parameterized.parameters('encoder.npz', 'encoder.safetensors')
  def test_exported_weights_score_as_the_run(self, name):
    self.call('--protocols=knn,spectrum')
    of_run = self.numbers()['protocols']
    target = self.folder / 'of_weights'
    flags = self.flags(self.export(name))
    status, _, err = self.call('--protocols=knn,spectrum', *flags, run_dir=target)
    self.assertEqual(status, 0, err)
    for name, protocol in self.numbers(target)['protocols'].items():
      self.assertEqual(protocol['scores']['trained'], of_run[name]['scores']['trained'])

  def test_of_another_architecture(self):
    flags = [*self.flags(self.export()), '--model.width=8']
    line = self.refused('--protocols=knn', *flags, run_dir=self.folder / 'new')
    self.assertIn('--weights', line)
    self.assertIn('that of this architecture', line)

  def test_of_no_encoder(self):
    path = self.folder / 'encoder.npz'
    np.savez(path, something=np.zeros(3))
    line = self.refused('--protocols=knn', *self.flags(path), run_dir=self.folder / 'new')
    self.assertIn('is missing', line)

  def test_that_are_not_there(self):
    line = self.refused(
      '--protocols=knn', *self.flags(self.folder / 'no.npz'), run_dir=self.folder / 'new'
    )
    self.assertIn('there is no such file', line)

  def test_that_are_damaged(self):
    path = self.export()
    path.write_bytes(path.read_bytes()[:200])
    line = self.refused('--protocols=knn', *self.flags(path), run_dir=self.folder / 'new')
    self.assertIn('damaged', line)


class BadInputTest(EvaluateTest):
  def fails(self, *flags, **kwargs):
    """The one line about the protocol that failed; the others ran."""
    line = self.refused(*flags, **kwargs)
    self.assertStartsWith(line, 'ssl-jax: protocol ')
    return line

  def assertStartsWith(self, text, start):
    self.assertEqual(text[: len(start)], start)

  def test_more_neighbors_than_images(self):
    line = self.fails('--protocols=knn,ridge', '--knn.k=65')
    self.assertIn('found 65, must be', line)
    self.assertEqual(set(self.numbers()['protocols']), {'ridge'})
    self.assertIn('knn', self.numbers()['failed'])

  def test_no_labels(self):
    images = small_runs.write_images(self.folder / 'unlabeled.npz', labeled=False)
    target = self.folder / 'unlabeled'
    self.assertEqual(cli.main(small_runs.arguments(images, target)), 0)
    line = self.fails(f'--protocols=linear,{",".join(WITHOUT_LABELS)}', run_dir=target)
    self.assertIn('labels of the train images: found none', line)
    self.assertEqual(set(self.numbers(target)['protocols']), set(WITHOUT_LABELS))

  def test_features_that_are_not_numbers(self):
    # Finite weights whose features overflow.
    kept = Checkpoints(self.run_dir / 'checkpoints', read_only=True)
    state, _ = kept.read()
    variables = {part: state[part]['encoder'] for part in ('params', 'batch_stats')}
    huge = jax.tree.map(lambda x: np.full_like(x, 3e38), variables['params'])
    path = self.folder / 'huge.npz'
    models.save_weights(path, {'params': huge, 'batch_stats': variables['batch_stats']})
    flags = WeightsTest.ARCHITECTURE
    status, _, err = self.call(
      '--protocols=knn,crowding',
      f'--weights={path}',
      f'--data.source=npz:{self.images}',
      '--data.batch_size=16',
      *flags,
      run_dir=self.folder / 'nan',
    )
    self.assertEqual(status, 2)
    lines = err.strip().splitlines()
    self.assertLen(lines, 2, err)
    for line in lines:
      self.assertIn('NaN or infinite', line)

  def test_a_class_with_a_single_image(self):
    with np.load(self.images) as arrays:
      changed = dict(arrays)
    changed['test_labels'] = changed['test_labels'].copy()
    changed['test_labels'][0] = 1
    changed['train_labels'] = np.where(np.arange(64) == 5, 2, changed['train_labels'])
    changed['test_labels'][3] = 2
    path = self.folder / 'single.npz'
    np.savez(path, **changed)
    status, out, err = self.call(
      '--protocols=knn,linear,crowding,low_shot,episodes', f'--data.source=npz:{path}'
    )
    self.assertIn(status, (0, 2), err)
    self.assertNotIn('Traceback', out + err)
    self.assertIn('knn', self.numbers()['protocols'])

  def test_settings_that_need_something_else(self):
    names = self.folder / 'a.txt'
    names.touch()
    line = self.fails('--protocols=low_shot,knn', f'--evaluate.label_lists={names}')
    self.assertIn('file names', line)
    status, _, err = self.call('--protocols=retrieval,knn', f'--evaluate.reid=npz:{names}')
    self.assertEqual((status, len(err.strip().splitlines())), (2, 1), err)
    self.assertEqual(set(self.numbers()['protocols']), {'knn'})

  def test_what_a_protocol_needs_is_there_before_anything_is_measured(self):
    line = self.refused('--protocols=all,transfer')
    self.assertIn('--evaluate.transfer: found nothing, must be given for the protocol', line)
    for flag, name, value in (
      ('transfer', 'transfer', 'npz:none.npz'),
      ('reid', 'retrieval', 'folder:none'),
      ('label_lists', 'low_shot', f'{self.images},none.txt'),
    ):
      line = self.refused(f'--protocols=knn,{name}', f'--evaluate.{flag}={value}')
      found = value.rpartition(',')[2]
      self.assertIn(f'--evaluate.{flag}: found {found}, must be what exists', line)
    self.assertFalse((self.run_dir / 'evaluation.json').exists())

  def test_all_leaves_out_what_lacks_a_setting(self):
    cheap = {name: PROTOCOLS[name] for name in ('spectrum', 'transfer')}
    with mock.patch.dict(PROTOCOLS, cheap, clear=True):
      status, out, err = self.call('--protocols=all', '--evaluate.baseline=false')
    self.assertEqual((status, err), (0, ''))
    self.assertIn('transfer: left out of --protocols=all; it needs --evaluate.transfer', out)
    self.assertEqual(set(self.numbers()['protocols']), {'spectrum'})

  def test_no_run(self):
    self.assertIn('--run_dir', self.refused('--protocols=knn', run_dir=self.folder / 'none'))

  def test_a_misspelled_protocol(self):
    self.assertIn('nearest: knn', self.refused('--protocols=knnn'))

  def test_the_run_s_neighbors_come_first_where_none_are_given(self):
    for flags, expected in ((), (5, 200, 10, 20)), (('--knn.k=3,5',), (3, 5)):
      asked = config_lib.parse([f'--run_dir={self.run_dir}', '--task=evaluate', *flags])
      self.assertEqual(open_run(asked).experiment.config.knn.k, expected)

  def test_no_protocol(self):
    self.assertIn('--protocols: found none', self.refused('--protocols='))

  def test_no_checkpoint(self):
    shutil.rmtree(self.run_dir / 'checkpoints')
    self.assertIn('has saved checkpoints, and', self.refused('--protocols=knn'))


class CompareTest(EvaluateTest):
  @pytest.mark.slow
  def test_two_runs_side_by_side(self):
    other = self.folder / 'other'
    flags = ('--seed=1', '--steps=4')
    self.assertEqual(cli.main(small_runs.arguments(self.images, other, *flags)), 0)
    target = self.folder / 'page'
    status, out, err = self.call(
      f'--compare={self.run_dir},{other}', '--protocols=knn,crowding,similarities', run_dir=target
    )
    self.assertEqual(status, 0, err)
    page = (target / 'comparison.html').read_text()
    for word in ('run', 'other', 'untrained', 'Crowding', 'Similarities'):
      self.assertIn(word, page)
    self.assertIn('knn: k=5, T=0.07', out)
    self.assertTrue((target / 'comparison.csv').is_file())

  def test_refused(self):
    line = self.refused(f'--compare={self.run_dir}', run_dir=self.folder / 'page')
    self.assertIn('two different runs', line)
    # All are checked before the first one is measured.
    runs = f'--compare={self.run_dir},{self.folder / "no"}'
    status, out, err = self.call(runs, '--protocols=knn', run_dir=self.folder / 'p')
    self.assertEqual(status, 2)
    self.assertIn('must be the folder of a run', err)
    self.assertNotIn('protocol', out)
    line = self.refused(runs, '--weights=a.npz', run_dir=self.folder / 'p')
    self.assertIn('--compare', line)


class OnlineMetricsTest(EvaluateTest):
  def test_written_during_training_and_no_part_of_it(self):
    target = self.folder / 'metered'
    flags = (
      '--online_metrics.names=crowding,spectrum,hypersphere,prototype_bias,bound_chain',
      '--online_metrics.every_epochs=1',
      '--online_metrics.images=16',
      '--online_metrics.views=2',
    )
    self.assertEqual(cli.main(small_runs.arguments(self.images, target, *flags)), 0)
    rows = [json.loads(line) for line in (target / 'metrics.jsonl').read_text().splitlines()]
    metered = [row for row in rows if 'crowding/crowding_ratio' in row]
    self.assertEqual([row['step'] for row in metered], [0, 4, 8, 10])
    for row in metered:
      self.assertLessEqual(row['bound_chain/supervised'], row['bound_chain/bound'] + 1e-9)
      self.assertGreaterEqual(row['spectrum/rank_me'], 1)
      energies = row['prototype_bias/squared'] + row['prototype_bias/augmentation_variance']
      self.assertLessEqual(energies, 1 + 1e-6)
    # The same functions measure the same numbers of the last checkpoint afterwards.
    names = 'crowding,spectrum,hypersphere,prototype_bias,bound_chain'
    self.call(f'--protocols={names}', '--evaluate.baseline=false', run_dir=target)
    evaluated = self.numbers(target)['protocols']
    last = {name: value for name, value in metered[-1].items() if '/' in name}
    self.assertLen(last, 4 + 2 + 2 + 4 + 15)
    for name, value in last.items():
      protocol, _, score = name.partition('/')
      self.assertAlmostEqual(value, evaluated[protocol]['scores']['trained'][score], places=9)
    states = [
      Checkpoints(folder / 'checkpoints', read_only=True).read()[0]
      for folder in (self.run_dir, target)
    ]
    chex.assert_trees_all_equal(*states)

  def test_without_labels(self):
    images = small_runs.write_images(self.folder / 'unlabeled.npz', labeled=False)
    self.capfd.readouterr()
    argv = small_runs.arguments(images, self.folder / 'new', '--online_metrics.names=crowding')
    self.assertEqual(cli.main(argv), 2)
    self.assertIn('--online_metrics.names', self.capfd.readouterr().err)
