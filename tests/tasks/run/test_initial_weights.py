"""Training starts from given weights: what is taken, what is left, and what is recorded of it."""

import dataclasses
import functools
import json

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import cli, config, models
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.run import initial_weights
from ssl_jax.tasks.run.experiment import build_experiment
from ssl_jax.training import Checkpoints, state
from tests.tasks import small_runs


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  return small_runs.write_images(tmp_path_factory.mktemp('images') / 'images.npz')


@functools.cache
def drawn(images, method):
  """The experiment of a small run, and its state at step 0; compiled once a method."""
  argv = small_runs.arguments(images, images.parent / 'run', method=method)
  experiment = build_experiment(config.parse(argv), log=lambda line: None)
  created = state.create(experiment.method, experiment.optimizer, 0, 8, experiment.mesh)
  return experiment, created


class StartingStateTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, images, tmp_path):
    self.images, self.folder, self.lines = images, tmp_path, []

  def start(self, source, method='byol', **settings):
    """The state as drawn, the one that training starts from, and the record of it."""
    experiment, before = drawn(self.images, method)
    model = dataclasses.replace(experiment.config.model, init_from=str(source), **settings)
    asked = dataclasses.replace(experiment.config, model=model)
    experiment = dataclasses.replace(experiment, config=asked)
    self.experiment = experiment
    after, record = initial_weights.starting_state(experiment, before, self.lines.append)
    return before, after, record

  def other(self, change=lambda x: x + 1):
    """Another state of the run, whose average differs from its networks."""
    _, created = drawn(self.images, 'byol')
    shift = lambda tree, by: jax.tree.map(lambda x: x + by, tree)
    return dataclasses.replace(
      created,
      params=jax.tree.map(change, created.params),
      batch_stats=jax.tree.map(change, created.batch_stats),
      target=shift(created.target, 2),
    )

  def saved_run(self, saved):
    """The folder of a run with a checkpoint."""
    checkpoints = Checkpoints(self.folder / 'other' / 'checkpoints')
    checkpoints.save(7, saved)
    checkpoints.finish()
    return self.folder / 'other'

  def saved_encoder(self, of, name='weights.npz'):
    """A file of its encoder, and the variables in it."""
    encoder = {part: getattr(of, part)['encoder'] for part in ('params', 'batch_stats')}
    models.save_weights(self.folder / name, encoder)
    return self.folder / name, encoder

  @parameterized.parameters('.npz', '.safetensors')
  def test_a_file_of_an_encoder(self, ending):
    path, encoder = self.saved_encoder(self.other(), f'weights{ending}')
    before, after, record = self.start(path)
    for part in ('params', 'batch_stats'):
      chex.assert_trees_all_equal(getattr(after, part)['encoder'], encoder[part])
      as_drawn = getattr(before, part)['projector']
      chex.assert_trees_all_equal(getattr(after, part)['projector'], as_drawn)
    # A moving average starts equal to the networks it is of.
    chex.assert_trees_all_equal(after.target, {n: after.params[n] for n in after.target})
    chex.assert_trees_all_equal(after.step, before.step)
    self.assertLen(record['sha256'], 64)
    self.assertLen(record['loaded'], len(jax.tree.leaves(encoder)))
    # Every array is named once, on a line of its own.
    arrays = len(jax.tree.leaves((before.params, before.batch_stats, before.target)))
    self.assertLen(self.lines, 1 + arrays)
    self.assertRegex(self.lines[0], rf'^weights   of .*{ending}: \d+ loaded, \d+ equal, \d+ left')

  def test_all_of_a_run_with_the_same_networks(self):
    saved = self.other()
    _, after, record = self.start(self.saved_run(saved))
    for part in ('params', 'batch_stats', 'target'):
      chex.assert_trees_all_equal(getattr(after, part), getattr(saved, part))
    self.assertEqual((record['step'], record['left'], record['unused']), (7, [], []))
    self.assertEqual(int(after.step), 0)
    # A state that is donated holds no buffer twice.
    leaves = jax.tree.leaves((after.params, after.batch_stats, after.target))
    pointers = [x.addressable_shards[0].data.unsafe_buffer_pointer() for x in leaves]
    self.assertLen(set(pointers), len(pointers))

  def test_the_encoder_alone(self):
    saved = self.other()
    before, after, record = self.start(self.saved_run(saved), init_networks='encoder')
    chex.assert_trees_all_equal(after.params['encoder'], saved.params['encoder'])
    chex.assert_trees_all_equal(after.params['predictor'], before.params['predictor'])
    chex.assert_trees_all_equal(after.target['encoder'], after.params['encoder'])
    self.assertIn('params/projector/linear1/kernel', record['left'])
    leaves = jax.tree.leaves((after.params, after.batch_stats, after.target))
    pointers = [x.addressable_shards[0].data.unsafe_buffer_pointer() for x in leaves]
    self.assertLen(set(pointers), len(pointers))

  @pytest.mark.slow
  def test_a_run_of_another_method_and_other_heads(self):
    saved = self.other()
    run = self.saved_run(saved)
    before, after, record = self.start(run, method='simclr')
    chex.assert_trees_all_equal(after.params['encoder'], saved.params['encoder'])
    chex.assert_trees_all_equal(after.params['projector'], before.params['projector'])
    self.assertIn('params/projector/linear2/kernel', record['shape'])
    self.assertIn('params/predictor/linear1/kernel', record['unused'])
    self.assertTrue(any(' there, ' in line and ' here' in line for line in self.lines))

  def test_refused(self):
    (self.folder / 'empty').mkdir()
    (self.folder / 'text.npz').write_text('no weights')
    np.savez(self.folder / 'mlp.npz', **{'params/linear1/kernel': np.zeros((3, 2), np.float32)})
    wider = self.other(lambda x: np.zeros([2 * n for n in x.shape], np.float32))
    self.saved_encoder(wider, 'wide.npz')
    for name, expected in (
      ('nosuch', 'must be the folder of a run or a file of weights'),
      ('empty', 'must be a run that has saved one'),
      ('mlp.npz', 'of which no array fits the encoder'),
      ('wide.npz', 'of which no array fits the encoder'),
    ):
      with pytest.raises(UsageError, match=rf'--model\.init_from: found .*{expected}'):
        self.start(self.folder / name)
    with pytest.raises(OSError, match=r'text\.npz: the file is damaged'):
      self.start(self.folder / 'text.npz')
    self.saved_encoder(self.other(lambda x: x * np.nan), 'nan.npz')
    with pytest.raises(UsageError, match=r'nan\.npz: .*found NaN or infinite values'):
      self.start(self.folder / 'nan.npz')
    with pytest.raises(UsageError, match=r'--model\.init_networks: found encoder'):
      config.parse(['--model.init_networks=encoder'])

  def test_other_weights_under_the_same_name(self):
    path, _ = self.saved_encoder(self.other())
    _, _, record = self.start(path)
    lines = []
    initial_weights.warn_of_other_weights(self.experiment, record, lines.append)
    self.assertEmpty(lines)
    self.saved_encoder(self.other(lambda x: x + 3))
    initial_weights.warn_of_other_weights(self.experiment, record, lines.append)
    self.assertRegex(lines[0], r'weights\.npz holds other weights than the run started from')
    path.unlink()
    initial_weights.warn_of_other_weights(self.experiment, record, lines.append)
    self.assertLen(lines, 1)


@pytest.mark.slow
def test_a_run_resumes_without_the_weights_it_started_from(tmp_path, capfd):
  images = small_runs.write_images(tmp_path / 'images.npz')
  first, second = tmp_path / 'first', tmp_path / 'second'
  assert cli.main(small_runs.arguments(images, first, '--steps=2')) == 0
  flags = small_runs.arguments(images, second, f'--model.init_from={first}', '--steps=3')
  assert cli.main(flags) == 0
  record = json.loads((second / 'run.json').read_text())['initial_weights']
  assert record['from'] == str(first)
  assert record['step'] == 2
  result = json.loads((second / 'result.json').read_text())
  assert 0 <= result['knn']['init_from'] <= 1
  first.rename(tmp_path / 'elsewhere')
  (second / 'result.json').unlink()
  assert cli.main(flags) == 0
  assert json.loads((second / 'result.json').read_text())['knn'] == result['knn']
  assert json.loads((second / 'run.json').read_text())['initial_weights'] == record
  assert 'given weights, at the start' in capfd.readouterr().out
