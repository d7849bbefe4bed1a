"""The study of negative samples and the planner, from flags to output."""

import csv
import json
import math
import shutil

import chex
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import cli, config
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.negatives import class_counts, planner, run
from tests.tasks import small_runs

TASK = '--task=negatives'
QUICK = ('--negatives.mean_feature_passes=1', '--negatives.epochs=2', '--negatives.batch_sizes=4,8')


class TaskTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, tmp_path, capfd, monkeypatch):
    self.folder, self.capfd, self.monkeypatch = tmp_path, capfd, monkeypatch

  def call(self, *flags):
    """Exit status, standard output and standard error."""
    self.capfd.readouterr()
    status = cli.main([TASK, *flags])
    return status, *self.capfd.readouterr()

  def refused(self, *flags):
    """The one line that refuses."""
    status, out, err = self.call(*flags)
    self.assertEqual(status, 2, out + err)
    lines = err.strip().splitlines()
    self.assertLen(lines, 1, err)
    return lines[0]


def read(path):
  """The rows of a table by name, as text."""
  with path.open(newline='') as file:
    return {name: cells for name, *cells in csv.reader(file)}


class SmallDataTest(chex.TestCase):
  def test_fewer_images_than_the_smallest_batch_are_one_batch(self):
    parsed = config.parse([TASK])
    for counts, expected in (([1, 1, 1], [3]), ([2, 2], [2, 4]), ([8, 8], [2, 4, 8, 16])):
      sizes = planner.ClassSizes('test images', np.array(counts))
      self.assertEqual(run._batches(parsed, sizes, 256, 'all'), expected)


class PlannerTest(TaskTest):
  def test_ten_classes(self):
    run_dir = self.folder / 'plan'
    status, out, err = self.call('--class_counts=10x1000', f'--run_dir={run_dir}')
    self.assertEqual(status, 0, err)
    for words in (
      'With 255 negatives a batch covers all 10 classes with probability 1 - 1.3e-11',
      'an anchor has 25.5 negatives of its own class',
      'need no queue',
      '35 (risk 0.05), 38 (risk 0.01) or 42 (risk 0.001)',
    ):
      self.assertIn(words, ' '.join(out.split()))
    target = run_dir / 'negatives'
    first, second = read(target / 't1.csv'), read(target / 't2.csv')
    self.assertEqual(first['rounded up'], ['30'])
    self.assertEqual(
      [first[f'draws for coverage {x}'][0] for x in (0.5, 0.9, 0.99)], ['27', '44', '66']
    )
    self.assertEqual(second['K+1'], ['16', '32', '64', '128', '256 (planned)', '512'])
    np.testing.assert_allclose(
      float(second['coverage, without replacement'][1]), 0.69245395644512, rtol=1e-12
    )
    np.testing.assert_allclose(float(second['no collision'][5]), 0.9**511, rtol=1e-12)
    self.assertTrue((target / 't3.csv').exists())
    page = (target / 'negatives.html').read_text()
    for words in ('Coverage and collision', 'Bounds against K', 'T1. Draws', 'data:image/png'):
      self.assertIn(words, page)

  def test_a_batch_below_the_classes_and_a_queue(self):
    status, out, _ = self.call(
      '--class_counts=100x500',
      '--data.batch_size=64',
      f'--run_dir={self.folder}',
      '--report.html=false',
    )
    self.assertEqual(status, 0)
    words = ' '.join(out.split())
    self.assertIn('With 63 negatives a batch cannot cover all 100 classes', words)
    self.assertIn('Beside batches of 64 that takes a queue of 433, 619 or 852.', words)
    self.assertIn('64 (planned)', out)

  def test_folder_without_a_run_dir(self):
    self.monkeypatch.chdir(self.folder)
    (self.folder / 'sizes.txt').write_text('# images\n5\n3\n\n2x4\n')
    status, out, _ = self.call(
      '--class_counts=sizes.txt', '--data.batch_size=4', '--report.html=false'
    )
    self.assertEqual(status, 0)
    self.assertIn('table     runs/negatives-sizes/negatives/t1.csv', out)
    self.assertTrue((self.folder / 'runs/negatives-sizes/negatives/t2.csv').exists())

  def test_the_names_of_version_0_1(self):
    for task in ('analyze', 'analyse'):
      given = [f'--task={task}', '--analysis=negatives', '--class_counts=3x9']
      self.assertEqual(config.parse(given).task, 'negatives')

  @parameterized.parameters(
    (('--class_counts=10xa',), "--class_counts: found '10xa', must be CLASSESxIMAGES"),
    (('--class_counts=-3,2',), "--class_counts: found '-3,2', must be"),
    (('--class_counts=1.5,2',), "--class_counts: found '1.5,2', must be"),
    (('--class_counts=1x1000',), '--class_counts: found 1x1000, a single class'),
    (('--class_counts=3,0',), "--class_counts: found '0' in 3,0, must be above 0"),
    (('--class_counts=10x5',), '--data.batch_size: found 256, must be at most 50'),
    (('--class_counts=10x50', '--negatives.batch_sizes=8,900'), 'found 900, must be at most 500'),
    (('--class_counts=2x500', '--negatives.batch_sizes=1'), '--negatives.batch_sizes: found 1'),
    (('--class_count=3x4',), 'unknown flag; nearest: --class_counts'),
    ((), '--run_dir: found nothing, must be the folder of a run'),
    (('--run_dir=/nowhere',), '--run_dir: found /nowhere without config.flags'),
  )
  def test_refusals(self, flags, expected):
    self.monkeypatch.chdir(self.folder)
    self.assertIn(expected, self.refused(*flags))
    self.assertEmpty(list(self.folder.iterdir()))


class ClassCountsTest(TaskTest):
  @parameterized.parameters(
    ('3x5', [5, 5, 5]), ('5,3,1', [5, 3, 1]), ('2x5, 1 x 7,4', [5, 5, 7, 4]), ('8', [8])
  )
  def test_words(self, text, expected):
    np.testing.assert_array_equal(class_counts.read(text), expected)

  def test_files(self):
    file = self.folder / 'counts'
    file.write_text('5\n3,\n# none\n1 # the last\n')
    np.testing.assert_array_equal(class_counts.read(str(file)), [5, 3, 1])
    for content, message in (('5\nx\n', r'counts:2: found .x., must be'), ('', 'holds no number')):
      file.write_text(content)
      with self.assertRaisesRegex(UsageError, message):
        class_counts.read(str(file))


class StudyTest(TaskTest):
  @pytest.mark.slow
  def test_of_a_run(self):
    images, run_dir = small_runs.write_images(self.folder / 'images.npz'), self.folder / 'run'
    argv = small_runs.arguments(images, run_dir, '--steps=2', '--protocols=')
    self.assertEqual(cli.main(argv), 0)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}

    status, out, err = self.call(f'--run_dir={run_dir}', *QUICK)
    self.assertEqual(status, 0, err)
    self.assertIn('With 15 negatives a batch covers all 2 classes with probability', out)
    target = run_dir / 'negatives'
    terms = read(target / 't2.csv')
    self.assertEqual(terms['K+1'], ['4', '8'])
    number = lambda name: np.array([float(cell) for cell in terms[name]])
    halves = number('  L_sup x 1/2') + number('  L_sub x 1/2')
    parts = halves + number('collision E ln(1+Col)') / 2 + number('d(f)')
    np.testing.assert_allclose(parts, number('proposed bound'), rtol=1e-5)
    self.assertTrue(np.all(number('proposed bound') < number('L_Info')))
    self.assertTrue(np.all(number('L_Info, standard error') > 0))
    self.assertIn('kNN' if json.loads(before['result.json'].decode())['knn'] else 'T2.', out)
    for head in ('with head', 'no head'):
      self.assertTrue(np.all(number(f'linear, {head}, last epoch') > 0.5))
    control = read(target / 't4.csv')
    self.assertEqual(control['K+1'], ['4'])
    chance = read(target / 't3.csv')['ln C, chance']
    self.assertAlmostEqual(float(chance[0]), math.log10(math.log(2)))
    page = (target / 'negatives.html').read_text()
    for words in ('The control', 'Upper bounds of the supervised loss', 'T4. The control'):
      self.assertIn(words, page)
    # The run itself is as it was.
    after = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    self.assertEqual(before, after)

    # The second time, features lie there; results are the same.
    kept = list((run_dir / 'evaluation' / 'features').iterdir())
    self.assertLen(kept, 5)
    written = [path.stat().st_mtime_ns for path in kept]
    stored = (target / 't2.csv').read_bytes()
    status, out, _ = self.call(f'--run_dir={run_dir}', *QUICK, '--report.html=false')
    self.assertEqual(status, 0)
    self.assertNotIn('report  ', out)
    self.assertEqual(out.count(f' from {run_dir}'), 5)
    self.assertEqual([path.stat().st_mtime_ns for path in kept], written)
    self.assertEqual((target / 't2.csv').read_bytes(), stored)

    for flags, expected in (
      (('--method.temperature=0.3',), '--method.temperature: found 0.3, must be left out'),
      (('--negatives.batch_sizes=17',), '--negatives.batch_sizes: found 17, must be at most 16'),
      (('--negatives.num_negatives=8',), 'found 8, must be below 8, the control'),
      (
        ('--negatives.control_batch_size=20',),
        '--negatives.control_batch_size: found 20, must be at most 16',
      ),
    ):
      self.assertIn(expected, self.refused(f'--run_dir={run_dir}', *QUICK, *flags))
    expected = '--class_counts: found 3x4 and a run in'
    self.assertIn(expected, self.refused(f'--run_dir={run_dir}', '--class_counts=3x4'))

    self.check_sweep(run_dir)

    # The images have moved, and carry no labels there.
    bare = small_runs.write_images(self.folder / 'bare.npz', labeled=False)
    line = self.refused(f'--run_dir={run_dir}', *QUICK, f'--data.source=npz:{bare}')
    self.assertIn('with no labels, must be labeled for --task=negatives', line)

    for checkpoint in (run_dir / 'checkpoints').iterdir():
      checkpoint.rename(self.folder / f'gone-{checkpoint.name}')
    self.assertIn('has saved checkpoints, and', self.refused(f'--run_dir={run_dir}', *QUICK))

  def check_sweep(self, run_dir):
    """A folder of runs: here of one run twice, as if it had been trained with another batch."""
    sweep = self.folder / 'sweep'
    for name, batch in (('large', 16), ('small', 8)):
      shutil.copytree(run_dir, sweep / name)
      flags = sweep / name / 'config.flags'
      text = flags.read_text()
      self.assertIn('--data.batch_size=16', text)
      flags.write_text(text.replace('--data.batch_size=16', f'--data.batch_size={batch}'))
    status, out, err = self.call(f'--run_dir={sweep}', *QUICK)
    self.assertEqual(status, 0, err)
    terms = read(sweep / 'negatives' / 't2.csv')
    self.assertEqual(terms['K+1'], ['8 (small)', '16 (large)'])
    self.assertLess(float(terms['L_Info'][0]), float(terms['L_Info'][1]))
    self.assertIn('an encoder for each column', out)
    self.assertEqual(read(sweep / 'negatives' / 't4.csv')['K+1'], ['4', '8'])
    self.assertIn('Accuracy against K', (sweep / 'negatives' / 'negatives.html').read_text())
