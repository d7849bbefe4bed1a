"""Writes and reads a network's variables as one .npz or .safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ssl_jax.arguments import ArgumentError, shown
from ssl_jax.models import weights_file
from ssl_jax.models.network import Network, Variables
from ssl_jax.models.weights_file import Stored

_PARTS = ('params', 'batch_stats')


def save_weights(path: str | os.PathLike[str], variables: Variables) -> None:
  """Writes parameters and batch statistics, float32, named by their path: `params/conv/kernel`.

  Args:
    path: ending in .npz (NumPy's) or .safetensors (needs the package safetensors).
    variables: `{'params': tree, 'batch_stats': tree}`, as `Network.init` returns them; further keys
      are ignored.

  Raises:
    ValueError: the ending is another one, its package is missing, or a part of the variables is.
    OSError: the file cannot be written.
  """
  path = weights_file.checked_path(path)
  if missing := [part for part in _PARTS if part not in variables]:
    found = ', '.join(map(str, variables)) or 'nothing'
    raise ArgumentError('variables', found, f'a dict with {missing[0]}')
  flat = flatten({part: variables[part] for part in _PARTS})
  # safetensors copies memory as it lies, whatever the strides.
  flat = {name: np.asarray(value, np.float32, order='C') for name, value in flat.items()}
  try:
    if path.suffix == '.npz':
      with path.open('wb') as file:
        np.savez(file, **flat)
    else:
      path.write_bytes(weights_file.safetensors().numpy.save(flat))
  except OSError as error:
    # A full disk is reported without a path.
    raise OSError(error.errno, error.strerror, str(path)) from error


def load_weights(path: str | os.PathLike[str], network: Network) -> Variables:
  """Reads a file of `save_weights` into the variables of a network.

  Returns:
    `{'params': tree, 'batch_stats': tree}` of NumPy arrays.

  Raises:
    ValueError: the file holds other names, shapes or types than the network has, or values that are
      not finite; the first is named. Or the ending is unknown, or its package missing.
    OSError: the file cannot be read, or is damaged.
  """
  path = weights_file.checked_path(path)
  template = jax.eval_shape(lambda: network.init(jax.random.key(0), _example(network)))
  template = {part: template[part] for part in _PARTS}
  wanted = flatten(template)
  with weights_file.opened(path) as found:
    for name in (*sorted(wanted.keys() - found.keys()), *sorted(found.keys() - wanted.keys())):
      state = 'missing' if name in wanted else 'of no layer of this encoder'
      raise ArgumentError(
        path,
        f'{len(found)} arrays, {shown(name)} is {state}',
        f'the weights of this architecture, {len(wanted)} arrays',
      )
    leaves = [fitting(f'{path}: {name}', found[name], want) for name, want in wanted.items()]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays by path, in the order of the tree's leaves."""
  named, _ = jax.tree_util.tree_flatten_with_path(variables)
  return {'/'.join(str(part.key) for part in path): leaf for path, leaf in named}


def fitting(name: str, stored: Stored, want: Any) -> np.ndarray:
  """The stored array, in the dtype wanted.

  Args:
    name: of the array, for messages.
    stored: the array in a file.
    want: has the shape and the dtype wanted.

  Raises:
    ArgumentError: it has another shape, holds no floating-point numbers, or some are not finite.
    OSError: the file is damaged.
  """
  if stored.shape != want.shape:
    raise ArgumentError(name, f'shape {stored.shape}', f'{want.shape}, that of this architecture')
  if not stored.dtype.startswith('float'):
    raise ArgumentError(name, f'dtype {stored.dtype}', 'a floating-point dtype')
  # Only after the cast: numbers that float32 cannot hold become infinite.
  with np.errstate(over='ignore'):
    array = stored.read().astype(want.dtype)
  if not np.isfinite(array).all():
    raise ArgumentError(name, 'NaN or infinite values', 'finite')
  return array


def _example(network: Network) -> np.ndarray:
  return np.zeros((1, *(8 if size is None else size for size in network.in_shape)), np.float32)
