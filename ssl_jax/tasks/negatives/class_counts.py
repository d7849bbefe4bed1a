"""Parses the flag `--class_counts`: the images of each class, given inline or in a file."""

from __future__ import annotations

import pathlib
import re

import numpy as np

from ssl_jax.arguments import shown
from ssl_jax.config.flag_files import UsageError, is_file, read_lines

_MOST_CLASSES = 10_000_000
_MOST_IMAGES = 2**53  # float64 counts them exactly
_MOST_BYTES = 2**28
_COUNT = re.compile(r'[0-9]{1,18}(\s*[xX]\s*[0-9]{1,18})?')
_ALLOWED = (
  'CLASSESxIMAGES such as 1000x1300, images a class such as 500,300,200 '
  '(both may be joined by commas), or a file with one number a line'
)


def read(text: str) -> np.ndarray:
  """Images of each class: `int64 [class]`, all above 0.

  Raises:
    UsageError: the text is none of what is allowed, or a class has no image.
    OSError: the file cannot be read.
  """
  parts = [part.strip() for part in text.split(',') if part.strip()]
  if parts and all(_COUNT.fullmatch(part) for part in parts):
    return _expand(text, parts)
  path = pathlib.Path(text)
  if not is_file(path):
    raise UsageError(f'--class_counts: found {shown(text)!r}, must be {_ALLOWED}')
  lines = read_lines(path, '--class_counts', _MOST_BYTES)
  parts = []
  for number, line in enumerate(lines, start=1):
    word = line.partition('#')[0].strip().rstrip(',')
    if word and not _COUNT.fullmatch(word):
      raise UsageError(
        f'--class_counts: {path}:{number}: found {shown(word)!r}, must be a whole number of images'
      )
    parts += [word] if word else []
  if not parts:
    raise UsageError(f'--class_counts: {path} holds no number, must be one a line')
  return _expand(str(path), parts)


def _expand(text: str, parts: list[str]) -> np.ndarray:
  counts: list[np.ndarray] = []
  classes = total = 0
  for part in parts:
    first, _, second = part.lower().replace(' ', '').partition('x')
    repeats, images = (int(first), int(second)) if second else (1, int(first))
    classes += repeats
    if not repeats or not images:
      raise UsageError(f'--class_counts: found {part!r} in {shown(text)}, must be above 0')
    total += repeats * images
    if classes > _MOST_CLASSES or images > 2**40 or total > _MOST_IMAGES:
      raise UsageError(
        f'--class_counts: found {part!r} in {shown(text)}, must be at most {_MOST_CLASSES:,} '
        'classes of at most 2**40 images, 2**53 in all'
      )
    counts.append(np.full(repeats, images, np.int64))
  return np.concatenate(counts)
