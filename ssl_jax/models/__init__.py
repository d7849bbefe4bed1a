"""Neural networks behind the pair `init` / `apply`; the only package that imports Flax."""

from ssl_jax.models.mlp import KERNEL_INITS, mlp
from ssl_jax.models.network import Network, Variables
from ssl_jax.models.resnet import CONV_INITS, STEM_INITS, STEMS, names, resnet
from ssl_jax.models.weights import fitting, flatten, load_weights, save_weights

__all__ = [
  'CONV_INITS',
  'KERNEL_INITS',
  'STEMS',
  'STEM_INITS',
  'Network',
  'Variables',
  'fitting',
  'flatten',
  'load_weights',
  'mlp',
  'names',
  'resnet',
  'save_weights',
]
