"""Turns frozen dataclasses into absl flags, and arguments and flag files back into dataclasses.

A setting is a dataclass field; a field that is itself a dataclass is a section, and its fields
become `--section.field`. `Union`-like sections (one dataclass a method) are chosen by
`--section.name` before the other flags are defined.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from absl import flags

from ssl_jax.arguments import (
  ArgumentError,
  check_settings,
  expand_paths,
  nearest,
  shown,
  type_hints,
)
from ssl_jax.config.flag_files import Argument, UsageError, expand
from ssl_jax.config.values import Number, Tuple, text_of

T = TypeVar('T')

COMMAND_LINE = 'command line'


@dataclasses.dataclass(frozen=True)
class Settings:
  """A section of the configuration, whose settings are checked against their declared bounds.

  Attributes:
    affects_result: whether its settings affect the result of a run; a setting may deny it alone.
    read_by: what reads its settings, words that the configuration defines; a setting may name
      others. None: all.
  """

  affects_result: ClassVar[bool] = True
  read_by: ClassVar[tuple[str, ...] | None] = None

  def __post_init__(self) -> None:
    expand_paths(self)
    check_settings(self)


def _define(values: flags.FlagValues, name: str, field: dataclasses.Field, kind: Any) -> None:
  text = field.metadata.get('help', '')
  choices = field.metadata.get('choices')
  default: Any = field.default
  if typing.get_origin(kind) is tuple:
    flags.DEFINE(Tuple(typing.get_args(kind)[0]), name, default, text, values)
  elif kind is bool:
    flags.DEFINE_boolean(name, default, text, flag_values=values)
  elif kind in (int, float):
    flags.DEFINE(Number(kind), name, default, text, values)
  elif choices:
    flags.DEFINE_enum(name, default, choices, text, flag_values=values)
  else:
    flags.DEFINE_string(name, default, text, flag_values=values)


@dataclasses.dataclass(frozen=True)
class Section:
  """The flags of one dataclass. `prefix` is '' for the settings of the whole."""

  prefix: str
  kind: type
  fields: tuple[dataclasses.Field, ...]

  def flag(self, field: dataclasses.Field) -> str:
    return f'{self.prefix}.{field.name}' if self.prefix else field.name


def _section(prefix: str, kind: type, without: Iterable[str] = ()) -> Section:
  fields = tuple(
    field
    for field in dataclasses.fields(kind)
    if field.metadata.get('flag', True)
    and field.name not in without
    and not dataclasses.is_dataclass(type_hints(kind)[field.name])
  )
  return Section(prefix, kind, fields)


class Parser:
  """Parses arguments into a frozen dataclass of sections.

  Args:
    config: the dataclass; fields of dataclass type are sections.
    variants: for a section whose class depends on `--section.name`, `{section: {name: class}}`.
    default_variant: the name taken when the flag is not given, a section.
    word: the setting that one word without dashes gives; by default every such word is refused.
    translate: from the arguments as given to those that are parsed, as for flags renamed, and a
      warning about it or ''.
  """

  def __init__(
    self,
    config: type[T],
    variants: Mapping[str, Mapping[str, type]] = types.MappingProxyType({}),
    default_variant: Mapping[str, str] = types.MappingProxyType({}),
    word: str = '',
    translate: Callable[[list[Argument]], tuple[list[Argument], str]] = lambda given: (given, ''),
  ) -> None:
    self._config: type = config
    self._variants = variants
    self._default_variant = default_variant
    self._word = word
    self._translate = translate

  def parse(self, argv: Iterable[str | Argument]) -> Any:
    """Returns the configuration that `argv` (without the program's name) describes.

    Raises:
      UsageError: an unknown flag, a value of the wrong type or not allowed, a stray word, a bad
      flag file.
    """
    return self.resolve(argv)[0]

  def resolve(
    self, argv: Iterable[str | Argument], check: Callable[[Any], None] = lambda config: None
  ) -> tuple[Any, dict[str, str]]:
    """As `parse`, and where each flag that was given was set: 'command line' or 'FILE:LINE'.

    A configuration with a field `given` gets there the same of the flags that do not come from a
    stored configuration.

    Args:
      argv: the arguments, without the program's name.
      check: raises a UsageError for a configuration that is not allowed. A warning about old flags
        is printed after it, so that a refusal is one line.

    Raises:
      UsageError: as `parse`.
    """
    arguments, warning = self._translate(expand(argv))
    chosen = {section: self._choose(section, arguments) for section in self._variants}
    sections = self.sections(chosen)
    values = flags.FlagValues()
    for section in sections:
      hints = type_hints(section.kind)
      for field in section.fields:
        _define(values, section.flag(field), field, hints[field.name])
    for prefix, name in chosen.items():
      flags.DEFINE_string(f'{prefix}.name', name, 'which one', flag_values=values)
    set_by = self._assign(values, arguments, chosen)
    origins = {name: argument.origin or COMMAND_LINE for name, argument in set_by.items()}
    config = self._build(values, sections, origins)
    if hasattr(config, 'given'):
      given = {name: origins[name] for name, argument in set_by.items() if not argument.stored}
      config = dataclasses.replace(config, given=given)
    with named_origins(origins):
      check(config)
    if warning:
      print(f'warning   {warning}', file=sys.stderr)
    return config, origins

  def sections(self, chosen: Mapping[str, str]) -> list[Section]:
    """The sections in the order of declaration, the settings of the whole first."""
    hints = type_hints(self._config)
    sections = [_section('', self._config, self._variants)]
    for field in dataclasses.fields(self._config):
      if field.name in self._variants:
        sections.append(_section(field.name, self._variants[field.name][chosen[field.name]]))
      elif dataclasses.is_dataclass(hints[field.name]):
        sections.append(_section(field.name, hints[field.name]))
    return sections

  def render(self, config: Any) -> dict[str, str]:
    """Every flag of `config` with its value as text, in the order of declaration."""
    chosen = {section: getattr(config, section).name for section in self._variants}
    lines: dict[str, str] = {}
    for section in self.sections(chosen):
      owner = getattr(config, section.prefix) if section.prefix else config
      if section.prefix in chosen:
        lines[f'{section.prefix}.name'] = chosen[section.prefix]
      for field in section.fields:
        lines[section.flag(field)] = text_of(getattr(owner, field.name))
    return lines

  def metadata(self, config: Any) -> dict[str, Mapping[str, Any]]:
    """How every flag of `config` is declared: `path`, `affects_result`, `read_by` and others.

    What a setting leaves to its section is that of the section, a class or a field of `config`.
    """
    chosen = {section: getattr(config, section).name for section in self._variants}
    sections = {field.name: field.metadata for field in dataclasses.fields(self._config)}
    found: dict[str, Mapping[str, Any]] = {}
    for section in self.sections(chosen):
      shared = {
        name: getattr(section.kind, name)
        for name in ('affects_result', 'read_by')
        if getattr(section.kind, name, None) is not None
      }
      shared |= sections.get(section.prefix, {})
      if section.prefix in chosen:
        found[f'{section.prefix}.name'] = shared
      for field in section.fields:
        own = {name: value for name, value in field.metadata.items() if value is not None}
        if not shared.get('affects_result', True):
          own['affects_result'] = False
        found[section.flag(field)] = {**shared, **own}
    return found

  def affecting_result(self, config: Any) -> dict[str, str]:
    """The flags that affect the result, each with its value or the part of it that does."""
    values, found = self.render(config), {}
    for name, declared in self.metadata(config).items():
      affects = declared.get('affects_result', True)
      if affects:
        found[name] = values[name].partition(',')[0] if affects == 'first' else values[name]
    return found

  def _choose(self, section: str, arguments: list[Argument]) -> str:
    name, flag = self._default_variant[section], f'{section}.name'
    valid = self._variants[section]
    for index, argument in enumerate(arguments):
      key, equals, value = argument.text.lstrip('-').partition('=')
      if key == flag:
        if not equals:
          value = arguments[index + 1].text if index + 1 < len(arguments) else ''
        if value not in valid:
          raise UsageError(
            _refusal(
              flag, shown(value), f'one of {", ".join(valid)}', argument, nearest(value, valid)
            )
          )
        name = value
    return name

  def _assign(
    self, values: flags.FlagValues, arguments: list[Argument], chosen: Mapping[str, str]
  ) -> dict[str, Argument]:
    set_by: dict[str, Argument] = {}
    known: Callable[[str], bool] = lambda name: name in values
    queue = list(arguments)
    while queue:
      argument = queue.pop(0)
      if self._word and not argument.text.startswith('-') and self._word not in set_by:
        argument = dataclasses.replace(argument, text=f'--{self._word}={argument.text}')
      if not argument.text.startswith('-') or argument.text in ('-', '--'):
        where = f' (from {argument.origin})' if argument.origin else ''
        # Some editors turn two hyphens into a dash.
        likely = argument.text.lstrip('\u2013\u2014\u2212')
        is_setting = likely.partition('=')[0] in values and '=' in likely
        hint = f'; nearest: --{likely}' if is_setting else ''
        raise UsageError(
          f'{shown(argument.text)!r} is not a flag; settings are written --name=value{where}'
          f'{shown(hint)}'
        )
      name, equals, text = argument.text.lstrip('-').partition('=')
      if not known(name) and name.startswith('no') and known(name[2:]) and values[name[2:]].boolean:
        name, equals, text = name[2:], '=', 'false'
      if not known(name):
        raise UsageError(self._unknown(name, argument, values, chosen))
      flag = values[name]
      if not equals:
        if flag.boolean:
          text = 'true'
        elif queue and not queue[0].text.startswith('--'):
          text = queue.pop(0).text
        else:
          raise UsageError(_refusal(name, 'nothing', _allowed(flag), argument))
      try:
        # The flag's own parser words its complaint over several lines; ours names flag, value and
        # what is allowed.
        parsed = flag.parser.parse(text)
      except (ValueError, TypeError) as error:
        near = nearest(text, getattr(flag.parser, 'enum_values', ()))
        found = repr(shown(text))
        raise UsageError(_refusal(name, found, _allowed(flag), argument, near)) from error
      flag.value = parsed
      set_by[name] = argument
    values.mark_as_parsed()
    return set_by

  def _unknown(
    self, name: str, argument: Argument, values: flags.FlagValues, chosen: Mapping[str, str]
  ) -> str:
    where = f' (from {argument.origin})' if argument.origin else ''
    section, _, field = name.partition('.')
    if not field and section in self._variants:
      value = argument.text.partition('=')[2]
      return f'--{name}: a section, not a flag{where}; nearest: --{name}.name={value}'
    if section in self._variants:
      current = chosen[section]
      owners = [
        other
        for other, kind in self._variants[section].items()
        if field in {f.name for f in _section(section, kind).fields}
      ]
      if owners:
        return (
          f'--{name}: {section} {current} has no {field}; it belongs to {", ".join(owners)}{where}'
        )
    likely = _nearest_flags(name, list(values))
    hint = ', '.join(f'--{flag}' for flag in likely)
    return f'--{shown(name)}: unknown flag{where}' + (
      f'; nearest: {hint}' if hint else '; --help lists them'
    )

  def _build(
    self, values: flags.FlagValues, sections: list[Section], origins: Mapping[str, str]
  ) -> Any:
    parts: dict[str, Any] = {}
    for section in [*sections[1:], sections[0]]:
      own = {field.name: values[section.flag(field)].value for field in section.fields}
      with flags_of(section.prefix, origins=origins):
        if not section.prefix:
          return self._config(**own, **parts)
        parts[section.prefix] = section.kind(**own)
    raise AssertionError('the settings of the whole come last')


def _nearest_flags(name: str, flags_: Sequence[str]) -> list[str]:
  """The flags most like an unknown one: the same word, then abbreviations, then what looks alike.

  Those of its section come before others.
  """
  section, _, last = name.rpartition('.')
  own = [flag for flag in flags_ if flag.rpartition('.')[0] == section]
  word = lambda flag: flag.rpartition('.')[2]
  initials = lambda flag: ''.join(part[:1] for part in word(flag).split('_'))
  for is_like in (
    lambda flag: word(flag) == last,
    lambda flag: len(last) > 1 and (initials(flag) == last or word(flag).startswith(last)),
  ):
    for candidates in (own, flags_):
      if found := [flag for flag in candidates if is_like(flag)]:
        return found[:3]
  near = nearest(last, map(word, own))
  return [flag for one in near for flag in own if word(flag) == one] or nearest(name, flags_)


def _allowed(flag: flags.Flag) -> str:
  choices = getattr(flag.parser, 'enum_values', None)
  if choices:
    return 'one of ' + ', '.join(choices)
  kind = flag.flag_type()
  return {'bool': 'true or false', 'int': 'a whole number', 'float': 'a finite number'}.get(
    kind, kind
  )


def _refusal(
  name: str, found: str, allowed: str, argument: Argument, likely: Iterable[str] = ()
) -> str:
  where = f' (from {argument.origin})' if argument.origin else ''
  hint = ', '.join(likely)
  return f'--{name}: found {found}, must be {allowed}{where}' + (
    f'; nearest: {hint}' if hint else ''
  )


@contextlib.contextmanager
def flags_of(
  section: str, settings: Any = None, origins: Mapping[str, str] | None = None
) -> Iterator[None]:
  """Turns an `ArgumentError` about a setting of `section` into the one line about its flag.

  Args:
    section: '' for the settings of the whole.
    settings: of the section; an argument that is none of them keeps its own name, as all do with
      (). None: every argument is one.
    origins: by flag, where it was set.

  Raises:
    UsageError: naming the flag, what was found, what is allowed, and the origin where it is known.
  """
  try:
    yield
  except ArgumentError as error:
    if settings is not None and not hasattr(settings, error.name):
      raise UsageError(str(error)) from error
    flag = f'{section}.{error.name}' if section else error.name
    origin = (origins or {}).get(flag, '')
    at = '' if origin == COMMAND_LINE else origin
    raise UsageError(error.sentence(f'--{flag}', at)) from error


@contextlib.contextmanager
def named_origins(origins: Mapping[str, str]) -> Iterator[None]:
  """Adds to a `UsageError` about a flag, `--FLAG: ...`, the file and line that set it.

  Args:
    origins: by flag, 'command line' or 'FILE:LINE'.
  """
  try:
    yield
  except UsageError as error:
    flag = str(error).partition(':')[0].removeprefix('--')
    origin = origins.get(flag, COMMAND_LINE)
    if origin == COMMAND_LINE or '(from ' in str(error):
      raise
    raise UsageError(f'{error} (from {origin})') from error
