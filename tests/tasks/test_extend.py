"""A finished run that goes on for more epochs."""

import json
import shutil

import chex
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import cli, config
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import read_metrics
from ssl_jax.tasks.run.experiment import build_experiment, describe_extensions
from ssl_jax.tasks.run.stored import read_config
from ssl_jax.training import Checkpoints
from tests.tasks import small_runs


class SettingTest(chex.TestCase):
  @parameterized.parameters(
    ('', '--extend=5', 0),
    ('--extend=5', '--extend=5,3', 0),
    ('--extend=5', '--extend=5,3 --extend_schedule=rewarm,constant', 0),
    ('--extend=5', '--extend=6', 1),
    ('--extend=5', '', 1),
    ('--extend=5', '--extend=5 --extend_schedule=constant', 1),
    ('--extend=5', '--extend=5,3 --extend_schedule=constant', 2),
    ('--epochs=10', '--epochs=20', 1),
  )
  def test_what_a_folder_may_be_given(self, before, after, expected):
    old, new = (config.parse(flags.split()) for flags in (before, after))
    self.assertLen(config.differences(old, new), expected)

  @parameterized.parameters(
    '--extend=0', '--extend=-1', '--extend=x', '--extend_schedule=cold', '--extend_schedule=',
    '--extend_schedule=rewarm,constant', '--extend_schedule=constant',
    '--task=evaluate --weights=a.npz --extend=3',
  )  # fmt: skip
  def test_refused(self, flags):
    with pytest.raises(UsageError, match='--extend'):
      config.parse(flags.split())


class ExperimentTest(chex.TestCase):
  def test_steps_and_schedules(self):
    argv = ('--data.source=digits', '--data.image_size=8', '--data.batch_size=128', '--epochs=2')
    build = lambda *flags: build_experiment(config.parse([*argv, *flags]), log=lambda line: None)
    plain = build()
    extended = build('--extend=1,0.5', '--extend_schedule=rewarm,constant')
    each = plain.sampler.batches_per_epoch
    self.assertEqual(plain.total_steps, 2 * each)
    self.assertEqual(extended.total_steps, 3 * each + round(each / 2))
    self.assertEqual(extended.method.total_steps, plain.method.total_steps)
    for at in (0, each, 2 * each - 1):
      self.assertEqual(float(plain.schedule(at)), float(extended.schedule(at)))
    lines: list[str] = []
    describe_extensions(extended, 3, lines.append)
    self.assertRegex(lines[0], rf'steps {2 * each} to {3 * each} \(1 epochs\), rewarm: .* 0\.06$')
    self.assertIn('constant trains on at', lines[2])
    self.assertIn('stands at step 3; it first goes on to its end', lines[3])
    with pytest.raises(UsageError, match=r'--extend: found 0\.001'):
      build('--extend=0.001')


@pytest.mark.slow
def test_an_extended_run_resumes_byte_for_byte(tmp_path, capfd):
  images = small_runs.write_images(tmp_path / 'images.npz')
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  flags = ('--steps=4', '--checkpoint.every_steps=1', '--checkpoint.keep_last=20')
  start = lambda run, *more: cli.main(
    small_runs.arguments(images, run, *flags, *more, method='byol')
  )
  assert start(whole) == 0
  first = read_metrics(whole)
  shutil.copytree(whole, killed)
  for run in (whole, killed):
    assert start(run, '--extend=1') == 0
  assert 'extend    steps 4 to 8 (1 epochs), rewarm' in capfd.readouterr().out
  result = json.loads((whole / 'result.json').read_text())
  assert (result['steps'], result['extend']) == (8, [1.0])
  assert read_config(whole).extend == (1.0,)
  rows = read_metrics(whole)
  assert rows[: len(first)] == first
  # As after kill -9 between steps 6 and 7.
  for step in (7, 8):
    shutil.rmtree(killed / 'checkpoints' / str(step))
  assert start(killed, '--extend=1') == 0
  assert 'resume    from step 6 of 8' in capfd.readouterr().out
  last = [Checkpoints(run / 'checkpoints', read_only=True).read() for run in (whole, killed)]
  assert last[0][1] == last[1][1] == 8
  chex.assert_trees_all_equal(last[0][0], last[1][0])
  # The flags before the extension are those of another run now; it may be extended again.
  assert start(whole) == 2
  assert '--extend: 1.0 in the folder' in capfd.readouterr().err
  assert start(whole, '--extend=1,1', '--extend_schedule=rewarm,constant') == 0
  rates = {row['step']: row['learning_rate'] for row in read_metrics(whole) if 'loss' in row}
  np.testing.assert_allclose([rates[10], rates[12]], rates[8], rtol=0.5)
