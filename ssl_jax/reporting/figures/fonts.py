"""Installed fonts that have the characters of a name in any script."""

import functools
import unicodedata
from typing import Any

DEFAULT = 'DejaVu Sans'  # matplotlib brings it along
# First and last letter of scripts that are written right to left or whose letters join or move.
_SHAPED = ((0x0590, 0x08FF), (0x0900, 0x0DFF), (0x0F00, 0x109F), (0x1780, 0x17FF), (0xFB1D, 0xFEFC))
_PLACEHOLDERS = 'last resort'  # a font whose characters are boxes


@functools.cache
def families(characters: frozenset[str]) -> tuple[str, ...] | None:
  """Font families to try in turn, which together have all the characters; None if there are none.

  matplotlib's own font comes first, others only where it lacks a character.
  """
  if not _can_shape() and any(
    first <= ord(c) <= last for c in characters for first, last in _SHAPED
  ):
    return None
  chosen, missing = [DEFAULT], {ord(c) for c in characters if not c.isspace()}
  for family, path in _fonts():
    if not missing:
      break
    found = missing & _characters(path)
    if found:
      missing -= found
      if family not in chosen:
        chosen.append(family)
  return None if missing else tuple(chosen)


def drawable(text: str) -> bool:
  """Whether there are fonts for all characters of a text."""
  return text.isascii() or families(frozenset(unicodedata.normalize('NFC', text))) is not None


def set_families(drawing: Any) -> None:
  """Sets the fonts of those texts of a matplotlib Figure that need others than the default."""
  from matplotlib.text import Text

  for text in drawing.findobj(Text):
    written = text.get_text()
    if not written.isascii():
      chosen = families(frozenset(written))
      if chosen is not None and len(chosen) > 1:
        text.set_fontfamily(list(chosen))


@functools.cache
def _fonts() -> list[tuple[str, str]]:
  """Family and file of each upright font of regular weight, the default first."""
  from matplotlib import font_manager

  entries = {
    entry.name: entry.fname
    for entry in font_manager.fontManager.ttflist
    if entry.style == 'normal'
    and entry.weight in (400, 'normal', 'regular')
    and not entry.name.casefold().startswith(_PLACEHOLDERS)
  }
  return sorted(entries.items(), key=lambda entry: (entry[0] != DEFAULT, entry[0]))


@functools.cache
def _characters(path: str) -> frozenset[int]:
  """The code points of a font; none if matplotlib cannot draw with it, as with bitmaps in color."""
  from matplotlib.ft2font import FT2Font

  try:
    font = FT2Font(path)
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
  except (OSError, RuntimeError, ValueError):
    return frozenset()


def _can_shape() -> bool:
  """Whether this matplotlib joins letters and sets them right to left, from 3.11 on."""
  from matplotlib import ft2font

  return hasattr(ft2font, '__libraqm_version__')
