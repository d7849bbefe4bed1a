"""A residual network in NumPy, layer by layer from the parameter names: slow, and plain to read."""

import numpy as np

STAGES = {
  'resnet10': ((1, 1, 1, 1), False),
  'resnet50': ((3, 4, 6, 3), True),
}


def conv(x, kernel, stride, padding):
  """Cross-correlation of `[b, h, w, c]` with `[kh, kw, c, d]`, zero padding on all sides."""
  x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
  return np.einsum('bhwckl,klcd->bhwd', windows[:, ::stride, ::stride], kernel, optimize=True)


def max_pool(x):
  """3x3 windows with stride 2, one pixel of padding that never wins."""
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
  windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
  return windows[:, ::2, ::2].max(axis=(-2, -1))


def norm(x, params, batch_stats, train):
  """Batch norm; returns the new running statistics too."""
  axes = tuple(range(x.ndim - 1))
  if train:
    mean, var = x.mean(axes), x.var(axes)
    new = {
      'mean': 0.9 * batch_stats['mean'] + 0.1 * mean,
      'var': 0.9 * batch_stats['var'] + 0.1 * var,
    }
  else:
    mean, var, new = batch_stats['mean'], batch_stats['var'], batch_stats
  y = (x - mean) / np.sqrt(var + 1e-5)
  return y * params.get('scale', 1.0) + params.get('bias', 0.0), new


def resnet(name, stem, variables, x, train):
  """Features and new statistics."""
  params, batch_stats, new = variables['params'], variables['batch_stats'], {}

  def block(scope, x, stride, bottleneck):
    p, s, n = params[scope], batch_stats[scope], new.setdefault(scope, {})

    def layer(suffix, x, stride):
      kernel = p[f'conv{suffix}']['kernel']
      x = conv(x, kernel, stride, kernel.shape[0] // 2)
      x, n[f'norm{suffix}'] = norm(x, p[f'norm{suffix}'], s[f'norm{suffix}'], train)
      return x

    strides = (1, stride, 1) if bottleneck else (stride, 1)
    y = x
    for index, step in enumerate(strides, 1):
      y = layer(index, y, step)
      y = np.maximum(y, 0) if index < len(strides) else y
    if 'shortcut_conv' in p:
      x = conv(x, p['shortcut_conv']['kernel'], stride, 0)
      x, n['shortcut_norm'] = norm(x, p['shortcut_norm'], s['shortcut_norm'], train)
    return np.maximum(x + y, 0)

  imagenet = stem == 'imagenet'
  x = conv(x, params['stem_conv']['kernel'], 2 if imagenet else 1, 3 if imagenet else 1)
  x, new['stem_norm'] = norm(x, params['stem_norm'], batch_stats['stem_norm'], train)
  x = np.maximum(x, 0)
  x = max_pool(x) if stem in ('imagenet', 'cifar_pooled') else x
  counts, bottleneck = STAGES[name]
  for stage, count in enumerate(counts, 1):
    for index in range(1, count + 1):
      stride = 2 if stage > 1 and index == 1 else 1
      x = block(f'stage{stage}_block{index}', x, stride, bottleneck)
  return x.mean((1, 2)), new
