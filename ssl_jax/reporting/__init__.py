"""Progress lines, the metrics file, and the rendering of tables, figures and HTML pages."""

from ssl_jax.reporting import figures, tables
from ssl_jax.reporting.environment import collect_versions, describe_devices
from ssl_jax.reporting.metric_writer import MetricWriter, read_metrics
from ssl_jax.reporting.page import GENERATOR, Figure
from ssl_jax.reporting.progress import Progress, format_duration
from ssl_jax.reporting.report import Part, render_comparison, render_report
from ssl_jax.reporting.stopwatch import Stopwatch
from ssl_jax.reporting.tables import Measured, Percent, Probability, Table

__all__ = [
  'GENERATOR',
  'Figure',
  'Measured',
  'MetricWriter',
  'Part',
  'Percent',
  'Probability',
  'Progress',
  'Stopwatch',
  'Table',
  'collect_versions',
  'describe_devices',
  'figures',
  'format_duration',
  'read_metrics',
  'render_comparison',
  'render_report',
  'tables',
]
