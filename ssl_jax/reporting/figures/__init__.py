"""Figures of a report: each function takes arrays and returns the bytes of a PNG.

matplotlib and scikit-learn are imported when a picture is made, and no global state of matplotlib
is touched: figures may be made from any thread, beside a user's own.
"""

from ssl_jax.reporting.figures.canvas import class_key
from ssl_jax.reporting.figures.confusion import confusion_matrix
from ssl_jax.reporting.figures.curves import (
  knn_curve,
  loss_curves,
  optimizer_curves,
  protocol_curves,
)
from ssl_jax.reporting.figures.draws import draws_plot
from ssl_jax.reporting.figures.embedding import PERPLEXITY, perplexity, tsne, tsne_panels
from ssl_jax.reporting.figures.encoder_metrics import (
  metric_bars,
  probe_curve,
  similarity_histograms_plot,
)
from ssl_jax.reporting.figures.pictures import contact_sheet, neighbor_grid, same_class
from ssl_jax.reporting.figures.ranks import RankCurve, rank_curves

__all__ = [
  'PERPLEXITY',
  'RankCurve',
  'class_key',
  'confusion_matrix',
  'contact_sheet',
  'draws_plot',
  'knn_curve',
  'loss_curves',
  'metric_bars',
  'neighbor_grid',
  'optimizer_curves',
  'perplexity',
  'probe_curve',
  'protocol_curves',
  'rank_curves',
  'same_class',
  'similarity_histograms_plot',
  'tsne',
  'tsne_panels',
]
