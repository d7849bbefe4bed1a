"""Turns signals that ask a run to end into a flag that the training loop reads when it syncs."""

import contextlib
import os
import select
import signal
import threading
from types import FrameType
from typing import Any

from ssl_jax.training import multihost

# The second of these does not wait.
_REQUESTS = (signal.SIGTERM, signal.SIGINT)
# A terminal that closes, perhaps twice, and the notice of a scheduler that the time is nearly over.
_WARNINGS = (signal.SIGHUP, signal.SIGUSR1)
SIGNALS = (*_REQUESTS, *_WARNINGS)


class Preemption:
  """Context manager that turns SIGTERM, SIGINT, SIGHUP and SIGUSR1 into a flag.

  The first SIGTERM or SIGINT sets the flag and restores the handlers of these two that were
  installed before, so that a second one ends the process at once. SIGHUP and SIGUSR1 set the flag
  however often they come; where they are ignored, as after `nohup`, they stay so. Python allows
  handlers on the main thread only; on any other thread nothing is installed and `requested` stays
  False.

  Args:
    notice: a line for standard error when the first signal arrives; '' writes none.

  Attributes:
    signum: the first signal received, or None; the exit status of a process it ends is
      128 + signum.
  """

  def __init__(self, notice: str = '') -> None:
    self._notice = notice
    self.signum: int | None = None
    self._previous: dict[signal.Signals, Any] = {}

  @property
  def requested(self) -> bool:
    """Whether this process received a signal."""
    return self.signum is not None

  def agree(self) -> bool:
    """Whether any process received a signal: the same answer on all of them.

    With several processes this is a collective, to be called at the same step by each one.
    """
    if self.requested:
      mute_closed_output()
    return multihost.any_process(self.requested)

  def __enter__(self) -> 'Preemption':
    if threading.current_thread() is threading.main_thread():
      for number in SIGNALS:
        if number in _REQUESTS or signal.getsignal(number) is not signal.SIG_IGN:
          self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *exception: object) -> None:
    self._restore(SIGNALS)

  def _handle(self, signum: int, frame: FrameType | None) -> None:
    del frame
    if signum in _REQUESTS:
      self._restore(_REQUESTS)
    if self.signum is None:
      self.signum = signum
      mute_closed_output()
      if self._notice:
        # Not print: the signal may have interrupted one.
        with contextlib.suppress(OSError):
          os.write(2, f'{self._notice}\n'.encode())

  def _restore(self, numbers: tuple[signal.Signals, ...]) -> None:
    for number in numbers:
      if number in self._previous:
        handler = self._previous.pop(number)
        # None is a handler installed outside Python, which Python cannot put back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def mute_closed_output() -> None:
  """Drops what is yet to be printed where nobody can read it: in a closed terminal, a dead pipe.

  Printing there raises, and a run that was asked to end would not save.
  """
  for descriptor in (1, 2):
    with contextlib.suppress(OSError, ValueError):
      waiting = select.poll()
      waiting.register(descriptor, 0)
      found = waiting.poll(0)
      if found and found[0][1] & (select.POLLHUP | select.POLLERR):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
