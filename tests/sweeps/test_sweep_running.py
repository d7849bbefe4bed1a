"""Sweeps of fake runs: what is run, skipped, reported and stopped."""

import errno
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from unittest import mock

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import cli
from tests import faults
from tests.tasks.small_runs import ROOT, wait_for

FAKE = (sys.executable, str(pathlib.Path(__file__).with_name('fake_run.py')))
_IN_A_PROCESS = (
  'import sys; from ssl_jax import cli; cli.run_command = lambda: sys.argv[-2:]; '
  'sys.exit(cli.main(["sweep", *sys.argv[1:-2]]))'
)


class RunningTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, capsys):
    self.folder, self.out, self.capsys = tmp_path, tmp_path / 'out', capsys
    self.file = tmp_path / 'a.sweep'
    self.file.write_text('--epochs=1\na: --model.width=4\nb: --model.width=8\n')

  def sweep(self, *argv, command=FAKE):
    """Exit status, standard output and standard error."""
    with mock.patch.object(cli, 'run_command', return_value=command):
      status = cli.main(['sweep', str(self.file), f'--out={self.out}', *argv])
    return status, *self.capsys.readouterr()

  def starts(self, name):
    path = self.out / name / 'starts'
    return len(path.read_text()) if path.exists() else 0

  @parameterized.parameters(
    ('/out$', errno.EROFS, 'out'),
    (r'a-seed0\.log$', errno.EIO, 'a-seed0.log'),
    (r'table\.md', errno.ENOSPC, 'table.md'),
    (r'table\.json', errno.EDQUOT, 'table.json'),
  )
  def test_a_failing_disk_is_one_line(self, pattern, number, name):
    with faults.writing(pattern, number) as hit:
      status, _, err = self.sweep('--seeds=0')
    self.assertNotEmpty(hit)
    self.assertEqual(status, 2)
    path = self.out if name == 'out' else self.out / name
    self.assertEqual(err, f'ssl-jax: {path}: {os.strerror(number)}\n')

  @parameterized.parameters(1, 3)
  def test_runs_all_then_nothing(self, jobs):
    status, out, _ = self.sweep('--seeds=0,1', f'--jobs={jobs}', '--columns=knn')
    self.assertEqual(status, 0, out)
    self.assertRegex(out, r'\[4/4\] \w-seed1  done in \d s, kNN 60.00 %')
    self.assertIn('55.00 ± 7.07', out)
    self.assertIn('55.00 ± 7.07', (self.out / 'table.md').read_text())
    made = json.loads((self.out / 'table.json').read_text())
    self.assertEqual([row['name'] for row in made['rows']], ['a', 'b'])
    self.assertTrue(made['command'].startswith(f'ssl-jax sweep {self.file}'))
    self.assertIn('working', (self.out / 'a-seed0.log').read_text())

    status, out, _ = self.sweep('--seeds=0,1', '--columns=knn')
    self.assertEqual(status, 0)
    self.assertEqual(out.count('finished before'), 4)
    self.assertIn('55.00 ± 7.07', out)
    for name in ('a-seed0', 'b-seed0', 'a-seed1', 'b-seed1'):
      self.assertEqual(self.starts(name), 1)

  def test_only_what_is_missing_is_run(self):
    self.sweep('--seeds=0', '--only=b')
    self.assertEqual(self.starts('a-seed0'), 0)
    # A result without its configuration, or half a result, is none.
    self.sweep('--seeds=0')
    (self.out / 'a-seed0' / 'result.json').write_text('{')
    (self.out / 'b-seed0' / 'config.flags').unlink()
    status, out, _ = self.sweep('--seeds=0,1')
    self.assertEqual(status, 0, out)
    started = [self.starts(name) for name in ('a-seed0', 'b-seed0', 'a-seed1', 'b-seed1')]
    self.assertEqual(started, [2, 2, 1, 1])

  def test_a_result_of_other_flags_is_none(self):
    self.sweep('--seeds=0')
    status, out, _ = self.sweep('--seeds=0', '--table_only', '--', '--epochs=2')
    self.assertEqual(status, 0)
    self.assertIn('a-seed0 is left out: --run_dir: ', out)
    self.assertIn('--epochs: 1.0 in the folder, 2.0 now', out)
    self.assertIn('0 of 1', out)
    self.assertEqual(self.starts('a-seed0'), 1)
    self.sweep('--seeds=0', '--', '--epochs=2')
    self.assertEqual(self.starts('a-seed0'), 2)

  def test_what_does_not_decide_may_differ(self):
    self.sweep('--seeds=0')
    _, out, _ = self.sweep('--seeds=0', '--', '--report.every_steps=7')
    self.assertEqual(out.count('finished before'), 2)

  def test_a_failed_run_does_not_stop_the_others(self):
    self.file.write_text('a: --data.source=npz:fail\nb:\nc: --data.source=npz:silent\n')
    status, out, _ = self.sweep('--seeds=0')
    self.assertEqual(status, 1)
    self.assertRegex(
      out, r'a-seed0  failed after \d s: exit status 3: fake: the reason; log: .*a-seed0\.log'
    )
    self.assertRegex(out, r'b-seed0  done')
    self.assertRegex(out, r'c-seed0  failed after \d s: no result in')
    self.assertIn('failed    2 of 3 runs', out)
    self.assertIn('0 of 1', out)

  def test_the_last_line_is_of_the_last_start(self):
    self.file.write_text('a: --data.source=npz:fail\n')
    self.sweep('--seeds=0')
    killed = (sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)')
    status, out, _ = self.sweep('--seeds=0', command=killed)
    self.assertEqual(status, 1)
    self.assertIn('ended by SIGKILL: no output', out)

  def test_dry_run_prints_commands_and_runs_nothing(self):
    status, out, _ = self.sweep('--dry_run', '--seeds=7', '--only=b', '--', '--epochs=2')
    self.assertEqual(status, 0)
    expected = f'--epochs=1 --model.width=8 --epochs=2 --seed=7 --run_dir={self.out}/b-seed7\n'
    self.assertTrue(out.endswith(expected), out)
    self.assertFalse(self.out.exists())

  @parameterized.parameters(
    (('--only=c',), "--only: found 'c', must be one of a, b"),
    (('--columns=kn',), "--columns: found 'kn', must"),
    (('--table_only',), '--out: found .*/out, must be the folder of a sweep'),
    (('--', '--epoch=1'), 'after --: variant a: --epoch: unknown flag'),
  )
  def test_refusals_end_in_one_line_and_run_nothing(self, argv, message):
    status, out, err = self.sweep(*argv)
    self.assertEqual(status, 2)
    self.assertEqual(out, '')
    self.assertRegex(err, f'^ssl-jax: {message}')
    self.assertEqual(err.count('\n'), 1)
    self.assertFalse(self.out.exists())

  def test_a_folder_that_cannot_be_made(self):
    self.out.write_text('')
    status, _, err = self.sweep()
    self.assertEqual(status, 2)
    self.assertEqual(err.count('\n'), 1)
    self.assertIn(str(self.out), err)

  def test_a_program_that_cannot_be_started(self):
    status, _, err = self.sweep(command=(str(self.folder / 'none'),))
    self.assertEqual(status, 2)
    self.assertIn('none: No such file', err)

  def test_help(self):
    status, out, _ = self.sweep('--help')
    self.assertEqual(status, 0)
    self.assertTrue(out.startswith('usage: ssl-jax sweep FILE'))

  @parameterized.parameters(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
  def test_a_signal_reaches_the_runs(self, signum):
    self.file.write_text('a:\nb: --data.source=npz:wait\nc: --data.source=npz:wait\nd:\n')
    process = subprocess.Popen(
      [sys.executable, '-c', _IN_A_PROCESS, str(self.file), f'--out={self.out}', '--seeds=0']
      + ['--jobs=2', *FAKE],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
      # A shell's background job ignores SIGINT, and so would all that it starts.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = lambda name: self.out / f'{name}-seed0.log'
    try:
      wait_for(lambda: all(log(n).exists() and 'working' in log(n).read_text() for n in 'bc'), 60)
      # As a terminal does it: to the whole group, of which the runs are no part.
      os.killpg(process.pid, signum)
      out, err = process.communicate(timeout=60)
    finally:
      process.kill()
    self.assertEqual(process.returncode, 128 + signum, err)
    self.assertRegex(out, r'b-seed0  stopped after \d s\n')
    self.assertIn('stopped   1 of 4 runs have finished; to continue: ', out)
    self.assertIn(shlex.join([str(self.file), f'--out={self.out}', '--seeds=0']), out)
    for name in 'bc':
      self.assertEqual((self.out / f'{name}-seed0' / 'received').read_text(), str(int(signum)))
    self.assertEqual(self.starts('d-seed0'), 0)
    self.assertFalse((self.out / 'table.md').exists())
