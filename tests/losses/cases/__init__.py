"""The table of losses that tests and `benchmarks/losses.py` share: a case for each way to call one.

`test_losses_on_devices.py`, `test_two_processes.py` and `test_properties.py` run over all cases,
`test_memory.py` and the benchmark over those with a matrix. A public loss without a case fails
`test_cases.py`. The default tier of the tests runs the full matrix of devices, dtypes and batches
over the cases that are `representative`; the large tier, over all.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Batch(NamedTuple):
  """What a case may use of a batch: arrays whose leading axis is the (local) batch."""

  view1: Any  # [batch, dim], carries the gradient
  view2: Any  # [batch, dim], carries the gradient
  target1: Any  # [batch, dim], another network's embedding of view 1
  target2: Any  # [batch, dim], and of view 2
  labels: Any  # [batch] int32, few classes, each more than once
  weights: Any  # [batch] positive


Result = tuple[jax.Array, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Matrix:
  """How the memory and time of a case are measured at full size.

  Attributes:
    elements: `elements(batch, dim)` of the largest array in the definition of the loss.
    label: of the row in the benchmark's tables; by default the name of the loss.
    call: the loss in place of the case's own call, where that is made for small batches.
  """

  elements: Callable[[int, int], int]
  label: str = ''
  call: Callable[..., Result] | None = None


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
    one_image: whether nothing is compared with other images, so that a batch of one is accepted.
    minimum: the least batch it accepts, where that is more than 2.
    derived: whether it computes arrays of its own, such as a mask, of fields of the batch, which
      therefore cannot be spoilt.
    discontinuous: metrics that rounding may flip, left out of comparisons.
    representative: whether the case stands for others of the same code path in the default tier.
    matrix: how time and memory are measured; None for a loss without a matrix, or a case whose loss
      another case measures.
  """

  call: Callable[..., Result]
  names: tuple[str, ...]
  blocks: bool = False
  scale_free: bool = True
  permutable: bool = True
  stopped: tuple[str, ...] = ()
  smooth: bool = True
  one_image: bool = False
  minimum: int = 2
  derived: bool = False
  discontinuous: tuple[str, ...] = ('contrast_accuracy',)
  representative: bool = False
  matrix: Matrix | None = None


def two_views(batch: int, _dim: int) -> int:
  """All embeddings of two views against each other."""
  return 4 * batch**2


def one_view(batch: int, _dim: int) -> int:
  """One view against another."""
  return batch**2


def one_against_two_views(batch: int, _dim: int) -> int:
  """One view against all embeddings of two views."""
  return 2 * batch**2


def themes() -> dict[str, dict[str, Case]]:
  """The cases by theme and name: `CASES` of each file of this folder."""
  names = sorted(module.name for module in pkgutil.iter_modules(__path__))
  return {name: importlib.import_module(f'{__name__}.{name}').CASES for name in names}


def all_cases() -> dict[str, Case]:
  """The cases of every theme by name."""
  cases: dict[str, Case] = {}
  for theme in themes().values():
    assert not cases.keys() & theme.keys(), cases.keys() & theme.keys()
    cases.update(theme)
  return cases


def representatives() -> dict[str, Case]:
  """The cases that the default tier runs the full matrix of devices and dtypes over."""
  return {name: case for name, case in all_cases().items() if case.representative}


def measured() -> dict[str, Case]:
  """The cases with a matrix, by the label of their row; each `call` is the one to measure."""
  return {
    case.matrix.label or case.names[0]: dataclasses.replace(
      case, call=case.matrix.call or case.call
    )
    for case in all_cases().values()
    if case.matrix
  }
