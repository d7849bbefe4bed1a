"""What a person looks at: progress, metrics on disk, pictures, and the report page."""

from ssl_jax.reporting import figures, tables
from ssl_jax.reporting.comparison import write_comparison
from ssl_jax.reporting.environment import collect_versions, describe_devices
from ssl_jax.reporting.metric_writer import MetricWriter, read_metrics
from ssl_jax.reporting.page import Figure
from ssl_jax.reporting.page_parts import add_to_report
from ssl_jax.reporting.progress import Progress, format_duration
from ssl_jax.reporting.report import write_report
from ssl_jax.reporting.stopwatch import Stopwatch
from ssl_jax.reporting.tables import Measured, Percent, Probability, Table

__all__ = [
  'Figure',
  'Measured',
  'MetricWriter',
  'Percent',
  'Probability',
  'Progress',
  'Stopwatch',
  'Table',
  'add_to_report',
  'collect_versions',
  'describe_devices',
  'figures',
  'format_duration',
  'read_metrics',
  'tables',
  'write_comparison',
  'write_report',
]
