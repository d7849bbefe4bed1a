"""Draws another training image of the same class for images of a batch; an oracle, as labels say
which."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.arguments import ArgumentError


class ClassTable(NamedTuple):
  """The images of each class, int32 `[n]` each.

  Attributes:
    members: all images, those of a class next to each other.
    start: for each image, where its class begins in `members`.
    size: how many images its class has.
    rank: its own position among them.
  """

  members: Any
  start: Any
  size: Any
  rank: Any


def class_table(labels: np.ndarray | None) -> ClassTable:
  """The table of int `[n]` labels; a negative label is a class of one image.

  Raises:
    ArgumentError: there are no labels.
  """
  if labels is None:
    raise ArgumentError('same_class_prob', 'images without labels', '0')
  count = len(labels)
  classes = np.where(labels < 0, labels.max(initial=0) + 1 + np.arange(count), labels)
  members = np.argsort(classes, kind='stable')
  _, first, which, sizes = np.unique(
    classes[members], return_index=True, return_inverse=True, return_counts=True
  )
  sorted_columns = (first[which], sizes[which], np.arange(count) - first[which])
  columns = [np.empty(count, np.int32) for _ in sorted_columns]
  for column, values in zip(columns, sorted_columns, strict=True):
    column[members] = values
  return ClassTable(members.astype(np.int32), *columns)


def draw_partners(
  probability: float, key: jax.Array, table: ClassTable, rows: jax.Array
) -> jax.Array:
  """For each image another one of its class with the given probability, otherwise itself.

  Args:
    probability: between 0 and 1.
    key: typed PRNG key.
    table: of the labels of all images.
    rows: int32 `[batch]`, the images.

  Returns:
    int32 `[batch]`. All other images of the class are equally likely; an image that is alone in its
    class gets itself.
  """
  members, *columns = map(jnp.asarray, table)
  start, size, rank = (column[rows] for column in columns)
  shift = jax.random.randint(jax.random.fold_in(key, 0), rows.shape, 0, jnp.maximum(size - 1, 1))
  other = members[start + (rank + 1 + shift) % size]
  swapped = jax.random.bernoulli(jax.random.fold_in(key, 1), probability, rows.shape)
  return jnp.where(swapped, other, rows)
