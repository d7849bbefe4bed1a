"""Images in memory as uint8, and the order in which a run visits them."""

from ssl_jax.data.dataset import ArraySource, Dataset, Source
from ssl_jax.data.loading import load
from ssl_jax.data.order import Order
from ssl_jax.data.persons import Persons, load_persons
from ssl_jax.data.subset import long_tail_counts, long_tail_indices

__all__ = [
  'ArraySource',
  'Dataset',
  'Order',
  'Persons',
  'Source',
  'load',
  'load_persons',
  'long_tail_counts',
  'long_tail_indices',
]
