"""Cases of the dynamic semantic adjuster (DSA) and its parts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.losses.dsa.anchor_scores import anchor_scores
from ssl_jax.losses.dsa.arranging_loss import arranging_loss, prior_regularizer
from ssl_jax.losses.dsa.arranging_module import (
  arranging_matrix,
  init_arranging,
  released_arranging_matrix,
)
from ssl_jax.losses.dsa.semantic_adjuster import semantic_adjuster
from ssl_jax.losses.dsa.semantic_prior import prior_similarity
from ssl_jax.losses.dsa.settings import PRESETS
from tests.losses.cases import Batch, Case, Matrix, Result

HIDDEN = 5
GROUP = 256  # images of a group at full size
# Shares, which change in steps where rounding decides.
SHARES = ('matrix_above_half', 'prior_above_half')


def arranging_params(dim: int, dtype, form: str = 'concatenation') -> dict[str, jax.Array]:
  """Fixed parameters under which hidden units are on for some pairs and off for others."""
  inputs = 2 * dim if form == 'concatenation' else dim
  sines = np.sin(1.7 * np.arange(inputs * HIDDEN) + 0.3).reshape(inputs, HIDDEN)
  # The difference form sees inputs of one over the square of the batch.
  scale = 0.5 if form == 'concatenation' else 40.0
  params = {
    'hidden_kernel': scale * sines,
    'hidden_bias': np.sin(np.arange(HIDDEN) + 0.5),
    'output_kernel': np.cos(2.1 * np.arange(HIDDEN) + 0.4),
    'output_bias': np.asarray(0.2 if form == 'concatenation' else 3.0),
  }
  dtype = jnp.promote_types(dtype, jnp.float32)
  return {name: jnp.asarray(value, dtype) for name, value in params.items()}


def priors(batch: Batch, axis_name):
  target1, target2 = batch.target1, batch.target2
  pairs = ((target1, target1), (target2, target2), (target1, target2), (target2, target1))
  return [prior_similarity(*pair, axis_name=axis_name) for pair in pairs]


def arranging(batch: Batch, *, axis_name=None, block_size=None, **options) -> Result:
  """M of the frozen network, which does not depend on the length of the views."""
  scores = anchor_scores(
    batch.target1, num_neighbors=3, threshold=0, block_size=block_size, axis_name=axis_name
  )
  return arranging_loss(
    (batch.view1, batch.view2),
    None,
    priors(batch, axis_name),
    scores,
    block_size=block_size,
    axis_name=axis_name,
    **options,
  )


def regularizer(batch: Batch, *, axis_name=None, block_size=None, **options) -> Result:
  """Blocks of either form of the module."""
  dim, dtype = batch.view1.shape[-1], batch.view1.dtype
  params = arranging_params(dim, dtype)
  released = arranging_params(dim, dtype, 'difference')
  where = {'axis_name': axis_name, 'block_size': block_size}
  matrices = (
    arranging_matrix(params, batch.view1, batch.view1, **where),
    released_arranging_matrix(released, batch.view2, **where),
    arranging_matrix(params, batch.view1, batch.view2, **where),
    released_arranging_matrix(released, batch.view2, **where),
  )
  return prior_regularizer(matrices, priors(batch, axis_name), axis_name=axis_name, **options)


def adjuster(batch: Batch, *, preset: str, own_columns: bool = True, **options) -> Result:
  """The columns of the blocks 12 and 21 are the rows of the other view, or exchanged."""
  # Of few images: otherwise there are too few for k, or every score is 0 and no anchor has a force.
  settings = dataclasses.replace(PRESETS[preset], threshold=0)
  if settings.num_neighbors is not None:
    settings = dataclasses.replace(settings, num_neighbors=3)
  form = settings.matrix
  return semantic_adjuster(
    arranging_params(batch.view1.shape[-1], batch.view1.dtype, form),
    (batch.view1, batch.view2),
    None if own_columns else (batch.view2, batch.view1),
    (batch.target1, batch.target2),
    batch.target1,
    **{'preset': settings, **options},
  )


def full_size(batch: Batch, **options) -> Result:
  params = init_arranging(jax.random.key(0), batch.view1.shape[1])
  views, priors = (batch.view1, batch.view2), (batch.target1, batch.target1)
  return semantic_adjuster(params, views, None, priors, batch.target1, group_size=GROUP, **options)


def hidden_units(batch: int, dim: int) -> int:
  """A hidden layer as wide as the embedding, for all pairs of a group and of views."""
  return 4 * batch * GROUP * dim


def case(call, name: str, *others: str, **fields) -> Case:
  return Case(call, names=(name, *others), **fields)


adjuster_case = functools.partial(
  case,
  blocks=True,
  scale_free=False,
  stopped=('target1', 'target2', 'weights'),
  discontinuous=SHARES,
)
CASES: dict[str, Case] = {
  'arranging': case(
    arranging,
    'arranging_loss',
    'prior_similarity',
    'anchor_scores',
    blocks=True,
    stopped=('target1', 'target2', 'weights'),
    minimum=4,
  ),
  'regularizer': case(
    regularizer,
    'prior_regularizer',
    'arranging_matrix',
    'released_arranging_matrix',
    blocks=True,
    scale_free=False,
    stopped=('target1', 'target2', 'weights'),
  ),
  'adjuster_calibrated': adjuster_case(
    functools.partial(adjuster, preset='calibrated', own_columns=False),
    'semantic_adjuster',
    'calibrated_temperature',
  ),
  'adjuster_released': adjuster_case(
    functools.partial(adjuster, preset='released'), 'semantic_adjuster', minimum=4
  ),
  # A group spans devices, equals a device, or is one of several on a device.
  # The preset 'paper'.
  'adjuster_groups_of_8': adjuster_case(
    functools.partial(adjuster, preset='paper', group_size=8),
    'semantic_adjuster',
    permutable=False,
    minimum=8,
    representative=True,
    matrix=Matrix(hidden_units, f'semantic_adjuster, groups of {GROUP}', full_size),
  ),
}
