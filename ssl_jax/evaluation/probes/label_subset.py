"""Row indices of labeled subsets: a stratified fraction, a published list, or a held-out part."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.arguments import ArgumentError, check_number, check_whole
from ssl_jax.evaluation.arguments import check_labels


def stratified_subset(
  labels: Any, fraction: float, *, seed: int = 0, minimum_per_class: int = 1
) -> np.ndarray:
  """The same fraction of every class, for learning from few labels.

  A class of n images keeps round(fraction * n) of them, at least `minimum_per_class` where it has
  so many. The images of a smaller fraction are among those of a larger one.

  Source: the 1 % and 10 % protocol of ImageNet (Chen et al., ICML 2020), whose own lists
  `read_subset` reads; drawing by class is ours.

  >>> stratified_subset([0, 0, 0, 0, 1, 1], 0.5).size
  3

  Args:
    labels: `int [n]`, 0 or greater.
    fraction: above 0, at most 1.
    seed: of the draw, 0 or greater.
    minimum_per_class: at least 1.

  Returns:
    `int64 [m]`, ascending.

  Raises:
    ValueError: labels are not integers from 0, or an option is out of range.
  """
  labels = _check(labels)
  check_number('fraction', fraction, above=0, at_most=1)
  least = check_whole('minimum_per_class', minimum_per_class)
  kept = [
    members[: max(min(least, len(members)), _rounded(fraction * len(members)))]
    for members in _shuffled_classes(labels, seed)
  ]
  return np.sort(np.concatenate(kept))


def hold_out(labels: Any, fraction: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Divides labeled images into a part to train on and a stratified part to choose settings on.

  Of a class of n >= 2 images, round(fraction * n) are held out, but at least one, and at least one
  is left; an only image stays in training. So nothing is held out where each class has one image.

  Args:
    labels: `int [n]`, 0 or greater.
    fraction: above 0, below 1.
    seed: of the draw, 0 or greater.

  Returns:
    `int64` indices to train on, and `int64` indices held out, both ascending.

  Raises:
    ValueError: labels are not integers from 0, or an option is out of range.
  """
  labels = _check(labels)
  check_number('held_out_fraction', fraction, above=0, below=1)
  held = np.zeros(len(labels), bool)
  for members in _shuffled_classes(labels, seed):
    size = len(members)
    if size > 1:
      held[members[: min(max(_rounded(fraction * size), 1), size - 1)]] = True
  return np.flatnonzero(~held), np.flatnonzero(held)


def read_subset(path: str | pathlib.Path, names: Sequence[str]) -> np.ndarray:
  """The images of a published list, such as SimCLR's `1percent.txt` of ImageNet.

  Args:
    path: a text file with one image name a line. Empty lines do not count.
    names: of the images, by index: file names, or paths that end in one. A line of the list may
      itself be a path; where its folders do not match, the file name alone decides.

  Returns:
    `int64 [m]`, ascending.

  Raises:
    ValueError: the list is empty or repeats a name, or an image is missing or its name ambiguous.
    OSError: the file cannot be read.
  """
  lines = pathlib.Path(path).read_text(encoding='utf-8').splitlines()
  wanted = [line.strip().replace('\\', '/') for line in lines if line.strip()]
  if not wanted:
    raise ArgumentError('path', f'no names in {path}', 'one image name a line')
  paths = [name.replace('\\', '/') for name in names]
  whole = {name: index for index, name in enumerate(paths)}
  by_file: dict[str, list[int]] = {}
  for index, name in enumerate(paths):
    by_file.setdefault(_file(name), []).append(index)
  found = [[whole[name]] if name in whole else by_file.get(_file(name), []) for name in wanted]
  _refuse(path, 'absent from the images', wanted, [not places for places in found])
  _refuse(path, 'of several images', wanted, [len(places) > 1 for places in found])
  rows = np.asarray([places[0] for places in found], np.int64)
  _, first = np.unique(rows, return_index=True)
  repeated = np.ones(len(rows), bool)
  repeated[first] = False
  _refuse(path, 'repeated', wanted, list(repeated))
  return np.sort(rows)


def _refuse(path: str | pathlib.Path, what: str, names: list[str], bad: Sequence[bool]) -> None:
  refused = [name for name, is_bad in zip(names, bad, strict=True) if is_bad]
  if refused:
    raise ArgumentError(
      'path',
      f'{len(refused)} of {len(names)} names in {path} {what} (first: {refused[0]})',
      'one image each',
    )


def _file(name: str) -> str:
  return name.rsplit('/', 1)[-1]


def _check(labels: Any) -> np.ndarray:
  array = np.asarray(labels)
  if array.ndim != 1 or not array.size:
    raise ArgumentError('labels', f'shape {array.shape}', '[n] with n of at least 1')
  return check_labels('labels', array, 'labels', len(array))


def _rounded(value: float) -> int:
  return int(np.floor(value + 0.5))


def _shuffled_classes(labels: np.ndarray, seed: int) -> list[np.ndarray]:
  # Raw bits, whose stream NumPy guarantees for all versions.
  bits = np.random.PCG64([seed, len(labels)]).random_raw(len(labels))
  order = np.argsort(bits, kind='stable')
  return [order[labels[order] == label] for label in np.unique(labels)]
