"""`Network`: a network as the pair of pure functions `init` and `apply`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.models.initializers import Scaled, draw_kernels

DTYPES = ('float32', 'bfloat16', 'float64')

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Network:
  """A network as two pure functions; frozen and hashable, so it can be a static argument of `jit`.

  Attributes:
    module: the Flax module, called as `module(x, train)`.
    in_shape: shape of one input; `None` is a dimension of any size, at least 1.
    out_features: width of the output.
    kernel_init: distribution of the kernels at the start.
    dtype: of the computation. 'float32' and 'bfloat16' keep parameters, batch statistics and output
      in float32; 'float64' (with `jax_enable_x64`, for tests of equivalence) has them in float64.
    other_inits: names of layers whose kernel starts from a distribution of its own, with it.
  """

  module: nn.Module
  in_shape: tuple[int | None, ...]
  out_features: int
  kernel_init: Scaled
  dtype: str = 'float32'
  other_inits: tuple[tuple[str, Scaled], ...] = ()

  @property
  def out_dtype(self) -> Any:
    """dtype of the output, the parameters and the batch statistics."""
    return jnp.promote_types(self.dtype, jnp.float32)

  def init(self, key: chex.PRNGKey, x: chex.Array) -> Variables:
    """Draws the variables, a function of `key` and this network alone.

    Args:
      key: typed PRNG key.
      x: `[batch, *in_shape]`, any float dtype; only its shape is used.

    Returns:
      `{'params': tree, 'batch_stats': tree}`; `batch_stats` is empty for a network without batch
      norm.

    Raises:
      ValueError: `x` does not fit the network.
    """
    self._check(x)
    return _init(self, key)

  def apply(self, variables: Variables, x: chex.Array, train: bool) -> tuple[jax.Array, Any]:
    """Runs the network.

    Args:
      variables: from `init`; further keys are ignored.
      x: `[batch, *in_shape]`, any float dtype.
      train: normalize with the statistics of this batch and move the running ones toward them;
        otherwise normalize with the running ones.

    Returns:
      Float32 `[batch, out_features]`, and the new statistics (with `train=False` those given).

    Raises:
      ValueError: `x` does not fit the network.
    """
    self._check(x)
    batch_stats = variables['batch_stats']
    collections = {'params': variables['params'], 'batch_stats': batch_stats}
    if train:
      out, changed = self.module.apply(collections, x, train=True, mutable=['batch_stats'])
      batch_stats = changed.get('batch_stats', batch_stats)
    else:
      out = self.module.apply(collections, x, train=False)
    return jnp.asarray(out, self.out_dtype), batch_stats

  def _check(self, x: chex.Array) -> None:
    shape, dtype = jnp.shape(x), jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
      raise ArgumentError('x', f'dtype {dtype}', 'a floating-point dtype')
    fits = len(shape) == len(self.in_shape) + 1 and 0 not in shape
    fits = fits and all(
      want in (None, found) for want, found in zip(self.in_shape, shape[1:], strict=True)
    )
    if not fits:
      allowed = ', '.join(['batch', *('any' if n is None else str(n) for n in self.in_shape)])
      raise ArgumentError('x', f'shape {shape}', f'[{allowed}], nothing 0')


@functools.partial(jax.jit, static_argnums=0)
def _init(network: Network, key: chex.PRNGKey) -> Variables:
  # One tiny input whatever the caller's: no parameter depends on batch or image size, tracing is
  # cheaper, one compilation serves every size, and XLA drops the forward pass as unused.
  x = jnp.zeros((1, *(8 if n is None else n for n in network.in_shape)), jnp.float32)
  variables = network.module.init(jax.random.fold_in(key, 0), x, train=True)
  # The module's own draws of the kernels are unused then, and dropped before XLA compiles them.
  params = draw_kernels(variables['params'], network.kernel_init, jax.random.fold_in(key, 1))
  for index, (layer, kernel_init) in enumerate(network.other_inits):
    fresh = draw_kernels(params[layer], kernel_init, jax.random.fold_in(key, 2 + index))
    params = {**params, layer: fresh}
  return {'params': params, 'batch_stats': variables.get('batch_stats', {})}
