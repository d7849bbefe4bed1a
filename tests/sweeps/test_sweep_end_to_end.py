"""A sweep of real runs of seconds, from the command to the table and again."""

import json
import os
import subprocess
import sys

import chex
import pytest

from tests import compiling
from tests.tasks import small_runs


@pytest.mark.slow
class EndToEndTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder, self.out = tmp_path, tmp_path / 'out'

  def sweep(self, *extra):
    """Exit status, standard output and standard error."""
    script = small_runs.ROOT / 'experiments' / 'sweep.py'
    done = subprocess.run(
      [sys.executable, str(script), str(self.folder / 'small.sweep'), '--seeds=0,1']
      + [f'--out={self.out}', '--columns=knn,loss,minutes', *extra],
      cwd=small_runs.ROOT,
      env={**os.environ, 'XLA_FLAGS': compiling.xla_flags()},
      capture_output=True,
      text=True,
      timeout=600,
    )
    return done.returncode, done.stdout, done.stderr

  def test_two_methods_two_seeds(self):
    images = small_runs.write_images(self.folder / 'images.npz')
    lines = [' '.join(small_runs.BASE), f'--data.source=npz:{images}']
    lines += [f'{name}: {" ".join(small_runs.METHODS[name])}' for name in ('simclr', 'byol')]
    (self.folder / 'small.sweep').write_text('\n'.join(lines))

    status, out, err = self.sweep()
    self.assertEqual(status, 0, out + err)
    self.assertEqual(out.count('  done in'), 4)
    made = json.loads((self.out / 'table.json').read_text())
    rows = {row['name']: row for row in made['rows']}
    self.assertEqual(list(rows), ['raw pixels', 'random initialization', 'simclr', 'byol'])
    self.assertEqual(made['steps'], [10])
    # The untrained encoder of a seed is the same for both methods, and pixels know no seed.
    self.assertLen(rows['random initialization']['knn']['values'], 2)
    self.assertEqual(rows['raw pixels']['knn']['standard_deviation'], 0.0)
    for name in ('simclr', 'byol'):
      results = [
        json.loads((self.out / f'{name}-seed{seed}' / 'result.json').read_text()) for seed in (0, 1)
      ]
      knn = [100 * result['knn']['trained'] for result in results]
      self.assertEqual(rows[name]['knn']['values'], knn)
      self.assertGreater(rows[name]['minutes']['mean'], 0)

    stamps = {path: path.stat().st_mtime_ns for path in self.out.glob('*/result.json')}
    status, again, err = self.sweep()
    self.assertEqual(status, 0, again + err)
    self.assertEqual(again.count('finished before'), 4)
    self.assertEqual({path: path.stat().st_mtime_ns for path in stamps}, stamps)
    self.assertEqual(again.partition('\n\n')[2], out.partition('\n\n')[2])

    status, refused, _ = self.sweep('--', '--knn.k=3')
    self.assertEqual(status, 1)
    self.assertEqual(refused.count('exit status 2: ssl-jax: --run_dir:'), 4)
    self.assertIn('--knn.k: 5 in the folder, 3 now', refused)
