"""Cuts rows into blocks of bounded size for loops, and joins the results."""

from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar('Tree')


def count(num_rows: int, block_size: int) -> int:
  """The number of blocks of at most `block_size` rows that hold `num_rows`."""
  return -(-num_rows // block_size)


def split(rows: Tree, num_blocks: int) -> tuple[Tree, jax.Array | None]:
  """Arrays `[rows, ...]` to `[num_blocks, block, ...]`, and which rows of the blocks are real.

  Block b holds the rows b, b + num_blocks, b + 2 * num_blocks and so on. A block of consecutive
  rows would lie on one device wherever the rows are sharded; one of every n-th row lies on all of
  them, so that sharded programs stay sharded inside the loop.

  Returns:
    The blocks, and a bool array `[num_blocks, block]` that is False for rows added to fill the last
    blocks; None where there are none.
  """
  num_rows = jax.tree.leaves(rows)[0].shape[0]
  block = count(num_rows, num_blocks)
  missing = block * num_blocks - num_rows

  def cut(x: jax.Array) -> jax.Array:
    if missing:
      x = jnp.concatenate([x, jnp.broadcast_to(x[:1], (missing, *x.shape[1:]))])
    return jnp.swapaxes(x.reshape(block, num_blocks, *x.shape[1:]), 0, 1)

  blocks = jax.tree.map(cut, rows)
  if not missing:
    return blocks, None
  return blocks, jnp.arange(block)[None] * num_blocks + jnp.arange(num_blocks)[:, None] < num_rows


def join(blocks: Tree, num_rows: int) -> Tree:
  """The inverse of `split`: `[num_blocks, block, ...]` to `[num_rows, ...]`."""

  def glue(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])[:num_rows]

  return jax.tree.map(glue, blocks)
