"""Distributions of the weights at the start, and one draw for all kernels of a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Scaled:
  """Zero-mean noise whose deviation follows from the fan; a Flax initializer.

  Attributes:
    gain: the deviation, before it is divided by the square root of the fan.
    fan: 'in' or 'out', counting the taps of a convolution; 'none' for 1.
    uniform: draw from U(±sqrt(3) deviation) rather than a (not truncated) normal distribution.
  """

  gain: float
  fan: str = 'in'
  uniform: bool = False

  def deviation(self, shape: Sequence[int]) -> float:
    """Of a kernel `[..., in, out]`."""
    features = {'in': math.prod(shape[:-1]), 'out': math.prod(shape[:-2]) * shape[-1], 'none': 1}
    return self.gain / features[self.fan] ** 0.5

  def noise(self, key: chex.PRNGKey, count: int, dtype: Any) -> jax.Array:
    """`[count]` values of deviation 1."""
    if self.uniform:
      return jax.random.uniform(key, (count,), dtype, -(3**0.5), 3**0.5)
    return jax.random.normal(key, (count,), dtype)

  def __call__(
    self, key: chex.PRNGKey, shape: Sequence[int], dtype: Any = jnp.float32
  ) -> jax.Array:
    # Drawn flat: a four-dimensional draw takes XLA four times as long to compile.
    return self.deviation(shape) * self.noise(key, math.prod(shape), dtype).reshape(shape)


# U(±1 / sqrt(fan_in)), with which PyTorch starts linear layers and convolutions.
TORCH_DEFAULT = Scaled(3**-0.5, uniform=True)


def draw_kernels(params: chex.ArrayTree, kernel_init: Scaled, key: chex.PRNGKey) -> Any:
  """Replaces every leaf named `kernel` of a tree of parameters, all of one dtype, by a fresh draw.

  One stream of random numbers is cut into the kernels, because XLA compiles every draw anew: on CPU
  a draw a layer takes 10 s to compile for ResNet-10, one for all of them 0.6 s.
  """
  is_kernel = lambda path: path[-1].key == 'kernel'
  kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_kernel(path)]
  noise = kernel_init.noise(key, sum(leaf.size for leaf in kernels), kernels[0].dtype)
  # Or each cut would recompute its part of the draw, and be compiled as long as a draw of its own.
  noise = jax.lax.optimization_barrier(noise)
  start = 0

  def cut(path: tuple[Any, ...], leaf: chex.Array) -> chex.Array:
    nonlocal start
    if not is_kernel(path):
      return leaf
    values = jax.lax.slice(noise, (start,), (start + leaf.size,))
    start += leaf.size
    return kernel_init.deviation(leaf.shape) * values.reshape(leaf.shape)

  return jax.tree_util.tree_map_with_path(cut, params)
