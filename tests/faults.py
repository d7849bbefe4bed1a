"""Faults of a disk: makes Python's own calls fail for chosen paths, below every library."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator

ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES)
# Audit events with a path as their first argument; of a rename, the target counts as well.
_WRITES = ('os.mkdir', 'os.rename', 'os.remove', 'os.truncate', 'os.link')
_active: list[tuple[re.Pattern, int, list[str]]] = []


def _hook(event: str, arguments: tuple) -> None:
  if not _active or not (event == 'open' or event in _WRITES):
    return
  pattern, number, hit = _active[-1]
  if event == 'open':
    path, _, flags = arguments
    if not isinstance(path, str) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
      return
    paths = [path]
  else:
    paths = [str(one) for one in arguments[:2] if isinstance(one, str)]
  if any(pattern.search(path) for path in paths):
    hit.append(paths[-1])
    raise OSError(number, os.strerror(number), paths[-1])


sys.addaudithook(_hook)  # cannot be removed, and does nothing outside the context


@contextlib.contextmanager
def writing(pattern: str, number: int) -> Iterator[list[str]]:
  """Every write to a path that the pattern is found in fails; gives the paths that were hit."""
  hit: list[str] = []
  _active.append((re.compile(pattern), number, hit))
  try:
    yield hit
  finally:
    _active.pop()
