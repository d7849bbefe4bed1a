"""Turns the first SIGTERM or SIGINT into a flag that the training loop reads at its sync points."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from ssl_jax.training import multihost

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
  """Context manager that turns the first SIGTERM or SIGINT into a flag.

  The handler sets the flag and restores the handlers that were installed before, so that a second
  signal ends the process at once. Python allows handlers on the
  main thread only; on any other thread nothing is installed and `requested` stays False.

  Args:
    notice: a line for standard error when the first signal arrives; '' writes none.

  Attributes:
    signum: the signal received, or None; the exit status of a process it ends is 128 + signum.
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
    return multihost.any_process(self.requested)

  def __enter__(self) -> 'Preemption':
    if threading.current_thread() is threading.main_thread():
      for number in _SIGNALS:
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *exception: object) -> None:
    self._restore()

  def _handle(self, signum: int, frame: FrameType | None) -> None:
    del frame
    self.signum = signum
    self._restore()
    if self._notice:
      # Not print: the signal may have interrupted one.
      os.write(2, f'{self._notice}\n'.encode())

  def _restore(self) -> None:
    while self._previous:
      number, handler = self._previous.popitem()
      # None is a handler installed outside Python, which Python cannot put back.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
