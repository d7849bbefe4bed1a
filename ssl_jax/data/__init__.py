"""Images in memory as uint8, and the order in which a run visits them."""

from ssl_jax.data.dataset import ArraySource, Dataset, Source
from ssl_jax.data.fingerprint import Fingerprint, fingerprint_dataset, fingerprint_source
from ssl_jax.data.loading import load
from ssl_jax.data.reid import Reid, load_reid
from ssl_jax.data.sampler import EpochSampler
from ssl_jax.data.subset import long_tail_counts, long_tail_indices
from ssl_jax.deprecation import deprecated_names

__all__ = [
  'ArraySource',
  'Dataset',
  'EpochSampler',
  'Fingerprint',
  'Reid',
  'Source',
  'fingerprint_dataset',
  'fingerprint_source',
  'load',
  'load_reid',
  'long_tail_counts',
  'long_tail_indices',
]

__getattr__ = deprecated_names(
  __name__, {'Order': 'EpochSampler', 'Persons': 'Reid', 'load_persons': 'load_reid'}
)
