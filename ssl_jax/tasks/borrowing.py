"""The encoder of another run, for methods that use one as it is."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import jax

from ssl_jax.flag_parsing import UsageError
from ssl_jax.tasks import folder
from ssl_jax.tasks.assembly import Assembly
from ssl_jax.training import Checkpoints, TrainState
from ssl_jax.training import mesh as mesh_lib


def with_borrowed_encoder(
  parts: Assembly, state: TrainState, say: Callable[[str], None]
) -> TrainState:
  """`state` with the newest encoder of the run that the method borrows from in its `extra`.

  Raises:
    UsageError: there is no such run, it has no checkpoint, or its encoder is another one.
    OSError: its files cannot be read.
  """
  run = pathlib.Path(parts.method.borrows_from)
  kept = run / folder.CHECKPOINTS
  if not kept.is_dir():
    raise UsageError(f'--method: {run} is not the folder of a run, it has no {folder.CHECKPOINTS}/')
  found = Checkpoints(kept, read_only=True, report=say).read()
  if found is None:
    raise UsageError(f'--method: {run} has no checkpoint that can be used')
  stored, step = found
  same = mesh_lib.replicated(parts.mesh)
  borrowed = []
  for part, own in (('params', state.params), ('stats', state.stats)):
    theirs = stored.get(part, {}).get('encoder')
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)
    if shapes(theirs) != shapes(own['encoder']):
      raise UsageError(
        f'--method: the encoder of {run} is not the one of this run '
        f'({parts.config.model.name}, width {parts.config.model.width})'
      )
    borrowed.append(jax.tree.map(lambda x: mesh_lib.put(x, same), theirs))
  say(f'prior     the encoder of {run} at step {step}, frozen')
  return dataclasses.replace(state, extra=parts.method.lend(state.extra, *borrowed))
