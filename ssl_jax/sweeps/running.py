"""Runs the runs of a sweep, each in a process of its own, and passes signals on to them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pathlib
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from ssl_jax.sweeps.planning import Run, has_finished
from ssl_jax.training.atomic import with_path
from ssl_jax.training.preemption import SIGNALS, mute_closed_output

_POLL_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How one run ended.

  Attributes:
    run: the run.
    status: 'done', 'skipped' (it had finished before), 'failed', or 'stopped' by a signal.
    seconds: it took this time.
    note: why it failed.
  """

  run: Run
  status: str
  seconds: float = 0.0
  note: str = ''


@dataclasses.dataclass
class _Child:
  run: Run
  process: subprocess.Popen
  log: IO[bytes]
  output_from: int
  since: float


def run_all(
  runs: Sequence[Run], command: Sequence[str], jobs: int, on_outcome: Callable[[Outcome], None]
) -> tuple[list[Outcome], int]:
  """Runs all that have not finished, `jobs` at a time; one that fails does not stop the others.

  SIGINT, SIGTERM, SIGHUP and SIGUSR1 are passed on to the runs under way, which save; no other is
  started, and the function returns when they have ended. A second signal is passed on as well.

  Args:
    runs: in this order.
    command: the program that is given the flags of a run.
    jobs: runs at once.
    on_outcome: called once a run, when it has ended or was found finished.

  Returns:
    What became of the runs that were begun or skipped, and the first signal received, or 0.

  Raises:
    OSError: a log cannot be written or the program cannot be started; runs under way are stopped
      first.
  """
  waiting = collections.deque(runs)
  active: list[_Child] = []
  outcomes: list[Outcome] = []

  def record(outcome: Outcome) -> None:
    outcomes.append(outcome)
    on_outcome(outcome)

  with _received_signals() as received:
    passed_on = 0
    try:
      while active or (waiting and not received):
        while waiting and len(active) < jobs and not received:
          run = waiting.popleft()
          if has_finished(run):
            record(Outcome(run, 'skipped'))
          else:
            active.append(_start(run, command))
        # The handler only notes signals: a child that was being started just then gets it too.
        for signum in received[passed_on:]:
          for child in active:
            child.process.send_signal(signum)
          passed_on += 1
        if received:
          mute_closed_output()
        for child in [child for child in active if child.process.poll() is not None]:
          active.remove(child)
          record(_ended(child, bool(received)))
        if active:
          time.sleep(_POLL_SECONDS)
    finally:
      for child in active:
        child.process.terminate()
      for child in active:
        child.process.wait()
        child.log.close()
  return outcomes, received[0] if received else 0


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
  """The numbers of the signals that arrive within the block, instead of what they do otherwise."""
  received: list[int] = []
  previous: dict[int, Any] = {}
  for number in SIGNALS:
    # What nohup has silenced stays silent.
    if signal.getsignal(number) is not signal.SIG_IGN:
      previous[number] = signal.signal(number, lambda signum, _: received.append(signum))
  try:
    yield received
  finally:
    for noted, handler in previous.items():
      # None is a handler installed outside Python, which Python cannot put back.
      signal.signal(noted, signal.SIG_DFL if handler is None else handler)


def _start(run: Run, command: Sequence[str]) -> _Child:
  words = [*command, *run.flags]
  log = run.log.open('ab', buffering=0)
  try:
    # Appended: what an interrupted start had to say stays.
    try:
      log.write(f'$ {shlex.join(words)}\n'.encode())
    except OSError as error:
      raise with_path(error, run.log) from error
    process = subprocess.Popen(
      words,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      # A terminal sends Ctrl-C to its whole process group. The run would get it twice, and a
      # second one means not to wait for the checkpoint.
      process_group=0,
    )
  except BaseException:
    log.close()
    raise
  return _Child(run, process, log, log.tell(), time.monotonic())


def _ended(child: _Child, stopping: bool) -> Outcome:
  child.log.close()
  run, status = child.run, child.process.returncode
  seconds = time.monotonic() - child.since
  if status == 0 and has_finished(run):
    return Outcome(run, 'done', seconds)
  if status and stopping:
    return Outcome(run, 'stopped', seconds)
  if status == 0:
    return Outcome(run, 'failed', seconds, f'no result in {run.folder}; log: {run.log}')
  how = f'exit status {status}' if status > 0 else f'ended by {_signal_name(-status)}'
  last = _last_line(run.log, child.output_from)
  return Outcome(run, 'failed', seconds, f'{how}: {last or "no output"}; log: {run.log}')


def _signal_name(number: int) -> str:
  try:
    return signal.Signals(number).name
  except ValueError:
    return f'signal {number}'


def _last_line(log: pathlib.Path, start: int) -> str:
  with log.open('rb') as file:
    file.seek(start)
    lines = file.read().decode(errors='replace').split('\n')
  return next((line.strip() for line in reversed(lines) if line.strip()), '')
