"""The flags of a run and those that are given to evaluate it."""

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import config
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.protocols import check_protocols
from ssl_jax.tasks.run import stored


class RunConfigTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    self.run_dir = tmp_path / 'run'
    self.run_dir.mkdir()
    (tmp_path / 'set').mkdir()
    own = ('--seed=3', '--checkpoint.every_steps=7', '--method.name=byol', '--knn.k=9')
    self.own = config.parse([*own, '--data.source=folder:set', f'--run_dir={self.run_dir}'])
    (self.run_dir / 'config.flags').write_text(config.to_flags(self.own))

  def opened(self, *flags, task='evaluate'):
    asked = config.resolve([f'--task={task}', f'--run_dir={self.run_dir}', *flags], check_protocols)
    return stored.run_config(asked[0])

  @parameterized.parameters('evaluate', 'negatives')
  def test_the_run_is_described_by_its_own_flags(self, task):
    for flags in ((), (f'--flagfile={self.run_dir}/config.flags', f'--task={task}')):
      found = self.opened(*flags, task=task)
      self.assertEqual((found.seed, found.method.name), (3, 'byol'))
      self.assertEqual(found.data.source, 'folder:set')
      self.assertEqual(found.task, task)

  @parameterized.parameters(
    '--seed=0', '--checkpoint.every_steps=8', '--method.name=simclr', '--epochs=9.0'
  )
  def test_what_contradicts_the_run_is_refused(self, flag):
    name, _, value = flag.partition('=')
    with pytest.raises(UsageError, match=f'^{name}: found {value}, must be left out: the run in'):
      self.opened(flag)

  def test_what_agrees_with_it_is_accepted(self):
    self.opened('--seed=3', '--checkpoint.every_steps=7', '--method.name=byol')

  def test_a_recipe_may_have_other_periods_and_not_another_seed(self):
    file = self.run_dir / 'mine.flags'
    file.write_text('--checkpoint.every_steps=8\n')
    self.opened(f'--flagfile={file}')
    file.write_text('\n--seed=0\n')
    with pytest.raises(UsageError, match='--seed: found 0, must be left out'):
      self.opened(f'--flagfile={file}')

  def test_data_that_moved(self):
    self.assertEqual(self.opened('--data.source=folder:other').data.source, 'folder:other')
