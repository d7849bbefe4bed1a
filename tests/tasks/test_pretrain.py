"""The task as a user meets it: what it prints and leaves, and what it refuses."""

import html.parser
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from unittest import mock

import chex
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import cli
from ssl_jax.reporting import Figure, read_metrics
from ssl_jax.tasks import pretrain
from tests import compiling
from tests.tasks import small_runs


class TaskTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, tmp_path, capfd, monkeypatch):
    self.folder, self.capfd, self.monkeypatch = tmp_path, capfd, monkeypatch
    self.images = small_runs.write_images(tmp_path / 'images.npz')
    self.run_dir = tmp_path / 'run'

  def call(self, *flags, method='simclr'):
    """Exit status, standard output and standard error of a small run in this process."""
    self.capfd.readouterr()
    status = cli.main(small_runs.arguments(self.images, self.run_dir, *flags, method=method))
    return status, *self.capfd.readouterr()

  def refused(self, *flags, method='simclr', status=2):
    """The one line that refuses a run."""
    found, out, err = self.call(*flags, method=method)
    self.assertEqual(found, status, out + err)
    lines = err.strip().splitlines()
    self.assertLen(lines, 1, err)
    self.assertNotIn('Traceback', out + err)
    return lines[0]


class ResultTest(TaskTest):
  def test_prints_and_stores_knn_beside_what_it_has_to_beat(self):
    status, out, _ = self.call('--report.html=true', '--report.tensorboard=true')
    self.assertEqual(status, 0)
    result = json.loads((self.run_dir / 'result.json').read_text())
    for name, words in (
      ('trained', 'trained encoder, last step'),
      ('random_init', 'same encoder, untrained'),
      ('pixels', 'raw pixels'),
    ):
      self.assertBetween(result['knn'][name], 0, 1)
      self.assertIn(f'{words:<28}{100 * result["knn"][name]:6.2f} %', out)
    self.assertEqual(result['steps'], 10)
    rows = read_metrics(self.run_dir)
    self.assertEqual(rows[0]['step'], 0)
    self.assertIn('knn_random_init', rows[0])
    losses = {row['step'] for row in rows if 'loss' in row}
    self.assertEqual(losses, {2, 3, 4, 6, 8, 9, 10})
    self.assertTrue(any(self.run_dir.glob('events.out.tfevents.*')))
    self.check_page((self.run_dir / 'report.html').read_text())
    self.check_next_steps(out)

    # The same command finds nothing left to do, and says the same.
    again, out, _ = self.call('--report.html=true', '--report.tensorboard=true')
    self.assertEqual(again, 0)
    self.assertIn('resume    from step 10 of 10', out)
    repeated = json.loads((self.run_dir / 'result.json').read_text())
    self.assertEqual(repeated['knn'], result['knn'])

    # The stored configuration repeats the run.
    other = self.folder / 'other'
    flagfile = f'--flagfile={self.run_dir / "config.flags"}'
    self.assertEqual(cli.main([flagfile, f'--run_dir={other}', '--report.html=false']), 0)
    self.assertEqual(json.loads((other / 'result.json').read_text())['knn'], result['knn'])

  def check_next_steps(self, out):
    """The last lines name this run and the program."""
    last = [line.split() for line in out.splitlines()[-5:]]
    self.assertEqual(last[0], ['next'])
    evaluate = ['evaluate', 'ssl-jax', '--task=evaluate', f'--run_dir={self.run_dir}']
    self.assertEqual(last[1][:4], evaluate)
    repeat = ['own', 'images', 'ssl-jax', f'--flagfile={self.run_dir}/config.flags']
    self.assertEqual(last[2][:4], repeat)
    self.assertEqual(last[3][-1], f'ssl_jax.load_encoder({str(self.run_dir)!r})')

  def check_page(self, page):
    outside, headings = [], []

    class Reader(html.parser.HTMLParser):
      def handle_starttag(self, tag, attrs):
        headings.append(tag)
        for name, value in attrs:
          if name in ('src', 'href') and not (value or '').startswith(('data:', '#')):
            outside.append(value)

    Reader().feed(page)
    self.assertEmpty(outside)
    for words in ('Loss', 'kNN over time', 'What the model sees', 'Embeddings'):
      self.assertIn(words, page)
    for words in ('Nearest neighbors', 'Where the time went', '--data.batch_size=16'):
      self.assertIn(words, page)

  @pytest.mark.slow
  def test_unlabeled_images_train_without_knn(self):
    self.images = small_runs.write_images(self.folder / 'bare.npz', labeled=False)
    status, out, err = self.call('--steps=3', '--report.html=true')
    self.assertEqual(status, 0, err)
    self.assertNotIn('kNN', out)
    self.assertTrue((self.run_dir / 'report.html').exists())

  def test_pictures_that_cannot_be_drawn_cost_no_report(self):
    def draw(*_):
      yield Figure('Loss', '', b'')
      raise ValueError('features: found NaN or infinite values,\n must be finite')

    run, lines = mock.Mock(folder=self.folder), []
    run.log = lines.append
    with (
      mock.patch.object(pretrain.pretrain_report, 'draw', draw),
      mock.patch.object(pretrain.report, 'write_report', return_value='report.html'),
    ):
      pretrain.publish_report(run, mock.Mock(), {'knn': {}})
    self.assertEqual(
      lines,
      [
        'pictures  left out after 1: features: found NaN or infinite values, must be finite',
        'report    report.html',
      ],
    )
    self.assertLen(json.loads((self.folder / 'result.json').read_text())['figures'], 1)

  @pytest.mark.slow
  def test_a_single_test_image(self):
    arrays = dict(np.load(self.images))
    arrays |= {name: arrays[name][:1] for name in ('test_images', 'test_labels')}
    self.images = self.folder / 'one.npz'
    np.savez(self.images, **arrays)
    status, out, err = self.call('--steps=1', '--report.html=true')
    self.assertEqual(status, 0, err)
    result = json.loads((self.run_dir / 'result.json').read_text(), parse_constant=self.fail)
    self.assertIsNone(result['representation']['trained']['uniformity'])
    self.assertIn('two test images', result['reason']['uniformity'])
    self.assertIn('note      uniformity: ', out)
    self.assertIn('two test images', (self.run_dir / 'report.html').read_text())

  @pytest.mark.slow
  def test_accumulation_and_steps_per_call(self):
    flags = ('--optimizer.accumulation_steps=2', '--steps=4', '--optimizer.learning_rate=0.001')
    losses = []
    for per_call in (1, 3):
      self.run_dir = self.folder / f'{per_call} a call'
      status, _, err = self.call(*flags, f'--devices.steps_per_call={per_call}')
      self.assertEqual(status, 0, err)
      losses.append([row['loss'] for row in read_metrics(self.run_dir) if 'loss' in row])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


class RefusalTest(TaskTest):
  @parameterized.parameters(
    ('--method.temperture=1', '--method.temperture: unknown flag; nearest: --method.temperature'),
    ('--method.name=simclar', 'nearest: simclr'),
    ('--method.temperature=-1', '--method.temperature: found -1.0, must be > 0'),
    ('--data.source=photos', 'photographs'),
    ('--data.source=npz:/nowhere.npz', '/nowhere.npz'),
    ('--data.batch_size=4096', 'data.batch_size'),
    ('--data.batch_size=12', 'must be a multiple of the 8 devices'),
    ('--optimizer.learning_rate=inf', '--optimizer.learning_rate: found'),
    ('--views.recipe=simcrl', 'nearest: simclr'),
    ('--views.jitter_strength=50', '--views.jitter_strength'),
    (
      '--optimizer.schedule=constant --optimizer.warmup_by_epoch=true',
      '--optimizer.warmup_by_epoch',
    ),
    ('--model.name=resnet19', 'nearest: resnet'),
    ('--epochs=0', '--epochs: found 0.0, must be > 0'),
    (
      '--steps=0 --epochs=1e30',
      '--epochs: found 1e+30, must be at most 2,147,483,647 batches',
    ),
    (
      '--optimizer.accumulation_steps=2 --steps=2147483647 --optimizer.learning_rate=0.001',
      '--steps: found 2147483647, must be at most 2,147,483,647 batches',
    ),
    ('--class_counts=5,5', '--class_counts: found 5,5, must be left out of --task=pretrain'),
    ('--compare=runs/a,runs/b', '--compare: found runs/a,runs/b, must be left out'),
    ('--weights=encoder.npz', 'it is read by --task=evaluate'),
    ('--views.local_scale_min=0.5', 'must be from 0.5 (--views.local_scale_min) to 1'),
    ('--devices.process_id=4', 'must be below 1 (--devices.num_processes)'),
    ('--protocols=linear', '--protocols: found linear'),
  )
  def test_one_line_and_status_2(self, flag, expected):
    self.assertIn(expected, self.refused(*flag.split()))
    self.assertFalse((self.run_dir / 'config.flags').exists())

  @pytest.mark.slow
  def test_a_rank_or_a_group_beyond_the_batch(self):
    line = self.refused('--method.rank_high=40', method='truncated_triplet')
    self.assertIn('--method.rank_high: found 40, must be at most 15', line)
    line = self.refused('--method.group_size=3', method='truncated_triplet')
    self.assertIn('--method.group_size: found 3, must be a divisor of the batch, 16', line)
    # The refused configuration has not taken the folder.
    status, _, err = self.call('--steps=1', method='truncated_triplet')
    self.assertEqual(status, 0, err)

  def test_another_configuration_in_the_same_folder(self):
    self.assertEqual(self.call('--steps=1')[0], 0)
    line = self.refused('--steps=1', '--seed=3', '--method.temperature=0.1')
    self.assertIn('--seed: 0 in the folder, 3 now', line)
    self.assertIn('--method.temperature: 0.5 in the folder, 0.1 now', line)
    # What does not decide the outcome may change.
    self.assertEqual(self.call('--steps=1', '--report.every_steps=7')[0], 0)

  def test_a_folder_that_cannot_be(self):
    blocker = self.folder / 'blocker'
    blocker.write_text('')
    self.run_dir = blocker / 'run'
    self.assertRegex(self.refused(), r'--run_dir: .*blocker/run cannot be made')

  def test_a_refused_run_leaves_no_folder(self):
    self.refused('--data.source=npz:/nowhere.npz')
    self.assertFalse(self.run_dir.exists())

  def test_checkpoints_of_an_unknown_configuration(self):
    self.assertEqual(self.call('--steps=1')[0], 0)
    (self.run_dir / 'config.flags').unlink()
    self.assertIn('holds checkpoints but no config.flags', self.refused('--steps=1'))

  def test_two_runs_in_one_folder(self):
    import fcntl

    self.run_dir.mkdir()
    with (self.run_dir / '.lock').open('w') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      self.assertIn('in use by another process', self.refused())

  @pytest.mark.slow
  def test_a_loss_gone_bad(self):
    line = self.refused(
      '--optimizer.learning_rate=1e30', '--checkpoint.every_steps=1', '--steps=60', status=1
    )
    self.assertRegex(line, r'not finite at step \d+: .*gradient_norm')
    self.assertIn('last good checkpoint: ', line)
    kept = pathlib.Path(line.rpartition('last good checkpoint: ')[2])
    self.assertTrue((kept / 'manifest.json').exists(), line)

  @pytest.mark.slow
  def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(self):
    self.assertEqual(self.call()[0], 0)
    newest = self.run_dir / 'checkpoints' / '10'
    victim = max((f for f in newest.rglob('*') if f.is_file()), key=lambda f: f.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1])
    status, out, err = self.call()
    self.assertEqual(status, 0, err)
    self.assertIn('checkpoints/10', out)
    self.assertIn('resume    from step 9', out)

  def test_not_enough_room(self):
    usage = shutil.disk_usage(self.folder)
    self.monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=1000))
    line = self.refused()
    self.assertIn('checkpoints', line)
    self.assertFalse((self.run_dir / 'config.flags').exists())


class LearningTest(TaskTest):
  @pytest.mark.slow
  def test_an_epoch_of_photographs_beats_the_untrained_encoder(self):
    recipe = small_runs.ROOT / 'experiments' / 'flags' / 'photographs' / 'simclr.flags'
    status = cli.main(
      [
        f'--flagfile={recipe}',
        f'--run_dir={self.run_dir}',
        '--epochs=1',
        '--model.width=8',
        '--report.html=false',
        '--report.tensorboard=false',
      ]
    )
    self.assertEqual(status, 0)
    knn = json.loads((self.run_dir / 'result.json').read_text())['knn']
    self.assertGreater(knn['trained'], knn['random_init'] + 0.05)
    self.assertGreater(knn['trained'], knn['pixels'] + 0.05)


class OutputTest(TaskTest):
  @pytest.mark.slow
  def test_a_reader_that_leaves(self):
    import shlex

    argv = small_runs.arguments(self.images, self.run_dir, '--steps=3')
    script = small_runs.ROOT / 'experiments' / 'run.py'
    command = shlex.join([sys.executable, str(script), *argv])
    piped = f'set -o pipefail; {command} | head -n 1'
    done = subprocess.run(
      ['bash', '-c', piped], capture_output=True, text=True, check=False, cwd=small_runs.ROOT
    )
    self.assertNotIn('Traceback', done.stderr)
    self.assertEqual(done.stdout.count('\n'), 1)
    self.assertIn(done.returncode, (0, 141))


class CommandTest(chex.TestCase):
  @pytest.mark.slow
  def test_the_installed_command_is_the_script(self):
    beside = pathlib.Path(sys.executable).parent / 'ssl-jax'
    if not beside.exists():
      self.skipTest('the package is not installed')
    script = [sys.executable, str(small_runs.ROOT / 'experiments' / 'run.py')]
    pages = [
      subprocess.run([*command, '--help'], capture_output=True, text=True, check=True).stdout
      for command in ([str(beside)], script, [sys.executable, '-m', 'ssl_jax'])
    ]
    # Each page names the program as it was started, and all else is the same.
    starts = [page.partition(' --flagfile=')[0] for page in pages]
    shown = ['ssl-jax' if shutil.which('ssl-jax') == str(beside) else str(beside)]
    shown += [shlex.join(script), f'{sys.executable} -m ssl_jax']
    self.assertEqual(starts, [f'usage: {words}' for words in shown])
    rests = {page.replace(words, 'PROGRAM') for page, words in zip(pages, shown, strict=True)}
    self.assertLen(rests, 1)

  def test_messages_name_the_program_as_it_was_started(self):
    script = small_runs.ROOT / 'experiments' / 'sweep.py'
    for command, shown in (
      ([str(script)], f'{script}'),
      (['-m', 'ssl_jax', 'sweep'], '-m ssl_jax sweep'),
    ):
      done = subprocess.run(
        [sys.executable, *command, '--help'], capture_output=True, text=True, check=False
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertStartsWith(done.stdout, f'usage: {sys.executable} {shown} FILE ')

  def test_a_platform_that_is_not_there(self):
    done = small_runs.finish(small_runs.start(['--devices.platform=tpu']))
    self.assertEqual(done[0], 2, done[2])
    self.assertIn('--devices.platform: tpu cannot be used', done[2])

  @parameterized.parameters(
    *('', 'data', 'views', 'model', 'method', 'optimizer', 'knn', 'negatives'),
    *('checkpoint', 'report', 'devices'),
  )
  def test_help_fits_a_screen(self, section):
    import contextlib
    import io

    page = io.StringIO()
    with contextlib.redirect_stdout(page):
      asked = [f'--help={section}', '--method.name=truncated_triplet']
      self.assertEqual(cli.main(asked), 0)
    lines = page.getvalue().splitlines()
    self.assertLessEqual(len(lines), 26)
    self.assertLessEqual(max(map(len, lines)), 100)


@pytest.mark.slow
class BareInstallationTest(chex.TestCase):
  def test_trains_from_memory_without_the_optional_packages(self):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      images = small_runs.write_images(folder / 'images.npz')
      argv = small_runs.arguments(
        images, folder / 'run', '--report.html=true', '--report.tensorboard=true', '--steps=2'
      )
      absent = ('PIL', 'sklearn', 'skimage', 'matplotlib', 'tensorboardX')
      code = (
        'import sys\n'
        f'for name in {absent!r}: sys.modules[name] = None\n'
        'from ssl_jax import cli\n'
        f'sys.exit(cli.main({argv!r}))\n'
      )
      done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=small_runs.ROOT,
        env={**os.environ, 'XLA_FLAGS': compiling.xla_flags()},
        capture_output=True,
        text=True,
        check=False,
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertIn('report    left out', done.stdout)
      self.assertTrue((folder / 'run' / 'result.json').exists())
