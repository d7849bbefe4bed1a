"""The pictures of a report: each function takes arrays and returns the bytes of a PNG.

matplotlib and scikit-learn are imported when a picture is made, and no global state of matplotlib
is touched: figures may be made from any thread, beside a user's own.
"""

from ssl_jax.reporting.figures.curves import (
  knn_curve,
  loss_curves,
  optimizer_curves,
)
from ssl_jax.reporting.figures.draws import draws_plot
from ssl_jax.reporting.figures.embedding import tsne
from ssl_jax.reporting.figures.pictures import contact_sheet, neighbour_grid

__all__ = [
  'contact_sheet',
  'draws_plot',
  'knn_curve',
  'loss_curves',
  'neighbour_grid',
  'optimizer_curves',
  'tsne',
]
