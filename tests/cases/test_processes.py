"""Several processes of one run."""

import socket

import pytest

pytestmark = pytest.mark.slow
RUN = ('--data.source=digits', '--protocols=', '--steps=4')


def _free_port() -> int:
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


def _pair(program, name, *second):
  """Two processes of a run, the second with flags of its own."""
  flags = (*RUN, f'--run_dir={name}', '--devices.num_processes=2')
  flags = (*flags, f'--devices.coordinator_address=127.0.0.1:{_free_port()}')
  flags = (*flags, '--devices.connect_seconds=60')  # a machine may be busy
  both = [
    program.start(*flags, f'--devices.process_id={number}', *(second if number else ()))
    for number in range(2)
  ]
  return [program.finish(process) for process in both]


def test_two_processes_of_one_run_end_well(program):
  for ended in _pair(program, 'same'):
    assert ended.status == 0, ended.text


@pytest.mark.parametrize('flag', ['--seed=1', '--optimizer.learning_rate=0.5', '--steps=8'])
def test_two_processes_with_other_flags_are_refused(program, flag):
  both = _pair(program, 'other', flag)
  assert [ended.status for ended in both] == [2, 2]
  assert flag.split('=')[0].strip('-').rpartition('.')[2] in ''.join(e.text for e in both)


def test_a_port_that_is_taken_is_named_in_one_line(program):
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))
    taken.listen(1)
    port = taken.getsockname()[1]
    ended = program(
      *RUN,
      f'--devices.coordinator_address=127.0.0.1:{port}',
      '--devices.num_processes=2',
      '--devices.process_id=0',
      '--run_dir=r',
    )
  assert ended.status == 2
  assert str(port) in ended.text
