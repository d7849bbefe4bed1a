"""Turns the stored images of a batch into augmented views, local crops and labels for a method."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from ssl_jax import views
from ssl_jax.data import ArraySource
from ssl_jax.methods import Batch, Method


def stored_rows(method: Method, train: ArraySource) -> dict[str, np.ndarray]:
  """The training images, and their labels if the method uses them, one row an image."""
  rows = {'images': train.images}
  if method.needs_labels and train.labels is not None:
    rows['labels'] = train.labels
  return rows


def augment(
  method: Method, recipe: views.Recipe, key: jax.Array, rows: Mapping[str, jax.Array]
) -> Batch:
  """Draws the views of a batch: a function of the key and of positions in the batch.

  Args:
    method: that takes the batch; says whether it needs the images without augmentation.
    recipe: the distribution of views.
    key: typed PRNG key of the batch.
    rows: of `stored_rows`: 'images', uint8 `[batch, height, width, 3]`, and 'labels', int32
      `[batch]`, if any.
  """
  images, local_crops, unaugmented = rows['images'], None, None
  if recipe.local_crops:
    local_crops = views.apply(recipe.local_crops, jax.random.fold_in(key, 1), images)
  if method.needs_unaugmented:
    unaugmented = views.unaugmented(recipe, images)
  return Batch(views.apply(recipe, key, images), local_crops, unaugmented, rows.get('labels'))
