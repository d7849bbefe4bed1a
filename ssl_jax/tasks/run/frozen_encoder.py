"""Frozen encoders: of a run, of a file of weights, or untrained."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from ssl_jax import evaluation, models, views
from ssl_jax.arguments import ArgumentError, check_whole
from ssl_jax.config.flags import UsageError
from ssl_jax.data import ArraySource, Source
from ssl_jax.tasks.run import record, stored
from ssl_jax.tasks.run.experiment import Experiment
from ssl_jax.tasks.run.stored import StoredRun
from ssl_jax.training import TrainState, state
from ssl_jax.training import mesh as mesh_lib

LAYERS = ('encoder', 'projector')
PIXELS = 'pixels'  # before any network
_BATCH = 256

# Apart from the keys of training, which start from the run's seed.
_STREAM = 20_071

Chain = tuple[tuple[str, models.Network], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenEncoder:
  """An encoder with running statistics, and the head behind it where there is one.

  Attributes:
    networks: by layer, `encoder` and perhaps `projector`.
    variables: `{'params': {layer: tree}, 'batch_stats': {layer: tree}}` on every device.
    recipe: of views, and of how an image is resized and normalized.
    mesh: the devices that share a batch.
    seed: of the views.
  """

  networks: Mapping[str, models.Network]
  variables: dict[str, Any]
  recipe: views.Recipe
  mesh: Mesh
  seed: int

  def __call__(self, images: np.ndarray) -> np.ndarray:
    """The encoder's features, batch by batch on all devices.

    Args:
      images: uint8 [n, height, width, 3]; the central square of each is resized to the size that
        the run was trained with, and normalized as there.

    Returns:
      float32 [n, dim], on the host, in the order of the images.

    Raises:
      ValueError: the images have another dtype or shape, or there is none.
    """
    return self.features(ArraySource(np.asarray(images)), 'encoder')

  def digest(self, layer: str) -> str:
    """SHA-256 of all that features of a layer depend on but the images.

    That is the networks up to it and their variables, the recipe, and the seed of the views.

    Raises:
      ValueError: there is no such layer.
    """
    digest = hashlib.sha256(repr((self._chain(layer), self.recipe, self.seed)).encode())
    chosen = {
      part: {name: self.variables[part][name] for name in self._up_to(layer)}
      for part in ('params', 'batch_stats')
    }
    for name, leaf in models.flatten(chosen).items():
      array = np.asarray(leaf)
      digest.update(f'{name} {array.dtype} {array.shape}'.encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

  def features(self, source: Source, layer: str, *, whole: bool = False) -> np.ndarray:
    """Of the un-augmented images: float32 [n, dim], not normalized.

    The layer `PIXELS` is what the encoder is given, flattened. `whole` feeds images of any shape as
    they are, instead of squares of the recipe's size.

    Raises:
      ValueError: there is no such layer, or no image.
    """
    program = _unaugmented_program(self._chain(layer), self.recipe, self.mesh, whole)
    return self._extract(program, source)

  def view_features(self, source: Source, layer: str, count: int) -> np.ndarray:
    """Of `count` augmented views of each image: float32 [n, count * dim], view after view.

    View i of an image is a function of the seed, of i and of the image's position in the source, on
    any number of devices; so more views, and more images, begin with the same ones.

    Raises:
      ValueError: there is no such layer, no image, or `count` is below 1.
    """
    check_whole('count', count)
    program = _views_program(self._chain(layer), self.recipe, self.mesh, count)
    batches = itertools.count()
    position = lambda: np.array([self.seed, next(batches)], np.uint32)
    return self._extract(lambda *given: program(*given, position()), source)

  def _extract(self, program: Callable, source: Source) -> np.ndarray:
    # Batches of one size for any number of devices, since the views depend on it; what the devices
    # cannot share evenly is filled up for them alone.
    padding = -_BATCH % self.mesh.size

    def apply(images: np.ndarray) -> jax.Array:
      filled = np.concatenate([images, images[:1].repeat(padding, axis=0)]) if padding else images
      features = program(self.variables, mesh_lib.put(filled, mesh_lib.split(self.mesh)))
      return features[:_BATCH] if padding else features

    return evaluation.extract(apply, source, batch_size=_BATCH)

  def _chain(self, layer: str) -> Chain:
    return tuple((name, self.networks[name]) for name in self._up_to(layer))

  def _up_to(self, layer: str) -> tuple[str, ...]:
    if layer == PIXELS:
      return ()
    if layer not in self.networks:
      allowed = f'one of {", ".join(self.networks)}, the networks that are known'
      raise ArgumentError('--evaluate.layer', layer, allowed)
    names = tuple(self.networks)
    return names[: names.index(layer) + 1]


# Compiled once for all encoders of an architecture: the trained one, the untrained one, and every
# state that is looked at during training.
@functools.lru_cache(maxsize=8)
def _unaugmented_program(chain: Chain, recipe: views.Recipe, mesh: Mesh, whole: bool) -> Callable:
  prepare = views.whole if whole else views.unaugmented
  embed = lambda variables, images: _embed(chain, variables, prepare(recipe, images))
  return jax.jit(embed, out_shardings=_gathered(mesh))


@functools.lru_cache(maxsize=8)
def _views_program(chain: Chain, recipe: views.Recipe, mesh: Mesh, count: int) -> Callable:
  def embed(variables: dict[str, Any], images: jax.Array, position: jax.Array) -> jax.Array:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(_STREAM), position[0]), position[1])
    # A view at a time, so that many views of a batch need the memory of one.
    found: list[jax.Array] = []
    each = len(recipe.views)
    for number in range(-(-count // each)):
      augmented = views.apply(recipe, jax.random.fold_in(key, number), images)
      found += [_embed(chain, variables, augmented[:, view]) for view in range(each)]
    return jnp.concatenate(found[:count], axis=1)

  return jax.jit(embed, out_shardings=_gathered(mesh))


def _embed(chain: Chain, variables: dict[str, Any], images: jax.Array) -> jax.Array:
  for name, network in chain:
    own = {'params': variables['params'][name], 'batch_stats': variables['batch_stats'][name]}
    images, _ = network.apply(own, images, train=False)
  return images.reshape(len(images), -1)


def _gathered(mesh: Mesh) -> NamedSharding:
  """Split on the devices and joined on the host, so that there is no communication, while one
  process sees them all."""
  return mesh_lib.split(mesh) if jax.process_count() == 1 else mesh_lib.replicated(mesh)


def of_run(run: StoredRun) -> FrozenEncoder:
  """The online encoder and projection head of a run's checkpoint."""
  return of_state(run.experiment, run.state)


def load(run_dir: pathlib.Path) -> FrozenEncoder:
  """The encoder at the newest checkpoint of a run, from its folder alone: no data is read.

  Raises:
    UsageError: the folder holds no run, or no checkpoint that can be used.
    OSError: its files cannot be read.
  """
  config = stored.read_config(run_dir)
  found = record.checkpoints_of(run_dir).read()
  if found is None:
    raise record.without_checkpoint('--run_dir', run_dir)
  saved, _ = found
  mesh = mesh_lib.make_mesh()
  same = mesh_lib.replicated(mesh)
  variables = {
    part: {'encoder': jax.tree.map(lambda x: mesh_lib.put(x, same), saved[part]['encoder'])}
    for part in ('params', 'batch_stats')
  }
  networks, recipe = {'encoder': config.model.build()}, config.views.build(config.view_size)
  return FrozenEncoder(networks, variables, recipe, mesh, config.seed)


def untrained(experiment: Experiment) -> FrozenEncoder:
  """The encoder of a run before training."""
  initial = state.create(
    experiment.method,
    experiment.optimizer,
    experiment.config.seed,
    experiment.config.view_size,
    experiment.mesh,
  )
  return of_state(experiment, initial)


def of_weights(experiment: Experiment) -> FrozenEncoder:
  """The encoder in the file `--weights`, of the architecture that the flags describe.

  Raises:
    UsageError: the file holds another architecture.
    OSError: it cannot be read.
  """
  encoder = experiment.method.require_encoder()
  try:
    variables = models.load_weights(experiment.config.weights, encoder)
  except ValueError as error:
    raise UsageError(f'--weights: {error}; the --model flags must name its architecture') from error
  nested = {part: {'encoder': tree} for part, tree in variables.items()}
  same = mesh_lib.replicated(experiment.mesh)
  placed = jax.tree.map(lambda x: mesh_lib.put(x, same), nested)
  return FrozenEncoder(
    {'encoder': encoder}, placed, experiment.recipe, experiment.mesh, experiment.config.seed
  )


def of_state(experiment: Experiment, of: TrainState) -> FrozenEncoder:
  """The online encoder and projection head at any point of a run."""
  # What lies behind the head, a predictor or prototypes, is part of the loss.
  networks = {name: net for name, net in experiment.method.networks().items() if name in LAYERS}
  variables = {
    'params': {name: of.params[name] for name in networks},
    'batch_stats': {name: of.batch_stats[name] for name in networks},
  }
  return FrozenEncoder(
    networks, variables, experiment.recipe, experiment.mesh, experiment.config.seed
  )
