"""Features of augmented views by encoder and head, as the study of negative samples needs them."""

from __future__ import annotations

import itertools
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ssl_jax import evaluation, views
from ssl_jax.data import Source
from ssl_jax.tasks.stored_run import StoredRun
from ssl_jax.training import mesh as mesh_lib

_BATCH = 256
# The streams of keys: views of the same image in two of them are independent.
_TRAIN, _TEST_MEANS, _TEST_VIEWS = range(3)


class ViewFeatures(NamedTuple):
  """Unit features of views after the projection head, and their means, which are not normalised.

  Attributes:
    train_views: float32 [train, 2, dim], one pass over the training images.
    train_means: float32 [train, dim].
    test_means: float32 [test, dim].
    test_views: float32 [epoch, test, 2, dim].
    test_plain: float32 [test, dim], of the un-augmented images.
  """

  train_views: np.ndarray
  train_means: np.ndarray
  test_means: np.ndarray
  test_views: np.ndarray
  test_plain: np.ndarray

  def class_means(self, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean of the training images of each class: `float64 [class, dim]`."""
    return _means(self.train_means, labels, classes)

  def mean_accuracy(self, train: np.ndarray, test: np.ndarray, classes: int) -> float:
    """Test accuracy of the class means of one augmented training pass, by inner product."""
    weights = _means(self.train_views[:, 0], train, classes)
    return float(np.mean(np.argmax(self.test_plain @ weights.T, axis=1) == test))


def collect(
  run: StoredRun, passes: int, epochs: int, file: pathlib.Path, say: Callable[[str], None]
) -> ViewFeatures:
  """The features of a run's newest state, from `file` where they lie there already.

  Args:
    run: whose encoder and head are frozen, with running statistics.
    passes: of two views each behind the means.
    epochs: over the test images.
    file: an `.npz` that keeps them; features of another state, or another number of views, are
      replaced.
    say: takes a line about each stage.

  Raises:
    OSError: the file cannot be written.
  """
  made_of = np.array([run.step, passes, epochs, run.parts.config.seed], np.int64)
  if (kept := _load(file, made_of)) is not None:
    say(f'features  from {file}')
    return kept
  train, test = run.parts.dataset.train, run.parts.dataset.test
  encoder = _ViewEncoder(run)
  say(f'features  {passes} x 2 views of {len(train):,} training images')
  first = encoder.views(train, _TRAIN, 0)
  train_means = first.mean(axis=1, dtype=np.float32) / passes
  for number in range(1, passes):
    train_means += encoder.views(train, _TRAIN, number).mean(axis=1) / passes
  say(f'features  {passes} x 2 and {epochs} x 2 views of {len(test):,} test images')
  test_means = np.zeros((len(test), first.shape[-1]), np.float32)
  for number in range(passes):
    test_means += encoder.views(test, _TEST_MEANS, number).mean(axis=1) / passes
  found = ViewFeatures(
    first,
    train_means,
    test_means,
    np.stack([encoder.views(test, _TEST_VIEWS, epoch) for epoch in range(epochs)]),
    encoder.plain(test),
  )
  _store(file, made_of, found)
  return found


class _ViewEncoder:
  """Encoder and head of a run, compiled once, on all devices."""

  def __init__(self, run: StoredRun) -> None:
    parts = run.parts
    self._parts, self._state = parts, run.state
    # What lies behind the head, a predictor or prototypes, is part of the loss.
    heads = [name for name in ('projector',) if name in parts.method.networks()]
    self._networks = ('encoder', *heads)
    self._batch_size = -(-_BATCH // parts.mesh.size) * parts.mesh.size
    # Split on the devices and joined on the host, so that the devices need not talk.
    rows = mesh_lib.split(parts.mesh)
    self._of_views = jax.jit(self._views_of_batch, out_shardings=rows)
    self._of_plain = jax.jit(self._plain_of_batch, out_shardings=rows)

  def views(self, source: Source, stream: int, number: int) -> np.ndarray:
    """Two augmented views of every image: float32 [n, 2, dim]."""
    batches = itertools.count()
    apply = lambda images: self._of_views(
      self._state.variables,
      np.array([stream, number, next(batches)], np.uint32),
      self._put(images),
    )
    flat = evaluation.extract(apply, source, batch_size=self._batch_size)
    return flat.reshape(len(flat), 2, -1)

  def plain(self, source: Source) -> np.ndarray:
    """The un-augmented images: float32 [n, dim]."""
    apply = lambda images: self._of_plain(self._state.variables, self._put(images))
    return evaluation.extract(apply, source, batch_size=self._batch_size)

  def _put(self, images: np.ndarray) -> jax.Array:
    return mesh_lib.put(images, mesh_lib.split(self._parts.mesh))

  def _views_of_batch(self, variables: Any, position: jax.Array, images: jax.Array) -> jax.Array:
    key = jax.random.key(self._parts.config.seed)
    for number in position:
      key = jax.random.fold_in(key, number)
    # Not what the method is fed with: two whole views whatever it takes besides.
    augmented = views.apply(self._parts.recipe, key, images)[:, :2]
    flat = augmented.reshape(-1, *augmented.shape[2:])
    return self._embed(variables, flat).reshape(len(images), -1)

  def _plain_of_batch(self, variables: Any, images: jax.Array) -> jax.Array:
    return self._embed(variables, views.plain(self._parts.recipe, images))

  def _embed(self, variables: Any, images: jax.Array) -> jax.Array:
    features, _ = self._parts.method.run(
      self._networks, variables['params'], variables['stats'], images, train=False
    )
    return evaluation.unit(features)


def _means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
  sums = np.zeros((classes, features.shape[-1]))
  np.add.at(sums, labels, features)
  return sums / np.bincount(labels, minlength=classes)[:, None]


def _load(file: pathlib.Path, made_of: np.ndarray) -> ViewFeatures | None:
  try:
    with np.load(file) as arrays:
      if np.array_equal(arrays['made_of'], made_of):
        return ViewFeatures(*(arrays[name] for name in ViewFeatures._fields))
  except (OSError, KeyError, ValueError, zipfile.BadZipFile):
    return None
  return None


def _store(file: pathlib.Path, made_of: np.ndarray, features: ViewFeatures) -> None:
  partial = file.with_name(f'.{file.stem}.{os.getpid()}.npz')
  try:
    np.savez(partial, made_of=made_of, **features._asdict())
    partial.replace(file)
  finally:
    partial.unlink(missing_ok=True)
