"""What a protocol returns: scores for the table, and what its pictures are drawn of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ssl_jax.reporting import Figure
from ssl_jax.tasks.protocols.context import EvalContext

# What the encoder of a run, and the one it started from, are called in tables.
TRAINED, UNTRAINED = 'trained', 'untrained'


class Score(NamedTuple):
  """A number of the table; `percent` is a fraction from 0 to 1 that is written in percent."""

  value: float
  better: str | None = None
  percent: bool = False


def share(value: float) -> Score:
  """An accuracy, or another fraction of which more is better."""
  return Score(float(value), 'max', percent=True)


def higher(value: float) -> Score:
  """A number of which more is better."""
  return Score(float(value), 'max')


def lower(value: float) -> Score:
  """A number of which less is better."""
  return Score(float(value), 'min')


def plain(value: float) -> Score:
  """A number that is neither good nor bad."""
  return Score(float(value))


@dataclasses.dataclass(frozen=True)
class Measurement:
  """Of one encoder by one protocol.

  Attributes:
    scores: by name, in the order of the table.
    plot_data: arrays that pictures are drawn of.
    details: what evaluation.json keeps besides the scores.
  """

  scores: dict[str, Score]
  plot_data: dict[str, Any] = dataclasses.field(default_factory=dict)
  details: dict[str, Any] = dataclasses.field(default_factory=dict)


class Taken(NamedTuple):
  """A measurement and what it was taken of."""

  context: EvalContext
  measurement: Measurement


Draw = Callable[[Mapping[str, Taken]], Iterator[Figure]]


class Protocol(NamedTuple):
  """One thing that can be measured.

  Attributes:
    measure: of one encoder; a ValueError is the user's, and other protocols go on.
    draw: the pictures of measurements by the name of the encoder; the first is the one judged.
    baseline: whether the untrained encoder is worth the time.
  """

  measure: Callable[[EvalContext], Measurement]
  draw: Draw | None = None
  baseline: bool = True
