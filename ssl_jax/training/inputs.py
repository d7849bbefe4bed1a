"""Turns the stored images of a batch into augmented views, local crops and labels for a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax import views
from ssl_jax.data import ArraySource
from ssl_jax.methods import Batch, Method
from ssl_jax.training.class_pairs import class_table, draw_partners


def stored_rows(method: Method, train: ArraySource, *, same_class: bool = False) -> dict[str, Any]:
  """The training images, and their labels if the method uses them, one row an image.

  Args:
    method: says whether it uses labels.
    train: the images.
    same_class: whether second views may be of another image of the class, see `gather_pairs`.

  Raises:
    ArgumentError: they may, and there are no labels.
  """
  rows: dict[str, Any] = {'images': train.images}
  if method.needs_labels and train.labels is not None:
    rows['labels'] = train.labels
  if same_class:
    rows['classes'] = class_table(train.labels)
  return rows


def gather_pairs(
  probability: float, key: jax.Array, stored: Mapping[str, Any], rows: jax.Array
) -> dict[str, jax.Array]:
  """The rows of a batch, with 'partners', the images that second views are made of.

  Args:
    probability: that a partner is another image of the class, see `draw_partners`.
    key: typed PRNG key of the batch.
    stored: of `stored_rows` with `same_class`.
    rows: int32 `[batch]`.
  """
  partners = draw_partners(probability, key, stored['classes'], rows)
  batch = {name: array[rows] for name, array in stored.items() if name != 'classes'}
  return {**batch, 'partners': stored['images'][partners]}


def augment(
  method: Method, recipe: views.Recipe, key: jax.Array, rows: Mapping[str, jax.Array]
) -> Batch:
  """Draws the views of a batch: a function of the key and of positions in the batch.

  Args:
    method: that takes the batch; says whether it needs the images without augmentation.
    recipe: the distribution of views.
    key: typed PRNG key of the batch.
    rows: of `stored_rows`: 'images', uint8 `[batch, height, width, 3]`, and 'labels', int32
      `[batch]`, if any; of `gather_pairs` also 'partners', like 'images'.
  """
  images, local_crops, unaugmented = rows['images'], None, None
  if recipe.local_crops:
    local_crops = views.apply(recipe.local_crops, jax.random.fold_in(key, 1), images)
  if method.needs_unaugmented:
    unaugmented = views.unaugmented(recipe, images)
  if 'partners' in rows:
    drawn = _views_of_pairs(recipe, key, images, rows['partners'])
  else:
    drawn = views.apply(recipe, key, images)
  return Batch(drawn, local_crops, unaugmented, rows.get('labels'))


def _views_of_pairs(
  recipe: views.Recipe, key: jax.Array, images: jax.Array, partners: jax.Array
) -> jax.Array:
  alone = [dataclasses.replace(recipe, views=(view,), local_crops=None) for view in recipe.views]
  first = views.apply(alone[0], jax.random.fold_in(key, 2), images)
  second = views.apply(alone[1], jax.random.fold_in(key, 3), partners)
  return jnp.concatenate([first, second], axis=1)
