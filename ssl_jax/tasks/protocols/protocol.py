"""The declaration of a protocol: its name, its settings, its function, and what that returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ssl_jax.arguments import ArgumentError, nearest
from ssl_jax.config import Config
from ssl_jax.config.flags import UsageError
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
  """The result of one protocol on one encoder.

  Attributes:
    scores: by name, in the order of the table.
    plot_data: arrays that figures are drawn from.
    details: what evaluation.json holds besides the scores.
  """

  scores: dict[str, Score]
  plot_data: dict[str, Any] = dataclasses.field(default_factory=dict)
  details: dict[str, Any] = dataclasses.field(default_factory=dict)


class Result(NamedTuple):
  """A measurement with the encoder and the data that it is of."""

  context: EvalContext
  measurement: Measurement


Measure = Callable[[EvalContext], Measurement]
# The figures of results by the name of the encoder, the trained encoder first.
Draw = Callable[[Mapping[str, Result]], Iterator[Figure]]


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A registered protocol.

  Attributes:
    name: what `--protocols` calls it.
    help: a noun phrase for `--help`.
    measure: measures one encoder; its ValueError is reported and other protocols go on.
    settings: the flags that it reads, besides those of all protocols.
    online: the scores that training can log, as metrics `NAME/SCORE`; empty for none.
    draw: draws the results of several encoders.
    aliases: names it had before, accepted until 0.3.
  """

  name: str
  help: str
  measure: Measure
  settings: tuple[str, ...] = ()
  online: tuple[str, ...] = ()
  draw: Draw | None = None
  aliases: tuple[str, ...] = ()


# By name, in the order of declaration; `protocol` fills it.
PROTOCOLS: dict[str, Protocol] = {}


def protocol(
  name: str,
  *,
  help: str,
  settings: Iterable[str] = (),
  online: Iterable[str] = (),
  draw: Draw | None = None,
  aliases: Iterable[str] = (),
) -> Callable[[Measure], Measure]:
  """Declares the function below it as the protocol `name`; for the arguments see `Protocol`.

  Raises:
    ValueError: the name, or an alias, is that of another protocol.
  """

  def register(measure: Measure) -> Measure:
    declared = Protocol(name, help, measure, tuple(settings), tuple(online), draw, tuple(aliases))
    for word in (name, *declared.aliases):
      if word == 'all' or canonical_name(word) in PROTOCOLS:
        raise ValueError(f'name: found {word}, must not be the name of another protocol')
    PROTOCOLS[name] = declared
    return measure

  return register


def canonical_name(word: str) -> str:
  """The name of the protocol that had the name `word` before; any other word as it is."""
  return next((name for name, one in PROTOCOLS.items() if word in one.aliases), word)


def chosen_protocols(words: Iterable[str]) -> tuple[str, ...]:
  """The protocols that a list of words names, each once, with `all` and older names resolved."""
  words = tuple(words)
  names = tuple(PROTOCOLS) if 'all' in words else map(canonical_name, words)
  return tuple(dict.fromkeys(names))


def check_protocols(config: Config) -> None:
  """Requires the names of registered protocols in `--protocols` and `--online_metrics.names`.

  Configurations only hold lists of words, so that they need not import the protocols.

  Raises:
    UsageError: a word is no protocol, or none that the task measures.
  """
  online = tuple(name for name, one in PROTOCOLS.items() if one.online)
  _check_words('online_metrics.names', config.online_metrics.names, online)
  if config.task == 'pretrain':
    _check_words('protocols', config.protocols, ('knn',), '; others belong to --task=evaluate')
  else:
    if config.task == 'evaluate' and not config.protocols:
      raise UsageError('--protocols: found none, must be at least one; --help=evaluate lists them')
    _check_words('protocols', config.protocols, ('all', *PROTOCOLS))


def _check_words(flag: str, words: Iterable[str], allowed: tuple[str, ...], more: str = '') -> None:
  for word in words:
    if canonical_name(word) not in allowed:
      listed = f'a list of: {", ".join(allowed)}{more}'
      raise UsageError(str(ArgumentError(f'--{flag}', word, listed, nearest(word, allowed, 1))))
