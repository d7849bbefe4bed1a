"""Residual networks (He et al., CVPR 2016) with the strides of v1.5, ending in average pooling."""

from __future__ import annotations

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.arguments import check_choice, check_whole
from ssl_jax.models.initializers import TORCH_DEFAULT, Scaled
from ssl_jax.models.network import DTYPES, Network

# name: (blocks of each stage, whether they are bottlenecks)
_ARCHITECTURES: dict[str, tuple[tuple[int, ...], bool]] = {
  'resnet10': ((1, 1, 1, 1), False),
  'resnet18': ((2, 2, 2, 2), False),
  'resnet34': ((3, 4, 6, 3), False),
  'resnet50': ((3, 4, 6, 3), True),
  'resnet101': ((3, 4, 23, 3), True),
  'resnet152': ((3, 8, 36, 3), True),
}
STEMS = ('imagenet', 'cifar', 'cifar_padded', 'cifar_pooled')
_CONV_INITS = {
  'kaiming_normal_fan_in': Scaled(2**0.5),
  'kaiming_normal_fan_out': Scaled(2**0.5, fan='out'),
  'kaiming_uniform_fan_out': Scaled(2**0.5, fan='out', uniform=True),
}
CONV_INITS = tuple(_CONV_INITS)
_STEM_INITS = {'torch_default': TORCH_DEFAULT}
STEM_INITS = ('same', *_STEM_INITS)
_EXPANSION = 4  # of a bottleneck's output over its 3x3 convolution


def names() -> tuple[str, ...]:
  """The names that `resnet` accepts."""
  return tuple(_ARCHITECTURES)


def resnet(
  name: str,
  *,
  stem: str = 'imagenet',
  width: int = 64,
  zero_init_residual: bool = False,
  conv_init: str = 'kaiming_normal_fan_in',
  stem_init: str = 'same',
  dtype: str = 'float32',
  channels: int = 3,
) -> Network:
  """A residual network without classifier: images `[batch, height, width, channels]` to features.

  Padding is explicit, as in PyTorch, so that weights can travel to torchvision's layout. Batch
  norm: eps 1e-5, running statistics `0.9 old + 0.1 new` with the biased variance (PyTorch's is
  unbiased). Parameters are named `stem_conv`, `stem_norm`, `stage1_block1/{conv1,norm1,...}` and
  in blocks that change the shape `shortcut_conv`, `shortcut_norm`.

  Args:
    name: 'resnet18', '34', '50', '101', '152'; or 'resnet10', a basic block a stage, for laptops.
    stem: 'imagenet' is a 7x7 convolution with stride 2 and a 3x3 max-pool with stride 2; 'cifar' is
      a 3x3 convolution with stride 1 and no pooling; 'cifar_padded' is the same with padding 3, so
      that 32 pixels become 36 (Nozawa and Sato, NeurIPS 2021); 'cifar_pooled' is 'cifar' with the
      max-pool, for 64 pixels (Ermolov et al., ICML 2021).
    width: channels of the stem; stages have 1, 2, 4 and 8 times as many, times 4 for bottlenecks.
    zero_init_residual: start the gain of the last norm of every block at 0, its branch at nothing.
    conv_init: 'kaiming_normal_fan_in', N(0, 2 / fan_in) (Wang et al., ICCV 2021);
      'kaiming_normal_fan_out', N(0, 2 / fan_out) (torchvision); or 'kaiming_uniform_fan_out',
      U(±sqrt(6 / fan_out)) (Ge et al., IEEE TIP 2023).
    stem_init: of the stem's convolution: 'same', or 'torch_default', U(±1 / sqrt(fan_in)),
      as in released code that puts a new one into torchvision's network (Nozawa and Sato, NeurIPS
      2021).
    dtype: of the computation, see `Network`.
    channels: of the images.

  Raises:
    ValueError: an argument is none of the above.
  """
  check_choice('name', name, names())
  check_choice('stem', stem, STEMS)
  check_choice('conv_init', conv_init, CONV_INITS)
  check_choice('stem_init', stem_init, STEM_INITS)
  check_choice('dtype', dtype, DTYPES)
  check_whole('width', width)
  check_whole('channels', channels)
  blocks, bottleneck = _ARCHITECTURES[name]
  module = ResNet(
    blocks=blocks,
    bottleneck=bottleneck,
    stem=stem,
    width=width,
    zero_init_residual=zero_init_residual,
    conv_init=conv_init,
    dtype=dtype,
  )
  out_features = width * 2 ** (len(blocks) - 1) * (_EXPANSION if bottleneck else 1)
  other_inits = (('stem_conv', _STEM_INITS[stem_init]),) if stem_init in _STEM_INITS else ()
  kernel_init = _CONV_INITS[conv_init]
  return Network(module, (None, None, channels), out_features, kernel_init, dtype, other_inits)


class ResNet(nn.Module):
  """See `resnet`."""

  blocks: tuple[int, ...]
  bottleneck: bool
  stem: str
  width: int
  zero_init_residual: bool
  conv_init: str
  dtype: str

  @nn.compact
  def __call__(self, x: chex.Array, train: bool) -> jax.Array:
    param_dtype = jnp.promote_types(self.dtype, jnp.float32)
    conv = functools.partial(
      nn.Conv,
      use_bias=False,
      kernel_init=_CONV_INITS[self.conv_init],
      dtype=self.dtype,
      param_dtype=param_dtype,
    )
    norm = functools.partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      param_dtype=param_dtype,
    )
    x = jnp.asarray(x, self.dtype)
    if self.stem == 'imagenet':
      x = conv(self.width, (7, 7), 2, padding=3, name='stem_conv')(x)
    else:
      padding = 3 if self.stem == 'cifar_padded' else 1
      x = conv(self.width, (3, 3), padding=padding, name='stem_conv')(x)
    x = nn.relu(norm(name='stem_norm')(x))
    if self.stem in ('imagenet', 'cifar_pooled'):
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    for stage, count in enumerate(self.blocks):
      for block in range(count):
        x = Block(
          features=self.width * 2**stage,
          strides=2 if stage and not block else 1,
          bottleneck=self.bottleneck,
          zero_init_residual=self.zero_init_residual,
          conv=conv,
          norm=norm,
          name=f'stage{stage + 1}_block{block + 1}',
        )(x)
    # In float32 (at least): a mean of many bfloat16 values would lose what the layers kept.
    return jnp.mean(x, axis=(1, 2), dtype=param_dtype)


class Block(nn.Module):
  """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 with the stride on the 3x3, around a shortcut."""

  features: int
  strides: int
  bottleneck: bool
  zero_init_residual: bool
  conv: Any
  norm: Any

  @nn.compact
  def __call__(self, x: chex.Array) -> jax.Array:
    last_gain = nn.initializers.zeros if self.zero_init_residual else nn.initializers.ones
    out_features = self.features * (_EXPANSION if self.bottleneck else 1)
    if self.bottleneck:
      y = self.conv(self.features, (1, 1), name='conv1')(x)
      y = nn.relu(self.norm(name='norm1')(y))
      y = self.conv(self.features, (3, 3), self.strides, padding=1, name='conv2')(y)
      y = nn.relu(self.norm(name='norm2')(y))
      y = self.conv(out_features, (1, 1), name='conv3')(y)
      y = self.norm(name='norm3', scale_init=last_gain)(y)
    else:
      y = self.conv(self.features, (3, 3), self.strides, padding=1, name='conv1')(x)
      y = nn.relu(self.norm(name='norm1')(y))
      y = self.conv(self.features, (3, 3), padding=1, name='conv2')(y)
      y = self.norm(name='norm2', scale_init=last_gain)(y)
    if self.strides != 1 or x.shape[-1] != out_features:
      x = self.conv(out_features, (1, 1), self.strides, padding=0, name='shortcut_conv')(x)
      x = self.norm(name='shortcut_norm')(x)
    return nn.relu(x + y)
