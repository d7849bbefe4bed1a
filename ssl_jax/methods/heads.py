"""The perceptrons behind an encoder."""

from __future__ import annotations

from ssl_jax import models
from ssl_jax.models import Network


def head(
  before: Network,
  layers: int,
  hidden: int,
  out: int,
  *,
  last_norm: bool = False,
  last_norm_affine: bool = True,
  biases: bool = True,
  last_bias: bool = True,
  kernel_init: str = 'kaiming_normal',
) -> Network:
  """`layers` linear layers, batch norm and ReLU after each but the last.

  Args:
    before: the network whose output it takes.
    layers: at least 1.
    hidden: width of all layers but the last; 0 is that of the input.
    out: width of the last.
    last_norm: whether batch norm follows the last layer too.
    last_norm_affine: whether that one has gain and bias.
    biases: whether the linear layers have them.
    last_bias: whether the last one does, if the others do.
    kernel_init: see `models.mlp`.
  """
  return models.mlp(
    before.out_features,
    (hidden or before.out_features,) * (layers - 1) + (out,),
    norms=(True,) * (layers - 1) + (last_norm,),
    biases=(biases,) * (layers - 1) + (biases and last_bias,),
    last_norm_affine=last_norm_affine,
    kernel_init=kernel_init,
    dtype=before.dtype,
  )
