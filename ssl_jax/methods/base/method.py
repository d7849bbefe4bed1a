"""The base class of methods: networks, embeddings of the views, and a loss of the embeddings."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError, check_settings, expand_paths, setting
from ssl_jax.methods.base.batch import Batch, Embeddings, Metrics, feature_std
from ssl_jax.models import Network

Variables = dict[str, Any]


# Declares a field of a method, which becomes the flag `--method.FIELD`.
hyperparameter = setting


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
  """A self-supervised method; hashable, so it can be a static argument of `jit`.

  Sub-classes give `name`, `validate` (of their fields), `networks`, `embed` and
  `loss_from_embeddings`.

  Attributes:
    encoder: the network that is trained; set by `setup`.
    total_steps: forward batches of the run, for schedules; set by `setup`.
    class_counts: training images of each class; empty without labels; set by `setup`.
  """

  name: ClassVar[str]
  # 'none', 'stop_gradient' (targets are the online networks' own), or 'ema'.
  target_network: ClassVar[str] = 'none'
  # The networks of which the target holds a moving average.
  averaged_networks: ClassVar[tuple[str, ...]] = ()
  # What a batch must bring besides views.
  needs_labels: ClassVar[bool] = False
  needs_unaugmented: ClassVar[bool] = False

  encoder: Network | None = dataclasses.field(
    default=None, kw_only=True, repr=False, metadata={'flag': False}
  )
  total_steps: int = dataclasses.field(default=0, kw_only=True, metadata={'flag': False})
  class_counts: tuple[int, ...] = dataclasses.field(
    default=(), kw_only=True, repr=False, metadata={'flag': False}
  )

  def __post_init__(self) -> None:
    expand_paths(self)
    self.validate()

  def validate(self) -> None:
    """Checks the hyper-parameters as they are declared; sub-classes add how they fit each other.

    Raises:
      ArgumentError: naming the hyper-parameter.
    """
    check_settings(self)

  def validate_batch(self, batch_size: int, view_size: int) -> None:
    """Raises an ArgumentError for a hyper-parameter that does not fit batches of such views."""
    del batch_size, view_size

  @abc.abstractmethod
  def networks(self) -> Mapping[str, Network]:
    """The online networks by name, 'encoder' first, each fed with the output of the one before."""

  @abc.abstractmethod
  def embed(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[Embeddings, dict[str, Any]]:
    """Runs the networks on the views.

    Args:
      variables: see `init`.
      batch: the batch, or bare views: float32 `[batch, 2, height, width, 3]`, normalized.
      step: forward batches before this one.
      key: typed PRNG key of this batch.

    Returns:
      The embeddings, and `{'batch_stats': ..., 'method_state': ...}` after the batch.

    Raises:
      ValueError: the views have another shape.
    """

  @abc.abstractmethod
  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    """The loss of embeddings, and its metrics, float32 scalars."""

  def setup(self, *, encoder: Network, total_steps: int, class_counts: Iterable[int] = ()) -> Self:
    """The method with its encoder, the forward batches of the run and the images of each class.

    Raises:
      ValueError: the method uses labels and there are none.
    """
    counts = tuple(int(count) for count in class_counts)
    if self.needs_labels and not counts:
      raise ArgumentError(
        'name', f'{self.name} on images without labels', 'a method that needs none'
      )
    return dataclasses.replace(self, encoder=encoder, total_steps=total_steps, class_counts=counts)

  def init(self, key: chex.PRNGKey, images: chex.Array) -> Variables:
    """Draws the variables, a function of the key and the method alone.

    Args:
      key: typed PRNG key.
      images: float32 `[batch, height, width, 3]`; only the shape is used.

    Returns:
      `params` and `batch_stats`, each with one sub-tree a network; `target`, copies of the
      sub-trees of `params` that are averaged; and `method_state`, all other state of training.
    """
    params, batch_stats = {}, {}
    inputs = jnp.asarray(images)
    for index, (name, network) in enumerate(self.networks().items()):
      drawn = network.init(jax.random.fold_in(key, index), inputs)
      params[name], batch_stats[name] = drawn['params'], drawn['batch_stats']
      inputs = jnp.zeros((inputs.shape[0], network.out_features), network.out_dtype)
    # Copies: a training state that is donated must not hold one buffer twice.
    target = {name: jax.tree.map(jnp.copy, params[name]) for name in self.averaged_networks}
    return {'params': params, 'batch_stats': batch_stats, 'target': target, 'method_state': {}}

  def loss(
    self, variables: Variables, batch: Batch | chex.Array, step: chex.Numeric, key: chex.PRNGKey
  ) -> tuple[jax.Array, tuple[dict[str, Any], Metrics]]:
    """`embed`, then `loss_from_embeddings`.

    Returns:
      `(loss, (new_state, metrics))`. Beside those of the method, the metrics have `embedding_std`,
      the spread of the normalized online embeddings: about 1 when they fill the sphere, 0 when they
      collapse.
    """
    embeddings, new_state = self.embed(variables, batch, step, key)
    loss, metrics = self.loss_from_embeddings(embeddings, variables, step)
    return loss, (new_state, {**metrics, 'embedding_std': feature_std(embeddings.online)})

  def target_momentum(self, step: chex.Numeric) -> jax.Array:
    """The momentum of the moving average, for the update after forward batch `step` (from 0).

    Raises:
      ValueError: the method has no moving average, or `setup` was not called.
    """
    raise ArgumentError('name', self.name, 'a method with a moving average')

  def features(self, variables: Variables, images: chex.Array) -> jax.Array:
    """The encoder's output with running statistics, for evaluation.

    Args:
      variables: see `init`.
      images: float32 `[batch, height, width, 3]`, normalized.

    Returns:
      Float32 `[batch, encoder.out_features]`.
    """
    features, _ = self.apply_networks(
      ('encoder',), variables['params'], variables['batch_stats'], images, train=False
    )
    return features

  def apply_networks(
    self, names: Iterable[str], params: Any, batch_stats: Any, x: chex.Array, *, train: bool = True
  ) -> tuple[jax.Array, dict[str, Any]]:
    """Feeds `x` through the named networks; returns the output and all statistics after it."""
    networks, batch_stats = self.networks(), dict(batch_stats)
    for name in names:
      variables = {'params': params[name], 'batch_stats': batch_stats[name]}
      x, batch_stats[name] = networks[name].apply(variables, x, train=train)
    return jnp.asarray(x), batch_stats

  def require_encoder(self) -> Network:
    """The encoder; ValueError before `setup`."""
    if self.encoder is None:
      raise ArgumentError('encoder', None, 'set by setup(encoder=..., ...)')
    return self.encoder

  def run_progress(self, step: chex.Numeric) -> jax.Array:
    """The fraction of the run's forward batches done before `step`; 1 where a run is extended.

    Raises:
      ValueError: `setup` was not called.
    """
    return jnp.minimum(jnp.asarray(step, float) / self.require_total_steps(), 1.0)

  def require_total_steps(self) -> int:
    """The forward batches of the run; ValueError before `setup`."""
    if self.total_steps < 1:
      raise ArgumentError('total_steps', self.total_steps, '>= 1; set it by setup(...)')
    return self.total_steps

  def require(self, field: str, condition: bool, allowed: str) -> None:
    """Raises an ArgumentError about a hyper-parameter unless `condition`."""
    if not condition:
      raise ArgumentError(field, getattr(self, field), allowed)
