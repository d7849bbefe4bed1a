"""Asynchronous saving and restoring of arrays by path, with Orbax."""

import contextlib
import functools
import logging
import math
import operator
import pathlib
import shutil
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ssl_jax.training.atomic import delete_partial

_TEMPORARY = '[0-9]*.orbax-checkpoint-tmp*'
_DELETED = '.deleted'
_quiet = threading.Lock()


class ArrayStorage:
  """One asynchronous writer; a save that does not finish leaves only a temporary folder behind.

  With several processes `save`, `wait` and `restore` are collectives. Only one thread at a time
  may use an instance.
  """

  def __init__(self) -> None:
    self._writer: Any = None

  def save(self, path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Copies arrays (by `/`-separated path) to the host and returns; they may then be donated."""
    import orbax.checkpoint as ocp

    self._orbax().save(path, args=ocp.args.StandardSave(nest(arrays)))

  def wait(self) -> None:
    """Blocks until the save under way has its final name; raises what went wrong with it."""
    if self._writer is not None:
      self._writer.wait_until_finished()

  def restore(self, path: pathlib.Path, targets: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the arrays at `path` as NumPy arrays or onto the shardings of `targets`, by path.

    Those without elements are left out.
    """
    import orbax.checkpoint as ocp

    restored = self._orbax().restore(path, args=ocp.args.StandardRestore(nest(targets)))
    return {name: _leaf(restored, name) for name, target in targets.items() if _is_stored(target)}

  def _orbax(self) -> Any:
    if self._writer is None:
      import orbax.checkpoint as ocp

      silence_orbax()
      self._writer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
    return self._writer


def nest(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Arrays by `/`-separated path as a nested dict, without those that have no elements."""
  tree: dict[str, Any] = {}
  for name, value in arrays.items():
    if _is_stored(value):
      *folders, last = name.split('/')
      functools.reduce(lambda node, folder: node.setdefault(folder, {}), folders, tree)[last] = (
        value
      )
  return tree


def _leaf(tree: dict[str, Any], name: str) -> Any:
  return functools.reduce(operator.getitem, name.split('/'), tree)


def _is_stored(value: Any) -> bool:
  # An array without elements is nothing but its shape, which the manifest keeps; the storage format
  # has no place for it.
  return math.prod(value.shape) > 0


def delete(path: pathlib.Path) -> None:
  """Deletes a checkpoint folder; a kill in between leaves nothing that looks like a checkpoint."""
  doomed = path.with_name(path.name + _DELETED)
  _remove(doomed)
  path.rename(doomed)
  _remove(doomed)


def _remove(path: pathlib.Path, *, ignore_errors: bool = False) -> None:
  """Deletes a folder with what it holds; of a link the link alone."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path, ignore_errors=ignore_errors)
  else:
    path.unlink(missing_ok=True)


def clean(folder: pathlib.Path) -> None:
  """Deletes what killed processes left: unfinished saves and writes, half-finished deletions."""
  with contextlib.suppress(OSError):
    for pattern in (_TEMPORARY, f'[0-9]*{_DELETED}'):
      for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
          _remove(path, ignore_errors=True)
    for path in folder.glob('[0-9]*'):
      delete_partial(path)


def silence_orbax() -> None:
  """Drops Orbax's log records: dozens of lines a save, and a traceback a thread when one fails.

  Also the complaints about the other array writes of a failed save: that nobody asked for their
  errors, or that they ended after its event loop was closed.
  Nothing is lost: every failure reaches the caller as an exception.
  """
  logger = logging.getLogger('absl')
  with _quiet:
    if _not_from_orbax in logger.filters:
      return
    logger.addFilter(_not_from_orbax)
    logging.getLogger('asyncio').addFilter(_not_from_tensorstore)
    previous = sys.unraisablehook

    def hook(unraisable: Any) -> None:
      late = isinstance(unraisable.exc_value, RuntimeError) and unraisable.object is None
      if not (late and str(unraisable.exc_value) == 'Event loop is closed'):
        previous(unraisable)

    sys.unraisablehook = hook


def _not_from_orbax(record: logging.LogRecord) -> bool:
  return 'orbax' not in record.pathname or record.levelno >= logging.CRITICAL


def _not_from_tensorstore(record: logging.LogRecord) -> bool:
  text = record.getMessage()
  return 'never retrieved' not in text or not ('ocdbt' in text or 'orbax' in text)
