"""Every public loss as the harness calls it: one case for each way a loss takes its arguments.

`test_losses_on_devices.py`, `test_two_processes.py` and `test_properties.py` run over them. A loss
that is public and in no case fails `test_cases.py`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Batch(NamedTuple):
  """What a case may use of a batch: arrays whose leading axis is the (local) batch."""

  view1: jax.Array  # [batch, dim], carries the gradient
  view2: jax.Array  # [batch, dim], carries the gradient
  target1: jax.Array  # [batch, dim], another network's embedding of view 1
  target2: jax.Array  # [batch, dim], and of view 2
  labels: jax.Array  # [batch] int32, few classes, each more than once
  weights: jax.Array  # [batch] positive


Result = tuple[jax.Array, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Case:
  """One way of calling a loss.

  Attributes:
    call: `call(batch, **options) -> (loss, metrics)`. It passes the options on to the loss:
      `axis_name`, `block_size` where `blocks`, and the loss's own `temperature` and the like, which
      override what the case has chosen.
    names: the public names it exercises, first of them the loss that takes the options.
    blocks: whether the loss takes `block_size`.
    scale_free: whether the loss does not change when a row is multiplied by a positive number.
    permutable: whether one permutation of all rows of the batch leaves the loss as it is.
    stopped: fields of `Batch` whose gradient must be exactly zero.
    smooth: whether the loss is differentiable at random inputs, so that numeric derivatives agree.
    minimum: the least batch it accepts, where that is more than 2.
    discontinuous: metrics that rounding may flip, left out of comparisons.
  """

  call: Callable[..., Result]
  names: tuple[str, ...]
  blocks: bool = False
  scale_free: bool = True
  permutable: bool = True
  stopped: tuple[str, ...] = ()
  smooth: bool = True
  minimum: int = 2
  discontinuous: tuple[str, ...] = ('contrast_accuracy',)


def themes() -> dict[str, dict[str, Case]]:
  """The cases by theme, each theme a file of this folder, and name."""
  from tests.losses.cases import adjuster, clustering, contrastive, redundancy, triplet

  modules: tuple[Any, ...] = (contrastive, triplet, clustering, adjuster, redundancy)
  return {module.__name__.rpartition('.')[2]: module.CASES for module in modules}


def all_cases() -> dict[str, Case]:
  """The cases of every theme by name."""
  cases: dict[str, Case] = {}
  for theme in themes().values():
    assert not cases.keys() & theme.keys(), cases.keys() & theme.keys()
    cases.update(theme)
  return cases
