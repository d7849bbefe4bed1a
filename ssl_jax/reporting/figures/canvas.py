"""Size, colors, names and PNG encoding of all figures."""

import io
from typing import Any

WIDTH = 11.0  # inches: the width of a report's column; text of 10 points is then 13 pixels at 1280
HALF = 5.4  # inches: of a picture that stands beside another
DOTS_PER_INCH = 200  # twice that width in pixels, for dense screens

# Okabe and Ito, "Color universal design" (2008), without yellow, which is faint on white: told
# apart by readers with any common color vision deficiency.
PALETTE = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X')
GRAY = '#6b7280'
_NAME = 28  # characters at most of a name


def figure(height: float, *, layout: Any = 'constrained', width: float = WIDTH) -> Any:
  """A matplotlib Figure, `width` and `height` inches large, unknown to pyplot."""
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)


def name(text: Any, most: int = _NAME) -> str:
  """The name of a class or a run, escaped and shortened for a legend or an axis.

  It is written as it is: matplotlib sets `$` as mathematics and hides labels that begin with `_`.
  Its middle is left out where it is long, since such names differ at their ends.
  """
  # A folder's name need not be UTF-8.
  words = ' '.join(str(text).encode(errors='replace').decode().split())
  if len(words) > most:
    tail = most // 2
    words = f'{words[: most - tail - 1]}…{words[-tail:]}'
  words = words.replace('$', r'\$')
  return f' {words}' if words.startswith('_') else words


def tidy(axes: Any, *, x_label: str, y_label: str) -> None:
  """Labels the axes, removes the upper and right spines, and adds horizontal grid lines."""
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(axis='y', color='#e5e7eb', linewidth=0.8)
  axes.set_axisbelow(True)


def png(drawing: Any) -> bytes:
  """The picture as the bytes of a PNG; the same drawing gives the same bytes."""
  buffer = io.BytesIO()
  drawing.savefig(buffer, format='png', metadata={'Software': None})
  return buffer.getvalue()
