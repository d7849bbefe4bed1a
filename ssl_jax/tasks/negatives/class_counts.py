"""Parses the flag `--class_counts`: the images of each class, given inline or in a file."""

from __future__ import annotations

import pathlib
import re

import numpy as np

from ssl_jax.config.flags import UsageError

_MOST_CLASSES = 10_000_000
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
  if parts and all(re.fullmatch(r'\d+(\s*[xX]\s*\d+)?', part) for part in parts):
    return _expand(text, parts)
  path = pathlib.Path(text).expanduser()
  if not path.is_file():
    raise UsageError(f'--class_counts: found {text!r}, must be {_ALLOWED}')
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
  except UnicodeDecodeError as error:
    raise UsageError(f'--class_counts: {path} is not text, must be one number a line') from error
  parts = []
  for number, line in enumerate(lines, start=1):
    word = line.partition('#')[0].strip().rstrip(',')
    if word and not re.fullmatch(r'\d+(\s*[xX]\s*\d+)?', word):
      raise UsageError(
        f'--class_counts: {path}:{number}: found {word!r}, must be a whole number of images'
      )
    parts += [word] if word else []
  if not parts:
    raise UsageError(f'--class_counts: {path} holds no number, must be one a line')
  return _expand(str(path), parts)


def _expand(text: str, parts: list[str]) -> np.ndarray:
  counts: list[np.ndarray] = []
  classes = 0
  for part in parts:
    first, _, second = part.lower().replace(' ', '').partition('x')
    repeats, images = (int(first), int(second)) if second else (1, int(first))
    classes += repeats
    if not repeats or not images:
      raise UsageError(f'--class_counts: found {part!r} in {text}, must be above 0')
    if classes > _MOST_CLASSES or images > 2**40:
      raise UsageError(
        f'--class_counts: found {part!r} in {text}, '
        f'must be at most {_MOST_CLASSES:,} classes of at most 2**40 images'
      )
    counts.append(np.full(repeats, images, np.int64))
  return np.concatenate(counts)
