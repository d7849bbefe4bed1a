"""Writes the metrics of a run as JSON lines and TensorBoard events; reads the JSON lines."""

import contextlib
import errno
import json
import math
import os
import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any

from ssl_jax.arguments import ArgumentError

FILE_NAME = 'metrics.jsonl'
_BLOCK_BYTES = 1 << 16


class MetricWriter:
  """Appends rows to `run_dir/metrics.jsonl` and to TensorBoard events beside it.

  A row is `{"step": 120, "time": seconds since the epoch, name: number, ...}`; a number that is not
  finite becomes `null`, since JSON has no other word for it. Every row reaches the operating system
  before `write` returns, so that a killed process loses none. Opening a file whose last line was
  torn by a killed process cuts that line off.

  TensorBoard events are written where tensorboardX is installed, and silently not otherwise.

  Args:
    run_dir: the folder of the run, created if need be.
    tensorboard: False writes `metrics.jsonl` alone.

  Raises:
    OSError: the folder or the file cannot be written; the message names it. This holds for every
      method. A row that does not fit on a full disk leaves the rows before it intact.
  """

  def __init__(self, run_dir: str | os.PathLike[str], *, tensorboard: bool = True):
    self.run_dir = pathlib.Path(run_dir)
    self.path = self.run_dir / FILE_NAME
    self._events: EventFile | None = None
    self._tensorboard = tensorboard
    self._purge_step: int | None = None
    try:
      self.run_dir.mkdir(parents=True, exist_ok=True)
      self._file = self._open()
    except OSError as error:
      raise _named(error, self.path) from error

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Appends one row.

    Args:
      step: the step that the metrics belong to.
      metrics: numbers, or arrays of one element, by name.

    Raises:
      ValueError: a value is not one number, or a name is `step` or `time`.
    """
    step = int(step)
    values = {name: _number(name, value) for name, value in metrics.items()}
    row: dict[str, Any] = {'step': step, 'time': round(time.time(), 3)}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    self._append(json.dumps(row | finite, allow_nan=False).encode() + b'\n')
    self._write_events(step, values)

  def truncate_after(self, step: int) -> None:
    """Drops the rows of steps after `step`, those a resumed run is about to compute again.

    The file is replaced in one piece: a process killed here leaves the old rows or the new.
    TensorBoard hides the events after `step` once the next ones are written.
    """
    draft = self.path.with_name(f'.{FILE_NAME}.{os.getpid()}.partial')
    try:
      with self.path.open('rb') as old, draft.open('wb') as new:
        new.writelines(line for line in old if _step_of(line) <= step)
        new.flush()
        os.fsync(new.fileno())
      draft.replace(self.path)
      self._file.close()
      self._file = self._open()
    except OSError as error:
      with contextlib.suppress(OSError):
        draft.unlink(missing_ok=True)
      raise _named(error, self.path) from error
    self._close_events()
    self._purge_step = step + 1

  def close(self) -> None:
    """Closes the files; closing twice is no error."""
    self._file.close()
    self._close_events()

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()

  def _open(self) -> Any:
    if self.path.exists() and not self.path.is_file():
      raise OSError(errno.EINVAL, 'Not a regular file')
    # Unbuffered: a row that failed to reach the disk must not be tried again behind our back.
    file = self.path.open('ab', buffering=0)
    with self.path.open('rb') as written:
      end = written.seek(0, os.SEEK_END)
      whole = end  # what ends in a whole line
      while whole:
        start = max(whole - _BLOCK_BYTES, 0)
        written.seek(start)
        newline = written.read(whole - start).rfind(b'\n')
        whole = start + newline + 1 if newline >= 0 else start
        if newline >= 0:
          break
    if whole < end:
      file.truncate(whole)
    return file

  def _append(self, line: bytes) -> None:
    found = os.fstat(self._file.fileno())
    try:
      if not found.st_nlink:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
      rest = line
      while rest:
        rest = rest[self._file.write(rest) :]
    except OSError as error:
      with contextlib.suppress(OSError):
        self._file.truncate(found.st_size)
      raise _named(error, self.path) from error

  def _write_events(self, step: int, values: Mapping[str, float]) -> None:
    if not self._tensorboard:
      return
    try:
      if self._events is None:
        self._events = EventFile(self.run_dir, self._purge_step)
      self._events.write(step, values)
    except ImportError:
      self._tensorboard = False
    except OSError as error:
      raise _named(error, self._events.path if self._events else self.run_dir) from error

  def _close_events(self) -> None:
    if self._events is not None:
      self._events.close()
      self._events = None


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, float]]:
  """Reads the rows of a `metrics.jsonl`, or of the run folder that holds one.

  `null` becomes NaN. A torn or damaged line costs that row only. Rows come in the order written.
  Metrics of version 0.1 have today's names.

  Raises:
    OSError: the file cannot be read.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / FILE_NAME
  if path.exists() and not path.is_file():
    raise OSError(errno.EINVAL, 'Not a regular file', str(path))
  with path.open('rb') as file:
    rows = [row for line in file if (row := _parse(line)) is not None]
  return [
    {_current_name(name): math.nan if value is None else value for name, value in row.items()}
    for row in rows
  ]


def _parse(line: bytes) -> dict[str, Any] | None:
  try:
    row = json.loads(line)
    if (
      not isinstance(row, dict) or type(row.get('step')) is not int or not 0 <= row['step'] < 2**63
    ):
      return None
    for value in row.values():
      if value is not None:
        if not isinstance(value, (int, float)):
          return None
        float(value)
  except (ValueError, OverflowError, RecursionError):
    return None
  return row


def _step_of(line: bytes) -> float:
  row = _parse(line)
  return math.inf if row is None else row['step']


def _number(name: str, value: Any) -> float:
  if name in ('step', 'time'):
    raise ArgumentError('metrics', f'the name {name!r}, which every row has', 'another name')
  try:
    return float(value)
  except (TypeError, ValueError) as error:
    shape = getattr(value, 'shape', type(value).__name__)
    raise ArgumentError(f'metrics[{name!r}]', shape, 'one number') from error


def _named(error: OSError, path: pathlib.Path) -> OSError:
  """The error with the file in its message."""
  return type(error)(error.errno, error.strerror or str(error), str(path))


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
    """Writes a scalar for each name and flushes the file."""
    now = time.time()
    for name, value in values.items():
      summary = self._make_scalar(name, value)
      event = self._make_event(wall_time=now, step=step, summary=summary)
      self._records.write(event.SerializeToString())
    self._records.flush()

  def close(self) -> None:
    """Closes the file; events that a full disk refused are lost."""
    with contextlib.suppress(OSError):
      self._records.close()


# Metrics of version 0.1 that have another name today, without those of the chain of bounds.
_RENAMED = {
  'feature_std': 'embedding_std',
  'hinge_open': 'active_fraction',
  'host_loss': 'base_loss',
  'meter_alignment': 'hypersphere/alignment',
  'meter_augmentation_variance': 'prototype_bias/augmentation_variance',
  'meter_bias_share': 'prototype_bias/share',
  'meter_bias_squared': 'prototype_bias/squared',
  'meter_bias_unbiased': 'prototype_bias/squared_unbiased',
  'meter_crowding_ratio': 'crowding/crowding_ratio',
  'meter_effective_rank': 'spectrum/effective_rank',
  'meter_nearest_neighbor_error': 'crowding/nearest_neighbor_error',
  'meter_rank_me': 'spectrum/rank_me',
  'meter_scatter_ratio': 'crowding/scatter_ratio',
  'meter_silhouette': 'crowding/silhouette_of_classes',
  'meter_uniformity': 'hypersphere/uniformity_views',
  'uniformity': 'feature_uniformity',
}
_CHAIN = 'meter_chain_'


def _current_name(name: str) -> str:
  if name.startswith(_CHAIN):
    return f'bound_chain/{name.removeprefix(_CHAIN)}'
  return _RENAMED.get(name, name)
