"""The declaration of a protocol: its name, its settings, its function, and what that returns."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ssl_jax.arguments import ArgumentError, nearest
from ssl_jax.config import Config, default_flags, parser
from ssl_jax.config.flags import COMMAND_LINE, UsageError
from ssl_jax.data.loading import SOURCES
from ssl_jax.reporting import Figure
from ssl_jax.tasks.protocols.context import EvalContext

# What the encoder of a run, and the one it started from, are called in tables.
TRAINED, UNTRAINED = 'trained', 'untrained'


class Score(NamedTuple):
  """A number of the table.

  Attributes:
    value: the number.
    better: 'max', 'min' or None.
    percent: whether it is a fraction from 0 to 1 that is written in percent.
    reason: why the number means nothing on these images; it is then not shown.
  """

  value: float
  better: str | None = None
  percent: bool = False
  reason: str = ''


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
    notes: what was done otherwise than the defaults say, a sentence each.
  """

  scores: dict[str, Score]
  plot_data: dict[str, Any] = dataclasses.field(default_factory=dict)
  details: dict[str, Any] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    for name, score in self.scores.items():
      reason = score.reason or ('' if math.isfinite(score.value) else f'it is {score.value}')
      if reason:
        self.scores[name] = score._replace(value=math.nan, reason=reason)


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
    classes_of: the split whose classes it tells apart, 'train' or 'test'. It is then given labeled
      images alone, and refuses fewer than two classes.
    online: the scores that training can log, as metrics `NAME/SCORE`; empty for none.
    draw: draws the results of several encoders.
    aliases: names it had before, accepted until 0.3.
    needs: the one of `settings` without which it measures nothing; '' for none.
  """

  name: str
  help: str
  measure: Measure
  settings: tuple[str, ...] = ()
  classes_of: str = ''
  online: tuple[str, ...] = ()
  draw: Draw | None = None
  aliases: tuple[str, ...] = ()
  needs: str = ''


# By name, in the order of declaration; `protocol` fills it.
PROTOCOLS: dict[str, Protocol] = {}


def protocol(
  name: str,
  *,
  help: str,
  settings: Iterable[str] = (),
  classes_of: str = '',
  online: Iterable[str] = (),
  draw: Draw | None = None,
  aliases: Iterable[str] = (),
  needs: str = '',
) -> Callable[[Measure], Measure]:
  """Declares the function below it as the protocol `name`; for the arguments see `Protocol`.

  Raises:
    ValueError: the name, or an alias, is that of another protocol.
  """

  def register(measure: Measure) -> Measure:
    run = _of_classes(measure, classes_of) if classes_of else measure
    declared = Protocol(
      name, help, run, tuple(settings), classes_of, tuple(online), draw, tuple(aliases), needs
    )
    for word in (name, *declared.aliases):
      if word == 'all' or canonical_name(word) in PROTOCOLS:
        raise ArgumentError('name', word, 'a name of its own, not that of another protocol')
    PROTOCOLS[name] = declared
    return measure

  return register


def _of_classes(measure: Measure, split: str) -> Measure:
  """`measure` of the labeled images alone, of two classes or more."""

  @functools.wraps(measure)
  def of_labeled(context: EvalContext) -> Measurement:
    labeled = context.labeled
    labeled.require_classes(split)
    found = measure(labeled)
    if len(labeled.labels('test')) > 1:
      return found
    return dataclasses.replace(found, notes=(*found.notes, 'measured on a single test image'))

  return of_labeled


def canonical_name(word: str) -> str:
  """The name of the protocol that had the name `word` before; any other word as it is."""
  return next((name for name, one in PROTOCOLS.items() if word in one.aliases), word)


def chosen_protocols(words: Iterable[str], left_out: Iterable[str] = ()) -> tuple[str, ...]:
  """The protocols that a list of words names, each once, with `all` and older names resolved.

  Args:
    words: names of protocols, or `all`.
    left_out: those that `all` does not stand for, as `lacking` says.
  """
  words = tuple(words)
  names = {canonical_name(word): None for word in words if word != 'all'}
  if 'all' in words:
    return tuple(name for name in PROTOCOLS if name in names or name not in left_out)
  return tuple(names)


def lacking(config: Config) -> dict[str, str]:
  """The protocols without the setting that they need, each with its flag."""
  values = parser().render(config)
  return {name: one.needs for name, one in PROTOCOLS.items() if one.needs and not values[one.needs]}


def check_files(config: Config) -> None:
  """Requires the files and folders that settings of the chosen protocols name.

  Raises:
    UsageError: naming the flag, and the first that is not there.
  """
  declared = parser().metadata(config)
  for protocol_name in chosen_protocols(config.protocols, lacking(config)):
    for flag in PROTOCOLS[protocol_name].settings:
      if not declared[flag].get('path'):
        continue
      value: Any = functools.reduce(getattr, flag.split('.'), config)
      for one in (value,) if isinstance(value, str) else value:
        paths = (one, one.partition(':')[2])
        if one and one not in SOURCES and not any(p and pathlib.Path(p).exists() for p in paths):
          error = ArgumentError(flag, one, f'what exists, for the protocol {protocol_name}')
          raise UsageError(error.sentence(f'--{flag}'))


def check_protocols(config: Config) -> None:
  """Requires the names of registered protocols in `--protocols` and `--online_metrics.names`.

  Configurations only hold lists of words, so that they need not import the protocols. A protocol
  whose needed setting is not given is refused. So are settings that were given and that no chosen
  protocol reads; a flag file may have those of protocols that are left out.

  Raises:
    UsageError: a word is no protocol, or none that the task measures; or a setting lacks, or is not
      read.
  """
  online = tuple(name for name, one in PROTOCOLS.items() if one.online)
  _check_words('online_metrics.names', config.online_metrics.names, online)
  if config.task == 'pretrain':
    _check_words('protocols', config.protocols, ('knn',), '; others belong to --task=evaluate')
  else:
    if config.task == 'evaluate' and not config.protocols:
      raise UsageError('--protocols: found none, must be at least one; --help=evaluate lists them')
    _check_words('protocols', config.protocols, ('all', *PROTOCOLS))
  if config.task == 'evaluate':
    missing = lacking(config)
    for name in map(canonical_name, config.protocols):
      if flag := missing.get(name):
        raise UsageError(
          ArgumentError(flag, 'nothing', f'given for the protocol {name}').sentence(f'--{flag}')
        )
  if config.task in ('pretrain', 'evaluate'):
    _refuse_unread(config)


def _refuse_unread(config: Config) -> None:
  """Refuses a setting of protocols that were not chosen, but for one in a recipe of `evaluate`.

  Training may be given `knn.k` without measuring kNN, as a later evaluation starts from it.
  """
  evaluates = config.task == 'evaluate'
  flag = 'protocols' if evaluates else 'online_metrics.names'
  words = config.protocols if evaluates else config.online_metrics.names
  chosen = {*chosen_protocols(words), *chosen_protocols(config.protocols)}
  values, defaults = parser().render(config), default_flags(config)
  for name, origin in config.given.items():
    readers = [one.name for one in PROTOCOLS.values() if name in one.settings]
    exempt = origin != COMMAND_LINE if evaluates else name.startswith('knn.')
    if readers and values[name] != defaults[name] and not exempt and not chosen & {*readers}:
      allowed = f'left out with --{flag}={",".join(words)}; it is read by {", ".join(readers)}'
      raise UsageError(str(ArgumentError(f'--{name}', values[name], allowed)))


def _check_words(flag: str, words: Iterable[str], allowed: tuple[str, ...], more: str = '') -> None:
  for word in words:
    if canonical_name(word) not in allowed:
      listed = f'a list of: {", ".join(allowed)}{more}'
      raise UsageError(str(ArgumentError(f'--{flag}', word, listed, nearest(word, allowed, 1))))
