"""Writes and reads a network's variables as one .npz or .safetensors file."""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError
from ssl_jax.models.network import Network, Variables

FORMATS = ('.npz', '.safetensors')
_PARTS = ('params', 'batch_stats')
# What version 0.1 called `batch_stats`; its files are read until 0.3.
_FORMER_STATS = 'stats/'


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
  path = _checked(path)
  if missing := [part for part in _PARTS if part not in variables]:
    raise ValueError(
      f'variables: found {", ".join(map(str, variables)) or "nothing"}, must have {missing[0]}'
    )
  flat = flatten({part: variables[part] for part in _PARTS})
  # safetensors copies memory as it lies, whatever the strides.
  flat = {name: np.asarray(value, np.float32, order='C') for name, value in flat.items()}
  if path.suffix == '.npz':
    with path.open('wb') as file:
      np.savez(file, **flat)
  else:
    path.write_bytes(_safetensors().save(flat))


def load_weights(path: str | os.PathLike[str], network: Network) -> Variables:
  """Reads a file of `save_weights` into the variables of a network.

  Returns:
    `{'params': tree, 'batch_stats': tree}` of NumPy arrays.

  Raises:
    ValueError: the file holds other names, shapes or types than the network has, or values that are
      not finite; the first is named. Or the ending is unknown, or its package missing.
    OSError: the file cannot be read, or is damaged.
  """
  path = _checked(path)
  found = _read(path)
  template = jax.eval_shape(lambda: network.init(jax.random.key(0), _example(network)))
  template = {part: template[part] for part in _PARTS}
  wanted = flatten(template)
  for name in (*sorted(wanted.keys() - found.keys()), *sorted(found.keys() - wanted.keys())):
    state = 'missing' if name in wanted else 'of no layer of this encoder'
    raise ValueError(
      f'{path}: {name} is {state}; must be the weights of this architecture '
      f'({len(wanted)} arrays, found {len(found)})'
    )
  leaves = [_fitting(f'{path}: {name}', found[name], want) for name, want in wanted.items()]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays by path, in the order of the tree's leaves."""
  named, _ = jax.tree_util.tree_flatten_with_path(variables)
  return {'/'.join(str(part.key) for part in path): leaf for path, leaf in named}


def _fitting(name: str, array: np.ndarray, want: jax.ShapeDtypeStruct) -> np.ndarray:
  if array.shape != want.shape:
    raise ArgumentError(name, f'shape {array.shape}', f'{want.shape}, that of this architecture')
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise ArgumentError(name, f'dtype {array.dtype}', 'a floating-point dtype')
  # Only then: numbers that float32 cannot hold become infinite.
  with np.errstate(over='ignore'):
    array = array.astype(want.dtype)
  if not np.isfinite(array).all():
    raise ArgumentError(name, 'NaN or infinite values', 'finite')
  return array


def _example(network: Network) -> np.ndarray:
  return np.zeros((1, *(8 if size is None else size for size in network.in_shape)), np.float32)


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
  path = pathlib.Path(path).expanduser()
  if path.suffix not in FORMATS:
    raise ArgumentError(path, f'the ending {path.suffix!r}', ' or '.join(FORMATS))
  return path


def _safetensors() -> ModuleType:
  try:
    from safetensors import numpy
  except ImportError as error:
    raise ValueError(
      '.safetensors: this ending needs the package safetensors: pip install safetensors; '
      'allowed without it is .npz'
    ) from error
  return numpy


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    found = 'this is no regular file' if path.exists() else 'there is no such file'
    raise FileNotFoundError(f'{path}: {found}; must be one of exported weights')
  library = _safetensors() if path.suffix == '.safetensors' else None
  with path.open('rb') as file:
    try:
      arrays = library.load(file.read()) if library else _read_npz(file)
    except Exception as error:  # of damaged bytes the readers raise nearly anything
      line = ' '.join(str(error).split())
      # What safetensors raises for a type of number that NumPy lacks.
      if library and isinstance(error, KeyError):
        raise ArgumentError(path, f'arrays of type {line}', 'F16, F32 or F64') from error
      raise OSError(f'{path}: the file is damaged: {line or type(error).__name__}') from error
  return {
    f'batch_{name}' if name.startswith(_FORMER_STATS) else name: array
    for name, array in arrays.items()
  }


def _read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
  if not zipfile.is_zipfile(file):
    raise ValueError('it is no complete .npz (zip) file')
  file.seek(0)
  with np.load(file, allow_pickle=False) as arrays:
    found = {name: arrays[name] for name in arrays.files}
  # NumPy hands out the raw bytes of a member that is no array.
  if strange := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
    raise ValueError(f'{strange[0]} is no array')
  return found
