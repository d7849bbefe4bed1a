"""Projection and prediction heads: perceptrons with batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.models.initializers import TORCH_DEFAULT, Scaled
from ssl_jax.models.network import DTYPES, Network

_KERNEL_INITS = {
  'kaiming_normal': Scaled(2**0.5),
  'lecun_uniform': Scaled(1.0, uniform=True),
  'normal_0.01': Scaled(0.01, fan='none'),
  'torch_default': TORCH_DEFAULT,
}
KERNEL_INITS = tuple(_KERNEL_INITS)


def mlp(
  in_features: int,
  layers: Sequence[int] = (4096, 256),
  *,
  norms: Sequence[bool] = (True, False),
  biases: Sequence[bool] = (True, True),
  kernel_init: str = 'kaiming_normal',
  last_norm_affine: bool = True,
  dtype: str = 'float32',
) -> Network:
  """Linear layers, each but the last followed by batch norm (where `norms` says so) and ReLU.

  The last one may be followed by batch norm, never by ReLU. Parameters are named `linear1`,
  `norm1`, `linear2`, ... Batch norm as in `resnet`. The defaults are the projector of Wang et al.
  (ICCV 2021); their predictor has `kernel_init='normal_0.01'`.

  Args:
    in_features: width of the input `[batch, in_features]`.
    layers: width of each linear layer.
    norms: for each layer, whether batch norm follows.
    biases: for each layer, whether it adds a bias.
    kernel_init: 'kaiming_normal', N(0, 2 / fan_in); 'lecun_uniform', U(±sqrt(3 / fan_in));
      'normal_0.01', N(0, 0.01²); 'torch_default', U(±1 / sqrt(fan_in)), which draws the biases too.
      With the others biases start at 0.
    last_norm_affine: whether a batch norm at the end has gain and bias.
    dtype: of the computation, see `Network`.

  Raises:
    ValueError: an argument is none of the above, or lengths differ.
  """
  check_whole('in_features', in_features)
  layers, norms, biases = tuple(layers), tuple(norms), tuple(biases)
  if not layers:
    raise ArgumentError('layers', '()', 'at least one width')
  for features in layers:
    check_whole('layers', features)
  for argument, value in (('norms', norms), ('biases', biases)):
    if len(value) != len(layers):
      raise ArgumentError(argument, value, f'{len(layers)} entries, one a layer')
  check_choice('kernel_init', kernel_init, KERNEL_INITS)
  check_choice('dtype', dtype, DTYPES)
  module = MLP(
    layers=layers,
    norms=norms,
    biases=biases,
    kernel_init=kernel_init,
    last_norm_affine=last_norm_affine,
    dtype=dtype,
  )
  return Network(module, (in_features,), layers[-1], _KERNEL_INITS[kernel_init], dtype)


class MLP(nn.Module):
  """See `mlp`."""

  layers: tuple[int, ...]
  norms: tuple[bool, ...]
  biases: tuple[bool, ...]
  kernel_init: str
  last_norm_affine: bool
  dtype: str

  @nn.compact
  def __call__(self, x: chex.Array, train: bool) -> jax.Array:
    param_dtype = jnp.promote_types(self.dtype, jnp.float32)
    x = jnp.asarray(x, self.dtype)
    for index, features in enumerate(self.layers):
      last = index == len(self.layers) - 1
      x = nn.Dense(
        features,
        use_bias=self.biases[index],
        kernel_init=_KERNEL_INITS[self.kernel_init],
        bias_init=self._bias_init(x.shape[-1]),
        dtype=self.dtype,
        param_dtype=param_dtype,
        name=f'linear{index + 1}',
      )(x)
      if self.norms[index]:
        affine = self.last_norm_affine or not last
        x = nn.BatchNorm(
          use_running_average=not train,
          momentum=0.9,
          epsilon=1e-5,
          use_scale=affine,
          use_bias=affine,
          dtype=self.dtype,
          param_dtype=param_dtype,
          name=f'norm{index + 1}',
        )(x)
      if not last:
        x = nn.relu(x)
    return x

  def _bias_init(self, fan_in: int) -> Any:
    if self.kernel_init != 'torch_default':
      return nn.initializers.zeros
    limit = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)
