"""The look that all figures share."""

import io
from typing import Any

WIDTH = 11.0  # inches: the width of a report's column; text of 10 points is then 13 pixels at 1280
DOTS_PER_INCH = 200  # twice that width in pixels, for dense screens

# Okabe and Ito, "Color universal design" (2008), without yellow, which is faint on white: told
# apart by readers with any common colour vision deficiency.
PALETTE = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X')
GREY = '#6b7280'


def figure(height: float, *, layout: Any = 'constrained') -> Any:
  """A matplotlib Figure, `WIDTH` wide and `height` inches tall, unknown to pyplot."""
  from matplotlib.figure import Figure

  return Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout=layout)


def tidy(axes: Any, *, x_label: str, y_label: str) -> None:
  """Labels the axes, and leaves out the ink that says nothing."""
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
