"""TensorBoard event files, written at once and by the calling thread.

tensorboardX's own SummaryWriter hands events to a thread over a bounded queue: when the disk is
full that thread dies and the training loop then waits for ever. Its record format is all we need.
"""

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Mapping


class EventFile:
  """One new event file in `folder`.

  Args:
    folder: where the file is made.
    purge_step: TensorBoard hides what earlier files of the folder hold from this step on.

  Raises:
    ImportError: tensorboardX is not installed.
    OSError: the file cannot be written; this holds for `write` as well.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int | None = None):
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar

    self._make_event, self._make_scalar = Event, scalar
    now = time.time()
    # The nanoseconds keep a process that restarts within a second off its predecessor's file.
    name = f'{now:.0f}.{socket.gethostname()}.{os.getpid()}.{time.time_ns() % 10**9}'
    self.path = folder / f'events.out.tfevents.{name}'
    self._records = RecordWriter(str(self.path))
    header = [Event(wall_time=now, file_version='brain.Event:2')]
    if purge_step is not None:
      start = SessionLog(status=SessionLog.START)
      header.append(Event(wall_time=now, step=purge_step, session_log=start))
    for event in header:
      self._records.write(event.SerializeToString())
    self._records.flush()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one scalar a name, and brings them to the disk."""
    now = time.time()
    for name, value in values.items():
      summary = self._make_scalar(name, value)
      event = self._make_event(wall_time=now, step=step, summary=summary)
      self._records.write(event.SerializeToString())
    self._records.flush()

  def close(self) -> None:
    """Closes the file; what a full disk refused before is given up."""
    with contextlib.suppress(OSError):
      self._records.close()
