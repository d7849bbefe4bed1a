"""Batches that properties are tried on: random, and degenerate in the ways that real ones are."""

from typing import Any

import numpy as np

from tests.losses.cases import Batch

SIZE, DIM = 16, 6
EMBEDDINGS = ('view1', 'view2', 'target1', 'target2')


def random_batch(size: int, seed: int = 0, dtype: Any = float) -> Batch:
  """Views that resemble each other, as those of one image do; embeddings in `dtype`."""
  random = np.random.default_rng(seed)
  image, *noise = random.normal(size=(5, size, DIM))
  fields: dict[str, Any] = {
    name: image + 0.7 * x for name, x in zip(EMBEDDINGS, noise, strict=True)
  }
  fields['labels'] = random.permutation(np.arange(size) // 2 % 4).astype(np.int32)
  fields['weights'] = random.uniform(0.5, 1.5, size)
  return in_dtype(Batch(**fields), dtype)


def in_dtype(batch: Batch, dtype: Any) -> Batch:
  """All float arrays rounded to `dtype`; as NumPy arrays, so that float64 needs no flag."""
  fields, labels = split(batch)
  return join({name: np.asarray(x).astype(dtype) for name, x in fields.items()}, labels)


def map_embeddings(function: Any, batch: Batch) -> Batch:
  return batch._replace(**{name: function(getattr(batch, name)) for name in EMBEDDINGS})


def one_row(batch: Batch) -> Batch:
  """Every embedding of the batch is one and the same: collapse."""
  return batch._replace(**dict.fromkeys(EMBEDDINGS, batch.view1[:1].repeat(len(batch.view1), 0)))


def rows_in_pairs(batch: Batch) -> Batch:
  """Each image occurs twice, so that the hardest negative equals the positive."""
  return map_embeddings(lambda x: x[np.arange(len(x)) // 2 * 2], batch)


def some_zeros(batch: Batch) -> Batch:
  """Every fourth row is zero, in each array another, so that zeros meet what is not zero."""
  fields: dict[str, Any] = {name: np.array(getattr(batch, name)) for name in EMBEDDINGS}
  for start, name in enumerate(EMBEDDINGS):
    fields[name][start::4] = 0
  return batch._replace(**fields)


def all_zeros(batch: Batch) -> Batch:
  return map_embeddings(np.zeros_like, batch)


def opposite(batch: Batch) -> Batch:
  """Each positive is as far as can be."""
  return batch._replace(view2=-batch.view1, target1=batch.view1, target2=-batch.view1)


DEGENERATE = (one_row, rows_in_pairs, some_zeros, all_zeros, opposite)


def split(batch: Batch) -> tuple[dict[str, Any], Any]:
  """The fields that a gradient may be taken of, by name, and the labels."""
  fields = batch._asdict()
  return fields, fields.pop('labels')


def join(fields: dict[str, Any], labels: Any) -> Batch:
  return Batch(**fields, labels=labels)
