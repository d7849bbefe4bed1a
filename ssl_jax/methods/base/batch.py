"""The images of a batch, the embeddings of its views, and the spread of embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from ssl_jax.arguments import ArgumentError
from ssl_jax.losses import l2_normalize

Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """The images of a batch, the input of a method; only `views` is always there.

  Attributes:
    views: float32 `[batch, 2, height, width, 3]`, normalized; both are targets and predictions.
    local_crops: `[batch, crop, h, w, 3]`, smaller crops that are predictions only (multi-crop).
    unaugmented: `[batch, height, width, 3]`, the un-augmented images.
    labels: int32 `[batch]`, for methods that use them as an oracle; -1 of an image without a label.
  """

  views: jax.Array
  local_crops: jax.Array | None = None
  unaugmented: jax.Array | None = None
  labels: jax.Array | None = None

  @property
  def num_images(self) -> int:
    return self.views.shape[0]


def as_batch(batch: Batch | chex.Array) -> Batch:
  """A batch, from one or from bare views.

  Raises:
    ValueError: the views are not two an image, or local crops are not of the same images.
  """
  if not isinstance(batch, Batch):
    batch = Batch(jnp.asarray(batch))
  shape = jnp.shape(batch.views)
  if len(shape) != 5 or shape[1] != 2:
    raise ArgumentError('views', f'shape {shape}', '[batch, 2, height, width, channel]')
  if batch.local_crops is not None:
    local = jnp.shape(batch.local_crops)
    if len(local) != 5 or local[0] != shape[0]:
      raise ArgumentError(
        'local_crops', f'shape {local}', f'[{shape[0]}, crop, height, width, channel]'
      )
  return batch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embeddings:
  """For each view, what carries the gradient and what other views are compared with.

  Attributes:
    online: one `[batch, dim]` array a view, with gradient; local crops come last.
    target: one `[batch, dim]` array for each of the two views: the view as a target. A method
      without a target network has the online arrays here.
    context: whatever else the loss needs of this batch, by name.
  """

  online: tuple[jax.Array, ...]
  target: tuple[jax.Array, ...]
  context: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def flatten_views(views: jax.Array) -> jax.Array:
  """`[batch, view, ...]` to `[batch * view, ...]`, image-major.

  Putting the views one after the other instead would move them between devices.
  """
  return views.reshape(-1, *views.shape[2:])


def unflatten_views(rows: jax.Array, num_views: int) -> list[jax.Array]:
  """The inverse of `flatten_views`, as one `[batch, ...]` array a view."""
  rows = rows.reshape(-1, num_views, *rows.shape[1:])
  return [rows[:, index] for index in range(num_views)]


def feature_std(embeddings: Iterable[jax.Array]) -> jax.Array:
  """The standard deviation of normalized embeddings, averaged over views; without gradient.

  Args:
    embeddings: `[batch, dim]` arrays.

  Returns:
    The standard deviation over the batch of each coordinate of the normalized embeddings, averaged
    over coordinates and times sqrt(dim) (Chen and He, CVPR 2021, section 4.1).
  """
  spreads = []
  for view in embeddings:
    unit = l2_normalize(jax.lax.stop_gradient(view))
    spreads.append(jnp.mean(jnp.std(unit, axis=0)) * unit.shape[-1] ** 0.5)
  return jnp.mean(jnp.stack(spreads))
