"""What `pip install` leaves: the program and the recipes, without the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import chex
import pytest

from tests import compiling
from tests.tasks import small_runs

_BUILD = 'import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])'
_LEFT_OUT = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'runs')


def _build(kind, tree, target):
  done = subprocess.run(
    [sys.executable, '-c', _BUILD.format(kind), str(target)],
    cwd=tree,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """The source distribution unpacked, and the folder into which the wheel made of it is installed.

  The wheel is installed without its dependencies, which this environment has.
  """
  setuptools = pytest.importorskip('setuptools', minversion='77')
  del setuptools
  folder = tmp_path_factory.mktemp('wheel')
  shutil.copytree(small_runs.ROOT, folder / 'tree', ignore=_LEFT_OUT)
  _build('sdist', folder / 'tree', folder)
  with tarfile.open(next(folder.glob('*.tar.gz'))) as archive:
    archive.extractall(folder / 'unpacked', filter='data')
  source = next((folder / 'unpacked').iterdir())
  _build('wheel', source, folder)
  wheel = next(folder.glob('*.whl'))
  subprocess.run(
    [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', str(wheel)]
    + ['--target', str(folder / 'installed')],
    check=True,
  )
  return source, folder / 'installed'


@pytest.mark.slow
class WheelTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folders(self, built, tmp_path):
    self.source, self.installed = built
    self.empty = tmp_path

  def call(self, *argv):
    """Starts the installed `ssl-jax` in an empty folder."""
    done = subprocess.run(
      [str(self.installed / 'bin' / 'ssl-jax'), *argv],
      cwd=self.empty,
      env={
        **os.environ,
        'PYTHONPATH': str(self.installed),
        'PATH': f'{self.installed / "bin"}:{os.environ["PATH"]}',
        'XLA_FLAGS': compiling.xla_flags(),
      },
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    return done.stdout

  def files(self, folder, suffix):
    return {str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob(f'*{suffix}')}

  def test_the_source_distribution_is_complete(self):
    for folder in ('tests', 'experiments', 'docs', 'benchmarks'):
      here, there = (self.files(root / folder, '.py') for root in (small_runs.ROOT, self.source))
      self.assertEmpty(here - there)
    for name in ('LICENSE', 'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'Makefile'):
      self.assertTrue((self.source / name).is_file(), name)

  def test_the_wheel_holds_all_recipes_and_sweeps(self):
    package = self.installed / 'ssl_jax'
    experiments = small_runs.ROOT / 'experiments'
    recipes = self.files(experiments / 'flags', '.flags')
    self.assertContainsSubset({'photographs/quickstart.flags'}, recipes)
    self.assertEqual(self.files(package / 'recipes', '.flags'), recipes)
    self.assertEqual(
      self.files(package / 'recipes' / 'sweeps', '.sweep'),
      self.files(experiments / 'sweeps', '.sweep'),
    )
    self.assertTrue((package / 'py.typed').is_file())
    self.assertFalse((self.installed / 'tests').exists())

  def test_the_program_trains_in_an_empty_folder(self):
    self.assertTrue(self.call('--help').startswith('usage: ssl-jax '))
    small = ('--model.name=resnet10', '--model.width=4', '--data.train_limit=256')
    small += ('--data.batch_size=16', '--report.html=false', '--report.tensorboard=false')
    out = self.call('--flagfile=photographs/quickstart', '--steps=2', *small)
    self.assertIn('ssl-jax --task=evaluate --run_dir=runs/photographs-simclr', out)
    self.assertTrue((self.empty / 'runs' / 'photographs-simclr' / 'result.json').is_file())

  def test_a_sweep_starts_the_same_program(self):
    out = self.call('sweep', 'photographs_methods', '--dry_run', '--seeds=0', '--only=simclr')
    self.assertStartsWith(out, f'{sys.executable} -m ssl_jax --')
