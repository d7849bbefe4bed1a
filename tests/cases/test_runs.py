"""Folders of runs, their files and checkpoints, and messages about them."""

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess

import jax.numpy as jnp
import pytest

from ssl_jax import config
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.run import folder
from ssl_jax.training import Checkpoints
from ssl_jax.training.checkpoints import manifest

DIGITS = ('--data.source=digits', '--protocols=')


@pytest.mark.slow
def test_a_tilde_in_run_dir_is_the_home_folder(program):
  home = program.folder / 'home'
  home.mkdir()
  program(*DIGITS, '--steps=1', '--run_dir=~/x', HOME=str(home))
  assert not (program.folder / '~').exists()


@pytest.mark.slow
def test_weights_that_are_not_there_are_not_ignored(program):
  assert program(*DIGITS, '--steps=1', '--run_dir=r', '--weights=nosuch.npz').status == 2


def test_a_flag_file_may_begin_with_a_byte_order_mark(tmp_path):
  for first in ('# mine\r\n', ''):
    path = tmp_path / 'a.flags'
    path.write_bytes(b'\xef\xbb\xbf' + f'{first}--seed=3\r\n'.encode())
    assert config.parse([f'--flagfile={path}']).seed == 3


@pytest.mark.slow
def test_result_json_of_a_single_class_is_json(program, write_images):
  write_images('set', 24, ['only'])
  ended = program('--data.source=folder:set', '--steps=1', '--run_dir=r')
  if ended.status != 2:  # a refusal would do as well

    def refuse(word):
      raise ValueError(f'{word} is no JSON')

    json.loads((program.folder / 'r/result.json').read_text(), parse_constant=refuse)


@pytest.mark.slow
def test_a_loss_that_is_called_not_finite_is_not_finite(program):
  ended = program(
    *DIGITS,
    '--steps=4',
    '--run_dir=r',
    '--optimizer.learning_rate=1e30',
    '--method.temperature=0.001',
  )
  assert ended.status != 0
  line = next((line for line in ended.text.splitlines() if 'not finite' in line), '')
  shown = re.search(r'\bloss (-?[\d.]+)', line.partition(':')[2].partition(':')[2])
  assert 'the loss is not finite' not in line or not shown


def _two_checkpoints(path):
  checkpoints = Checkpoints(path)
  for step in (2, 4):
    checkpoints.save(step, {'kernel': jnp.full(3, float(step))})
  checkpoints.finish()
  return path / '4' / manifest.FILE_NAME


@pytest.mark.parametrize(
  ('before', 'after'),
  [('"float32"', '"floAt32"'), ('"kernel"', '"kernem"'), ('"score": null', '"score": 0.99')],
)
def test_a_bit_flipped_in_the_manifest_leads_to_the_checkpoint_before(tmp_path, before, after):
  file = _two_checkpoints(tmp_path)
  text = file.read_text()
  assert before in text
  file.write_text(text.replace(before, after, 1))
  restored = Checkpoints(tmp_path, read_only=True).restore({'kernel': jnp.zeros(3)})
  assert restored[1] == 2


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_is_used_or_named(tmp_path, monkeypatch, number):
  def flock(*_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, 'flock', flock)
  path = tmp_path / 'somewhere'
  try:
    with folder.opened(config.parse([f'--run_dir={path}'])):
      pass
  except (OSError, UsageError) as refused:
    assert str(path) in str(refused)


@pytest.mark.slow
def test_a_disk_without_inodes_ends_in_one_line(program):
  disk = program.folder / 'disk'
  disk.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=30m,nr_inodes=75', 'tmpfs', str(disk)]
  if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting is not permitted')
  try:
    for inodes in (45, 50, 55, 60, 65, 70, 80, 90):  # which write fails depends on it
      subprocess.run(['mount', '-o', f'remount,nr_inodes={inodes}', str(disk)], check=True)
      run = disk / f'r{inodes}'
      ended = program(*DIGITS, '--steps=8', '--checkpoint.every_steps=2', f'--run_dir={run}')
      for path in disk.iterdir():
        shutil.rmtree(path)
      assert ended.status in (0, 2), ended.text
      assert 'Traceback' not in ended.text, ended.text
  finally:
    subprocess.run(['umount', '-l', str(disk)], check=True)


def test_a_checkpoint_that_is_deleted_while_it_is_chosen_leads_to_another(tmp_path, monkeypatch):
  writer = Checkpoints(tmp_path, keep_last=3)
  for step in (1, 2, 3):
    writer.save(step, {'a': jnp.full(4, step)})
  writer.finish()
  verify = manifest.verify

  def delete_after(path):
    found = verify(path)
    if path.name == '3':
      shutil.rmtree(path)  # what the training run does meanwhile
    return found

  monkeypatch.setattr(manifest, 'verify', delete_after)
  restored = Checkpoints(tmp_path, read_only=True).restore({'a': jnp.zeros(4, jnp.int32)})
  assert restored[1] == 2
