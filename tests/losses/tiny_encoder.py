"""An encoder whose batch norm spans all devices, and every loss on top of it.

The gradient with respect to the encoder's parameters is what a caller trains by. Batch norm makes
each embedding depend on the images of every device, so a missing or doubled reduction shows.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.losses.cases import Batch, Case

BATCH, FEATURES, HIDDEN, DIM = 32, 6, 7, 6
WHOLE = 0  # the block size of a call without blocks: results are sorted by block size

Parameters = dict[str, Any]


class Inputs(NamedTuple):
  """Rows of a batch: every leading axis is split over devices."""

  image1: Any  # [batch, FEATURES]
  image2: Any
  labels: Any  # [batch] int32
  weights: Any  # [batch]


def random_inputs(batch: int = BATCH, seed: int = 0) -> Inputs:
  random = np.random.default_rng(seed)
  image, noise = random.normal(size=(2, batch, FEATURES))
  labels = random.permutation(np.arange(batch) % 4).astype(np.int32)
  return Inputs(image, image + 0.5 * noise, labels, random.uniform(0.5, 1.5, batch))


def random_parameters(seed: int) -> Parameters:
  random = np.random.default_rng(seed)
  return {
    'hidden': random.normal(size=(FEATURES, HIDDEN)),
    'scale': random.uniform(0.5, 1.5, HIDDEN),
    'offset': random.normal(size=HIDDEN),
    'out': random.normal(size=(HIDDEN, DIM)),
  }


TARGET_PARAMETERS = random_parameters(100)


def encode(parameters: Parameters, images: jax.Array, axis_name: str | None) -> jax.Array:
  """Linear, batch norm over the global batch, ReLU, linear: `[local, DIM]`."""

  def mean(x):
    local = jnp.mean(x, axis=0)
    return local if axis_name is None else jax.lax.pmean(local, axis_name)

  hidden = images @ parameters['hidden']
  centered = hidden - mean(hidden)
  normed = centered * jax.lax.rsqrt(mean(jnp.square(centered)) + 1e-5)
  return jax.nn.relu(normed * parameters['scale'] + parameters['offset']) @ parameters['out']


def every_result(
  cases: Mapping[str, Case],
  parameters: Parameters,
  inputs: Inputs,
  *,
  blocks: Iterable[int] = (WHOLE,),
  axis_name: str | None = None,
) -> dict[tuple[str, int], dict[str, Any]]:
  """Value, metrics and gradient of each case, by its name and block size.

  All of them are one program that holds the encoder once: a program a case, or a backward pass of
  the encoder a case, would take most of the suite's time to compile.

  Args:
    cases: what to call.
    parameters: of the encoder; the gradient is with respect to them.
    inputs: this device's rows, or all rows where `axis_name` is None.
    blocks: the block sizes, for the cases that take one.
    axis_name: as a caller inside `shard_map` or `pmap` passes it, who also averages gradients.
  """
  images = (inputs.image1, inputs.image2)
  views, pull_back = jax.vjp(
    lambda parameters: [encode(parameters, image, axis_name) for image in images], parameters
  )
  target1, target2 = (encode(TARGET_PARAMETERS, image, axis_name) for image in images)
  results, gradients = {}, {}
  for name, case in cases.items():
    for block_size in blocks if case.blocks else (WHOLE,):
      options = {} if block_size == WHOLE else {'block_size': block_size}

      def objective(views, case=case, options=options):
        view1, view2 = views
        batch = Batch(view1, view2, target1, target2, inputs.labels, inputs.weights)
        return case.call(batch, axis_name=axis_name, **options)

      (loss, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(views)
      exact = {key: x for key, x in metrics.items() if key not in case.discontinuous}
      results[name, block_size] = {'loss': loss, 'metrics': exact}
      gradients[name, block_size] = gradient

  stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *gradients.values())
  (stacked,) = jax.vmap(pull_back)(stacked)
  if axis_name is not None:
    stacked = jax.lax.pmean(stacked, axis_name)
  for index, key in enumerate(gradients):
    results[key]['gradient'] = jax.tree.map(lambda x, index=index: x[index], stacked)
  return results
