"""Checkpoints of a run: saved in the background, complete once their manifest is written."""

import dataclasses
import math
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax

from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.training import multihost
from ssl_jax.training.checkpoints import folder as checkpoint_folder
from ssl_jax.training.checkpoints import manifest as manifests
from ssl_jax.training.checkpoints import state_tree, storage
from ssl_jax.training.checkpoints.folder import CheckpointError

PyTree = Any

# Listings of a folder whose checkpoints another process deletes.
_ATTEMPTS = 20


class Checkpoints:
  """The checkpoints in one folder, `folder/STEP`: the last few and the best.

  A checkpoint can be restored once its manifest is on disk; only then are older ones deleted. With
  several processes all methods but `poll`, `steps`, `latest_step` and `best_step` are collectives;
  the folder is shared by all processes, and process 0 alone writes manifests and deletes.

  Args:
    folder: where to keep them; created if missing.
    keep_last: how many of the newest are kept, at least 1.
    keep_best: how many of those with the highest scores are kept besides, at least 0.
    log: called with one line about each checkpoint that cannot be used.
    read_only: neither creates nor changes the folder: for reading the run of another process.
    run: identifier of the run, written into manifests; a checkpoint of another run is not used. ''
      takes those of any run.

  Raises:
    ArgumentError: `keep_last` or `keep_best` is out of range.
    CheckpointError: the folder cannot be created or written to, or holds a file in the place of a
      checkpoint.
  """

  def __init__(
    self,
    folder: str | pathlib.Path,
    *,
    keep_last: int = 2,
    keep_best: int = 1,
    log: Callable[[str], Any] = print,
    read_only: bool = False,
    run: str = '',
  ):
    self.folder = pathlib.Path(folder).absolute()
    self.keep_last = check_whole('keep_last', keep_last)
    self.keep_best = check_whole('keep_best', keep_best, at_least=0)
    self.read_only = read_only
    self.run = run
    self._log = log
    self._storage = storage.ArrayStorage()
    self._thread: threading.Thread | None = None
    self._failure: CheckpointError | None = None
    self._damaged: set[int] = set()
    if not read_only:
      checkpoint_folder.prepare(self.folder)
      if jax.process_index() == 0:
        storage.clean(self.folder)

  def save(self, step: int, state: PyTree, score: float | None = None) -> None:
    """Starts to save `state` and returns once it is copied; its buffers may then be donated.

    A step that is already saved is not written again; its score is updated if one is given.

    Args:
      step: number of the step, at least 0.
      state: pytree of arrays, typed PRNG keys and Python numbers.
      score: by which the best checkpoint is chosen, higher being better; a score that is not
        finite is taken as None.

    Raises:
      ArgumentError: `step` is no int32 or negative, or the folder was opened read-only.
      ValueError: a leaf is no array.
      CheckpointError: this save, or the previous one, failed; older checkpoints are unharmed.
    """
    check_whole('step', step, at_least=0, at_most=checkpoint_folder.MOST_STEPS)
    if self.read_only:
      raise ArgumentError('read_only', True, f'False to save in {self.folder}')
    leaves = state_tree.describe(state)
    if score is not None and not math.isfinite(score):
      score = None
    self.finish()
    path = self.folder / str(step)
    saved = self._listed().get(step)
    if multihost.broadcast(saved is not None):
      if saved is not None and score is not None and jax.process_index() == 0:
        record = dataclasses.replace(saved, score=float(score))
        self._guarded(step, leaves, lambda: manifests.write(path, record))
        self._guarded(step, leaves, lambda: self._collect(step))
      self._raise_failure()
      return

    def start() -> None:
      # The storage library would make it anew, without the rest of the run that was deleted.
      self.folder.stat()
      if os.path.lexists(path) and jax.process_index() == 0:
        storage.delete(path)
      self._damaged.discard(step)
      self._storage.save(path, state_tree.pack(state))

    def complete() -> None:
      self._storage.wait()
      if jax.process_index() == 0:
        arrays = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        best_by = None if score is None else float(score)
        manifests.create(path, step, best_by, arrays, self.run)
        self._collect(step)

    if self._guarded(step, leaves, start):
      # Not a daemon: the end of the process must not cut it off between two files.
      self._thread = threading.Thread(
        target=self._guarded, args=(step, leaves, complete), name='checkpoint'
      )
      self._thread.start()
    if jax.process_count() == 1:
      self._raise_failure()

  def poll(self) -> bool:
    """Whether no save is under way, without waiting; raises what went wrong with a finished one.

    With several processes the error waits for the next `save` or `finish`, which all share.
    """
    if self._thread is not None and self._thread.is_alive():
      return False
    self._thread = None
    if jax.process_count() == 1:
      self._raise_failure()
    return True

  def finish(self) -> None:
    """Waits until the save under way is on disk with its manifest and old ones are deleted.

    A process that ends without it loses the save under way, and only that.

    Raises:
      CheckpointError: the save failed; older checkpoints are unharmed.
    """
    if self._thread is not None:
      self._thread.join()
      self._thread = None
    self._raise_failure()

  def restore(self, template: PyTree, step: int | None = None) -> tuple[PyTree, int] | None:
    """Restores the newest checkpoint whose every byte is as it was written, or the one of `step`.

    Args:
      template: pytree with the structure, shapes, dtypes and shardings wanted, of arrays or
        `jax.ShapeDtypeStruct`s; the number of devices may differ from that of the saving run.
      step: take this one and no other.

    Returns:
      (state, step), or None where there is no usable checkpoint. Leaves are of the kind of the
      template's: jax arrays on its shardings, NumPy arrays, typed keys, Python numbers.

    Raises:
      ArgumentError: there is no checkpoint of `step`.
      ValueError: the checkpoint holds other paths, shapes or dtypes than `template`.
      CheckpointError: the checkpoint of `step` is damaged, or the disk cannot be read.
    """

    def load(path: pathlib.Path, saved: Mapping[str, Any]) -> PyTree:
      targets = state_tree.targets(template)
      current = state_tree.current_paths(saved, wanted=targets)
      state_tree.check_same({current[name]: saved[name] for name in saved}, template, str(path))
      stored = self._storage.restore(path, {name: targets[current[name]] for name in saved})
      return state_tree.unpack(template, {current[name]: stored[name] for name in stored})

    return self._load(load, step)

  def read(self) -> tuple[dict[str, Any], int] | None:
    """Reads the newest usable checkpoint without a template of its state.

    Returns:
      (nested dict of NumPy arrays, step), or None where there is no usable checkpoint; arrays
      without elements are left out.

    Raises:
      CheckpointError: reading failed.
    """

    def load(path: pathlib.Path, saved: Mapping[str, Any]) -> dict[str, Any]:
      stored = self._storage.restore(path, state_tree.abstract_arrays(saved))
      current = state_tree.current_paths(stored)
      return storage.nest({current[name]: array for name, array in stored.items()})

    return self._load(load)

  def steps(self) -> list[int]:
    """Steps whose files have the names and sizes of their manifest, ascending; none is read."""
    return sorted(self._listed())

  def latest_step(self) -> int | None:
    """The newest of `steps`, or None."""
    return max(self._listed(), default=None)

  def best_step(self) -> int | None:
    """The step with the highest score (of equals the newest), or None where none has a score."""
    scores = {step: entry.score for step, entry in self._listed().items()}
    return next(iter(checkpoint_folder.by_score(scores)), None)

  def check_space(self, template: PyTree) -> None:
    """Refuses a disk that cannot hold all checkpoints the rule keeps and the one being written.

    The estimate takes the arrays uncompressed and credits what the folder already holds.

    Raises:
      CheckpointError: too little free space.
    """
    held = sum(record.bytes for entry in self._listed().values() for record in entry.files.values())
    each = _bytes(state_tree.describe(template))
    checkpoint_folder.check_space(self.folder, each, held, self.keep_last, self.keep_best)

  def refused(self) -> list[int]:
    """Steps whose checkpoint was saved whole and cannot be used, as far as one was looked for."""
    return sorted(self._damaged)

  def run_of_newest(self) -> str:
    """The run that saved the newest of `steps`; '' where none says."""
    return next((one.run for _, one in sorted(self._listed().items(), reverse=True)), '')

  def _load(
    self, load: Callable[[pathlib.Path, Mapping[str, Any]], PyTree], step: int | None = None
  ) -> tuple[PyTree, int] | None:
    """What `load` makes of the folder and the arrays of a checkpoint, and its step."""
    self.finish()
    reported: set[int] = set()
    for _ in range(_ATTEMPTS):
      chosen = self._agreed(
        lambda: self._newest_verified(reported) if step is None else self._verified(step)
      )
      if chosen < 0:
        return None
      path = self.folder / str(chosen)
      try:
        return load(path, manifests.read(path).arrays), chosen
      except ValueError as error:
        if isinstance(error, ArgumentError) or not _is_gone(path):
          raise
      except Exception as error:
        if not _is_gone(path):
          why = checkpoint_folder.reason(error)
          raise CheckpointError(f'{path}: cannot be restored: {why}') from error
      # The run that is being read deleted it meanwhile, as its rule says; it has newer ones.
      if step is not None or jax.process_count() > 1:
        break
    raise CheckpointError(f'{path}: was deleted while it was read')

  def _agreed(self, choose: Callable[[], int | None]) -> int:
    """The step that process 0 chooses, -1 for none, on all processes; they share its error."""
    chosen, failure = -1, None
    if jax.process_index() == 0:
      try:
        found = choose()
        chosen = -1 if found is None else found
      except (CheckpointError, ArgumentError) as error:
        chosen, failure = -2, error
    chosen = multihost.broadcast(chosen)
    if chosen == -2:
      raise failure or CheckpointError(f'{self.folder}: another process could not read it')
    return chosen

  def _newest_verified(self, reported: set[int]) -> int | None:
    """The newest step whose every byte is right; each that is not is reported once."""
    for _ in range(_ATTEMPTS):
      vanished = False
      for step in reversed(checkpoint_folder.steps_in(self.folder)):
        path = self.folder / str(step)
        try:
          manifests.require_run(manifests.verify(path), self.run)
          return step
        except manifests.CorruptCheckpointError as error:
          # Another process deletes it: there may be newer ones than were listed.
          vanished = _is_gone(path)
          if not vanished and step not in reported:
            reported.add(step)
            self._refuse(step, error)
            self._log(f'{path}: checkpoint not used: {error}')
        except OSError as error:
          vanished = _is_gone(path)
          if not vanished:
            raise checkpoint_folder.unreadable(path, error) from error
        if vanished:
          break
      if not vanished:
        return None
    raise CheckpointError(f'{self.folder}: checkpoints are deleted faster than they are read')

  def _verified(self, step: int) -> int:
    path = self.folder / str(step)
    if step not in checkpoint_folder.steps_in(self.folder):
      raise ArgumentError('step', step, f'one of {self.steps()}, the checkpoints in {self.folder}')
    try:
      manifests.require_run(manifests.verify(path), self.run)
    except manifests.CorruptCheckpointError as error:
      self._refuse(step, error)
      raise CheckpointError(f'{path}: checkpoint not used: {error}') from error
    except OSError as error:
      raise checkpoint_folder.unreadable(path, error) from error
    return step

  def _refuse(self, step: int, error: manifests.CorruptCheckpointError) -> None:
    if not error.unfinished:
      self._damaged.add(step)

  def _listed(self) -> dict[int, manifests.Manifest]:
    return self._examined()[0]

  def _examined(self) -> tuple[dict[int, manifests.Manifest], set[int]]:
    """The manifests by step, and the steps that can be deleted for they will never be restored."""
    listed, worthless = {}, set()
    for step in checkpoint_folder.steps_in(self.folder):
      try:
        found = manifests.require_run(manifests.read(self.folder / str(step)), self.run)
      except manifests.CorruptCheckpointError as error:
        if not error.foreign:
          worthless.add(step)
      except OSError:
        continue  # not read is not damaged
      else:
        if step in self._damaged:
          worthless.add(step)
        else:
          listed[step] = found
    return listed, worthless

  def _collect(self, saved: int) -> None:
    """Deletes what the rule does not keep, and unusable ones older than `saved`."""
    listed, worthless = self._examined()
    if saved not in listed:
      return
    scores = {step: entry.score for step, entry in listed.items()}
    keep = {saved} | checkpoint_folder.kept(scores, self.keep_last, self.keep_best)
    for step in {*listed, *(step for step in worthless if step < saved)} - keep:
      storage.delete(self.folder / str(step))

  def _guarded(
    self, step: int, leaves: dict[str, state_tree.Leaf], action: Callable[[], None]
  ) -> bool:
    """Runs a part of a save; on failure keeps the error and deletes what the save has written."""
    try:
      action()
      return True
    except Exception as error:
      path = self.folder / str(step)
      # Before the disk is relieved of what has been written.
      self._failure = checkpoint_folder.save_error(path, _bytes(leaves), error)
      self._failure.__cause__ = error
      if jax.process_index() == 0:
        storage.clean(self.folder)
        if not os.path.lexists(path / manifests.FILE_NAME):
          shutil.rmtree(path, ignore_errors=True)
      return False

  def _raise_failure(self) -> None:
    failure, self._failure = self._failure, None
    if multihost.any_process(failure is not None):
      raise failure or CheckpointError(f'{self.folder}: another process could not save')


def _is_gone(path: pathlib.Path) -> bool:
  """Whether the disk says that there is no such folder, rather than nothing."""
  try:
    path.lstat()
  except FileNotFoundError:
    return True
  except OSError:
    return False
  return False


def _bytes(leaves: dict[str, state_tree.Leaf]) -> int:
  return sum(leaf.bytes for leaf in leaves.values())
