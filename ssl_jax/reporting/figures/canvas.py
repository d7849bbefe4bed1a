"""Size, colors, names and PNG encoding of all figures."""

import io
import itertools
import unicodedata
from collections.abc import Sequence
from typing import Any

from ssl_jax.reporting.figures import fonts

WIDTH = 11.0  # inches: the width of a report's column; text of 10 points is then 13 pixels at 1280
HALF = 5.4  # inches: of a picture that stands beside another
DOTS_PER_INCH = 200  # twice that width in pixels, for dense screens

# Okabe and Ito, "Color universal design" (2008), without yellow, which is faint on white: told
# apart by readers with any common color vision deficiency.
PALETTE = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X')
GRAY = '#6b7280'
_NAME = 28  # characters at most of a name
_MOST_IN_KEY = 60  # classes


def figure(height: float, *, layout: Any = 'constrained', width: float = WIDTH) -> Any:
  """A matplotlib Figure, `width` and `height` inches large, unknown to pyplot."""
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)


def name(text: Any, most: int = _NAME) -> str:
  """The name of a class or a run, escaped and shortened for a legend or an axis.

  It is written as it is: matplotlib sets `$` as mathematics and hides labels that begin with `_`.
  Its middle is left out where it is long, since such names differ at their ends. Characters that no
  font has become escapes.
  """
  # A folder's name need not be UTF-8.
  words = ' '.join(str(text).encode(errors='replace').decode().split())
  words = unicodedata.normalize('NFC', words)
  if not fonts.drawable(words):
    words = ''.join(c if fonts.drawable(c) else f'\\u{ord(c):04x}' for c in words)
  words = shortened(words, most).replace('$', r'\$')
  return f' {words}' if words.startswith('_') else words


def class_name(class_names: Sequence[str], label: int, most: int = _NAME) -> str:
  """The name of a class for a legend or an axis; its number where it has none, and `class NUMBER`
  where no font has its characters: `class_key` says which that is."""
  if not 0 <= label < len(class_names):
    return str(label)
  words = class_names[label]
  return name(words, most) if fonts.drawable(words) else f'class {label}'


def class_key(class_names: Sequence[str]) -> str:
  """The names that `class_name` replaces by numbers, as a sentence for a caption; '' for none.

  Pages are shown by browsers, which have fonts for most scripts. The names are isolated, so that
  those written from right to left leave the order of the sentence.
  """
  replaced = [
    f'{label} \u2068{shortened(words, 2 * _NAME)}\u2069'
    for label, words in enumerate(class_names)
    if not fonts.drawable(words)
  ]
  more = f' and {len(replaced) - _MOST_IN_KEY} more' if len(replaced) > _MOST_IN_KEY else ''
  return f' Classes by number: {", ".join(replaced[:_MOST_IN_KEY])}{more}.' if replaced else ''


def shortened(words: str, most: int) -> str:
  """`words` in at most the width of `most` Latin letters, without its middle where it is longer.

  Ideographs and emoji are twice as wide, marks on letters have no width and stay with theirs.
  """
  clusters: list[str] = []
  for character in words:
    joins = unicodedata.category(character).startswith('M') or character in _JOINERS
    if clusters and (joins or clusters[-1][-1] == _JOINERS[-1]):
      clusters[-1] += character
    else:
      clusters.append(character)
  widths = [2 if unicodedata.east_asian_width(cluster[0]) in 'WF' else 1 for cluster in clusters]
  if sum(widths) <= most:
    return words
  tail = most // 2
  left = _fitting(widths, most - tail - 1)
  right = _fitting(widths[::-1], tail)
  return f'{"".join(clusters[:left])}…{"".join(clusters[len(clusters) - right :])}'


_JOINERS = '\u200c\u200d'


def _fitting(widths: Sequence[int], most: int) -> int:
  """How many of the first widths add up to at most `most`."""
  return sum(total <= most for total in itertools.accumulate(widths))


def tidy(axes: Any, *, x_label: str, y_label: str) -> None:
  """Labels the axes, removes the upper and right spines, and adds horizontal grid lines."""
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(axis='y', color='#e5e7eb', linewidth=0.8)
  axes.set_axisbelow(True)


def png(drawing: Any) -> bytes:
  """The picture as the bytes of a PNG; the same drawing gives the same bytes."""
  fonts.set_families(drawing)
  buffer = io.BytesIO()
  drawing.savefig(buffer, format='png', metadata={'Software': None})
  return buffer.getvalue()
