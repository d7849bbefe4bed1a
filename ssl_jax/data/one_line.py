"""Paths, names and errors as one short line of printable text."""

import os
import unicodedata

_MOST = 160  # characters of a reason
_MOST_PATH = 240  # characters of a path
# Joiners are part of Persian and Indic spelling and of emoji; other invisible characters are shown.
_JOINERS = '\u200c\u200d'


def printable(text: str | os.PathLike) -> str:
  """A path or a name as one line of valid UTF-8, whatever bytes the file system holds.

  Letters of any script and emoji stay; control characters, line breaks and changes of the direction
  of writing become escapes such as `\\n`.
  """
  try:
    decoded = os.fsencode(text).decode('utf-8', 'backslashreplace')
  except UnicodeEncodeError:  # half a surrogate pair, which no file system gives
    decoded = str(text).encode('utf-8', 'backslashreplace').decode('utf-8')
  return ''.join(c if _is_shown(c) else c.encode('unicode_escape').decode('ascii') for c in decoded)


def shown_path(path: str | os.PathLike) -> str:
  """A path as `printable` writes it, without its middle where it is longer than a few lines."""
  text = printable(path)
  half = _MOST_PATH // 2
  return text if len(text) <= _MOST_PATH else f'{text[:half]}...{text[-half:]}'


def _is_shown(character: str) -> bool:
  if character.isprintable() or character in _JOINERS:
    return True
  return unicodedata.category(character) == 'Zs'  # other spaces than the common one


def shortened(text: object, most: int = _MOST) -> str:
  """`text` as one line of at most `most` characters; the rest is counted."""
  words = printable(' '.join(str(text)[: 8 * most].split()))
  if len(words) <= most and len(str(text)) <= 8 * most:
    return words
  return f'{words[: most - 3].rstrip()}...'


def reason(error: BaseException) -> str:
  """What an exception says, as one short line; its kind where it says nothing."""
  return shortened(getattr(error, 'strerror', None) or error) or type(error).__name__


def some(names: list[str] | tuple[str, ...], most: int = 5, characters: int = 24) -> str:
  """The first `most` names, each shortened, and how many more there are."""
  shown = ', '.join(shortened(name, characters) for name in names[:most])
  return f'{shown} and {len(names) - most:,} more' if len(names) > most else shown
