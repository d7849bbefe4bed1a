"""The arranging module of DSA: a small network that maps pairs of embeddings to a weight.

Its parameters are a dict of `hidden_kernel` `[inputs, hidden]`, `hidden_bias` `[hidden]`,
`output_kernel` `[hidden]` and `output_bias` `[]`. The first layer is linear in either row of a
pair, so it is applied to rows and the results are added for pairs: the same network exactly.
"""

import math
from collections.abc import Mapping
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.losses import arguments
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.dsa.pairs import PairGroups
from ssl_jax.losses.normalize import dot_products, promote

Form = Literal['concatenation', 'difference']
Params = Mapping[str, chex.Array]

L1_FLOOR = 1e-12


def init_arranging(
  key: chex.PRNGKey, dim: int, hidden: int | None = None, *, form: Form = 'concatenation'
) -> dict[str, jax.Array]:
  """Fresh parameters of the arranging module.

  Kernels are drawn from U(±1 / sqrt(inputs)). For the concatenation biases are 0, so that M starts
  near 1/2 (neutral). For the difference they are drawn from the same interval, the start that the
  released code has: differences in large batches are far smaller than these biases, so M starts
  constant, or 0 for good.

  >>> import jax
  >>> params = init_arranging(jax.random.key(0), dim=8)
  >>> print({name: value.shape for name, value in sorted(params.items())})
  {'hidden_bias': (8,), 'hidden_kernel': (16, 8), 'output_bias': (), 'output_kernel': (8,)}

  Args:
    key: of all that is drawn.
    dim: of the embeddings.
    hidden: the width; `dim` where None.
    form: 'concatenation' for `arranging_matrix`, 'difference' for `released_arranging_matrix`.

  Returns:
    The dict of parameters, in JAX's default float dtype.

  Raises:
    ValueError: a width below 1 or an unknown form.
  """
  hidden = dim if hidden is None else hidden
  check_whole('dim', dim)
  check_whole('hidden', hidden)
  check_choice('form', form, ('concatenation', 'difference'))
  inputs = 2 * dim if form == 'concatenation' else dim
  hidden_key, output_key = jax.random.split(key)

  def uniform(key, fan_in, shape):
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  def bias(key, fan_in, shape):
    if form == 'concatenation':
      return jnp.zeros(shape)
    return uniform(jax.random.fold_in(key, 1), fan_in, shape)

  return {
    'hidden_kernel': uniform(hidden_key, inputs, (inputs, hidden)),
    'hidden_bias': bias(hidden_key, inputs, (hidden,)),
    'output_kernel': uniform(output_key, hidden, (hidden,)),
    'output_bias': bias(output_key, hidden, ()),
  }


def arranging_matrix(
  params: Params,
  rows: chex.Array,
  columns: chex.Array,
  *,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """M_ij = σ(w₂ᵀ relu(W₁ [z_i ; z_j] + b₁) + b₂): whether two embeddings mean the same, in (0, 1).

  Source: Song et al., arXiv 2407.13541; "reconstructed": a two-layer network of the concatenated
  pair is read, the sigmoid is ours (the released code ends in a relu).

  >>> import jax, jax.numpy as jnp
  >>> params = init_arranging(jax.random.key(0), dim=3)
  >>> print(arranging_matrix(params, jnp.zeros((2, 3)), jnp.zeros((2, 3))))
  [[0.5 0.5]
   [0.5 0.5]]

  Args:
    params: of `init_arranging`, first layer `[2 * dim, hidden]`.
    rows: `[batch, dim]`, any float dtype, as the projector gives them (not normalized).
    columns: `[batch, dim]`.
    block_size: with it, memory is O(block_size * batch * hidden) instead of O(batch² * hidden).
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which columns are gathered.

  Returns:
    `[batch, batch]`, float32 (float64 for float64); this device's rows with `axis_name`.

  Raises:
    ValueError: shapes differ, or do not fit the parameters.
  """
  arguments.check_embeddings(rows=rows, columns=columns)
  check_params(params, jnp.shape(rows)[1], 'concatenation')
  groups = PairGroups.of('rows', jnp.shape(rows)[0], None, axis_name)
  rows, columns = groups.chunk_rows(promote(rows)), groups.group_rows(promote(columns))
  return groups.map_chunks(
    lambda r, c: pair_matrix(params, r, c, 'concatenation'),
    *pair_features(params, rows, columns, 'concatenation'),
    block_size,
  )[0]


def released_arranging_matrix(
  params: Params,
  rows: chex.Array,
  *,
  block_size: int | None = None,
  axis_name: AxisName = None,
) -> jax.Array:
  """The released module: o_ij = relu(w₂ᵀ relu(W₁ δ_ij + b₁) + b₂), rows of M scaled to sum 1.

  δ_ij = z_i - z_j, each coordinate divided by the sum of its absolute values over all pairs. For
  comparison only: inputs shrink with the square of the batch, and M is nearly constant, or 0 for
  good where the initial biases make every o zero.

  Source: the code released with Song et al., arXiv 2407.13541.

  >>> import jax.numpy as jnp
  >>> params = {'hidden_kernel': jnp.ones((1, 1)), 'hidden_bias': jnp.zeros(1),
  ...           'output_kernel': jnp.ones(1), 'output_bias': jnp.ones(())}
  >>> print(released_arranging_matrix(params, jnp.array([[0.0], [3.0]])))   # o = 1 + relu(δ)
  [[0.5 0.5]
   [0.6 0.4]]

  Args:
    params: of `init_arranging(..., form='difference')`, first layer `[dim, hidden]`.
    rows: `[batch, dim]`, any float dtype.
    block_size: with it, memory is O(block_size * batch * hidden) instead of O(batch² * hidden).
    axis_name: the mapped axis inside `shard_map` or `pmap`, over which embeddings are gathered.

  Returns:
    `[batch, batch]`, float32 (float64 for float64); this device's rows with `axis_name`.

  Raises:
    ValueError: wrong rank, or a shape that does not fit the parameters.
  """
  arguments.check_embeddings(rows=rows)
  check_params(params, jnp.shape(rows)[1], 'difference')
  groups = PairGroups.of('rows', jnp.shape(rows)[0], None, axis_name)
  rows, columns = groups.chunk_rows(promote(rows)), groups.group_rows(promote(rows))
  return groups.map_chunks(
    lambda r, c: pair_matrix(params, r, c, 'difference'),
    *pair_features(params, rows, columns, 'difference'),
    block_size,
  )[0]


def check_params(params: Params, dim: int, form: Form) -> None:
  """ValueError unless the parameters are those of `form` for embeddings of `dim`."""
  names = {'hidden_kernel', 'hidden_bias', 'output_kernel', 'output_bias'}
  if not isinstance(params, Mapping) or params.keys() != names:
    found = sorted(params) if isinstance(params, Mapping) else params
    raise ArgumentError('params', found, f'arrays of the names {sorted(names)}')
  shapes = {name: jnp.shape(value) for name, value in params.items()}
  inputs = 2 * dim if form == 'concatenation' else dim
  hidden = shapes['hidden_bias'][-1] if shapes['hidden_bias'] else 'hidden'
  allowed = {
    'hidden_kernel': (inputs, hidden),
    'hidden_bias': (hidden,),
    'output_kernel': (hidden,),
    'output_bias': (),
  }
  for name, shape in allowed.items():
    if shapes[name] != shape:
      raise ArgumentError(f'params.{name}', f'shape {shapes[name]}', shape)


def pair_features(
  params: Params, rows: jax.Array, columns: jax.Array, form: Form
) -> tuple[jax.Array, jax.Array]:
  """The first layer on rows `[..., rows, dim]` and on columns `[..., columns, dim]` of a group."""
  kernel = jnp.asarray(params['hidden_kernel'], rows.dtype).T
  if form == 'concatenation':
    of_rows, of_columns = jnp.split(kernel, 2, axis=1)
    return dot_products(rows, of_rows), dot_products(columns, of_columns)
  # Differences do not change with the origin. From one of the rows, coordinates that are equal in
  # all of them are exactly 0.
  origin = jax.lax.stop_gradient(columns[..., :1, :])
  rows, columns = rows - origin, columns - origin
  # Σ_ij |z_i - z_j| without the pairs: in ascending order the k-th of n enters 2k - n + 1 times
  # with a plus and is counted for (i, j) and (j, i).
  num_columns = columns.shape[-2]
  signs = jnp.asarray(2 * (2 * jnp.arange(num_columns) - num_columns + 1), rows.dtype)
  total = jnp.sum(jnp.sort(columns, axis=-2) * signs[:, None], axis=-2, keepdims=True)
  return dot_products(_divide(rows, total), kernel), -dot_products(_divide(columns, total), kernel)


def pair_matrix(
  params: Params, row_features: jax.Array, column_features: jax.Array, form: Form
) -> jax.Array:
  """The rest of the network: `[rows, hidden]` and `[columns, hidden]` to `[rows, columns]`."""
  hidden_bias, output_kernel, output_bias = (
    jnp.asarray(params[name], row_features.dtype)
    for name in ('hidden_bias', 'output_kernel', 'output_bias')
  )
  hidden = jax.nn.relu((row_features + hidden_bias)[:, None, :] + column_features[None, :, :])
  # A matrix product keeps one array of the size of `hidden` less for the backward pass than a sum.
  output = dot_products(hidden, output_kernel[None])[..., 0] + output_bias
  if form == 'concatenation':
    return jax.nn.sigmoid(output)
  output = jax.nn.relu(output)
  return _divide(output, jnp.sum(output, axis=-1, keepdims=True))


def _divide(values: jax.Array, norm: jax.Array) -> jax.Array:
  """Values by their L1 norm; 0 without gradient where there is nothing to scale."""
  vanishes = norm <= L1_FLOOR  # which NaN does not
  return jnp.where(vanishes, 0, values / jnp.where(vanishes, 1, norm))
