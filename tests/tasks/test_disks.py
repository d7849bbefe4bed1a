"""A disk that fails in any phase of a run: one line with the path and the true reason."""

import errno
import fcntl
import os

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import cli
from ssl_jax import config as config_lib
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import MetricWriter
from ssl_jax.tasks.run import folder, record
from ssl_jax.training import atomic
from tests import faults
from tests.tasks import small_runs

# Of a run: what fails, and what else is named where the path itself is a temporary one.
PHASES = {
  'folder': ('/run$', 'run'),
  'lock': (r'/\.lock$', '.lock'),
  'checkpoints': ('/checkpoints$', 'checkpoints'),
  'configuration': (r'config\.flags', 'config.flags'),
  'record': (r'run\.json', 'run.json'),
  'metrics': (r'metrics\.jsonl', 'metrics.jsonl'),
  'events': ('tfevents', 'run'),
  'seconds': (r'seconds\.json', 'seconds.json'),
  'checkpoint': (r'checkpoints/3\.orbax', 'checkpoints/3'),
  'manifest': (r'checkpoints/3/.*manifest\.json', 'checkpoints/3'),
  'result': (r'result\.json', 'result.json'),
  'figures': ('/figures', 'figures'),
  'report': (r'report\.html', 'report.html'),
}
# Phases of one process; their order spreads the errors over them.
CASES = [(name, faults.ERRNOS[at % len(faults.ERRNOS)]) for at, name in enumerate(PHASES)]


class FailingDiskTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, tmp_path, capfd):
    self.folder, self.capfd = tmp_path, capfd

  @parameterized.parameters(*CASES)
  @pytest.mark.slow
  def test_one_line_and_nothing_after_it(self, phase, number):
    images = small_runs.write_images(self.folder / 'images.npz')
    pattern, named = PHASES[phase]
    flags = ('--report.html=true', '--report.tensorboard=true')
    argv = small_runs.arguments(images, self.folder / 'run', *flags)
    self.capfd.readouterr()
    with faults.writing(pattern, number) as hit:
      status = cli.main(argv)
    out, err = self.capfd.readouterr()
    self.assertNotEmpty(hit)
    self.assertEqual(status, 2, out + err)
    self.assertLen(err.splitlines(), 1, err)
    self.assertStartsWith(err, 'ssl-jax: ')
    self.assertIn(named, err)
    self.assertIn(os.strerror(number), err)
    # With the disk back, the same command runs to the end.
    if phase in ('checkpoint', 'report'):
      self.assertEqual(cli.main(argv), 0)
      self.assertEmpty(list((self.folder / 'run').rglob('*.partial')))

  @parameterized.product(number=faults.ERRNOS)
  def test_files_of_a_run_name_themselves(self, number):
    path = self.folder / 'run'
    config = config_lib.parse([f'--run_dir={path}'])
    path.mkdir()
    writer = MetricWriter(path)
    writer.write(1, {'loss': 1.0})

    def lock():
      with folder.opened(config):
        pass

    actions = {
      r'\.lock': lock,
      r'x\.txt': lambda: atomic.atomic_write(path / 'x.txt', 'x'),
      r'run\.json': lambda: record.Record('a').write(path),
      r'seconds\.json': lambda: folder.write_seconds(path, {'step': 1.0}),
      r'metrics\.jsonl': lambda: writer.truncate_after(0),
      'tfevents': lambda: writer.write(2, {'loss': 1.0}),
    }
    writer.close()
    writer = MetricWriter(path)
    for pattern, action in actions.items():
      with (
        faults.writing(pattern, number) as hit,
        self.assertRaises((OSError, UsageError)) as caught,
      ):
        action()
      self.assertNotEmpty(hit, pattern)
      self.assertIn(str(path), str(caught.exception))
      self.assertIn(os.strerror(number), str(caught.exception))
    writer.close()
    # The rows that were there are there.
    self.assertIn('"step": 1', (path / 'metrics.jsonl').read_text())

  def test_a_deleted_folder_is_noticed_at_the_next_row(self):
    writer = MetricWriter(self.folder, tensorboard=False)
    (self.folder / 'metrics.jsonl').unlink()
    with self.assertRaisesRegex(FileNotFoundError, 'No such file.*metrics.jsonl'):
      writer.write(1, {'loss': 1.0})


class LockTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _surroundings(self, tmp_path, monkeypatch):
    self.path, self.monkeypatch = tmp_path / 'run', monkeypatch
    self.config = config_lib.parse([f'--run_dir={self.path}'])
    self.lines = []

  def open(self):
    with folder.opened(self.config, self.lines.append):
      (self.path / 'held').touch()

  def flock(self, number):
    def refuse(*_):
      raise OSError(number, os.strerror(number))

    self.monkeypatch.setattr(fcntl, 'flock', refuse)

  @parameterized.parameters(errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
  def test_a_disk_without_locks_is_used_with_a_warning(self, number):
    self.flock(number)
    self.open()
    self.assertRegex(self.lines[0], f'warning .*{self.path} has no locks .{os.strerror(number)}')

  def test_other_errors(self):
    for number, words in (
      (errno.EACCES, 'is in use by another process'),
      (errno.EIO, f'Input/output error.*{self.path}/.lock'),
    ):
      self.flock(number)
      with self.assertRaisesRegex((OSError, UsageError), words):
        self.open()

  @parameterized.parameters('folder', 'pipe', 'link', 'device')
  def test_an_odd_lock_file(self, kind):
    self.path.mkdir()
    lock, other = self.path / '.lock', self.path / 'other'
    other.write_text('precious')
    make = {
      'folder': lock.mkdir,
      'pipe': lambda: os.mkfifo(lock),
      'link': lambda: lock.symlink_to(other),
      'device': lambda: lock.symlink_to('/dev/zero'),
    }
    make[kind]()
    with self.assertRaisesRegex(UsageError, f'--run_dir: {lock} is no regular file; delete it'):
      self.open()
    self.assertEqual(other.read_text(), 'precious')

  def test_what_killed_processes_left_is_deleted(self):
    self.path.mkdir()
    (self.path / 'figures').mkdir()
    left = ['.config.flags.7.partial', '.metrics.jsonl.8.partial', '.run.json.9.partial']
    for name in (*left, 'figures/.loss.png.7.partial'):
      (self.path / name).touch()
    mine = self.path / '.evaluation.json.7.partial'  # of an evaluation beside the training
    mine.touch()
    self.open()
    names = {str(path.relative_to(self.path)) for path in self.path.rglob('*') if path.is_file()}
    self.assertEqual(names, {'.lock', 'held', mine.name})
