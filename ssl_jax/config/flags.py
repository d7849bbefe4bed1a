"""Turns frozen dataclasses into absl flags, and flag files and arguments back into dataclasses.

A setting is a dataclass field; a field that is itself a dataclass is a section, and its fields
become
`--section.field`. `Union`-like sections (one dataclass a method) are chosen by `--section.name`
before the other
flags are defined. A flag file holds one `--flag=value` a line, `#` comments, and `--flagfile=OTHER`
lines; later flags override earlier ones. A flag file is looked for beside the file that names it,
in the working directory, then among the shipped recipes, and may be named without `.flags`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from absl import flags

import ssl_jax
from ssl_jax.arguments import ArgumentError, check_settings, nearest, type_hints

T = TypeVar('T')


COMMAND_LINE = 'command line'


class UsageError(ValueError):
  """A flag or its value is not allowed; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Settings:
  """A section of the configuration, whose settings are checked against their declared bounds.

  Attributes:
    affects_result: whether its settings affect the result of a run; a setting may deny it alone.
  """

  affects_result: ClassVar[bool] = True

  def __post_init__(self) -> None:
    check_settings(self)


@dataclasses.dataclass(frozen=True)
class Argument:
  """One command-line argument and its origin: '' for the command line, else 'FILE:LINE'."""

  text: str
  origin: str = ''


def expand(
  argv: Iterable[str], origin: str = '', _open: tuple[pathlib.Path, ...] = ()
) -> list[Argument]:
  """Replaces every `--flagfile=PATH` by the arguments of that file, recursively.

  Raises:
    UsageError: a flag file is missing, unreadable or includes itself.
  """
  arguments: list[Argument] = []
  pending = iter(argv)
  for text in pending:
    name, equals, path = text.partition('=')
    if name not in ('--flagfile', '-flagfile'):
      arguments.append(Argument(text, origin))
      continue
    if not equals:
      path = next(pending, '')
    arguments += _read_flag_file(path, origin, _open)
  return arguments


def _read_flag_file(path: str, origin: str, opened: tuple[pathlib.Path, ...]) -> list[Argument]:
  where = f' (from {origin})' if origin else ''
  file = find_file(path, '.flags', recipes_folder(), [file.parent for file in opened[-1:]])
  if file is None:
    likely = nearest_files(path, '.flags', recipes_folder())
    hint = f'; nearest: {", ".join(likely)}' if likely else ''
    raise UsageError(f'--flagfile: {path or "(empty)"} is not a file{where}{hint}')
  file = file.resolve()
  if file in opened:
    raise UsageError(f'--flagfile: {path} includes itself{where}')
  try:
    lines = file.read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f'--flagfile: {path} cannot be read: {error}') from error
  arguments: list[Argument] = []
  for number, line in enumerate(lines, start=1):
    text = line.strip()
    if not text or text.startswith(('#', '//')):
      continue
    here = f'{_short(file)}:{number}'
    if not text.startswith('-') or ('=' not in text and ' ' in text) or ' #' in text:
      raise UsageError(
        f'{here}: found {text!r}, must be --flag=value, or a # comment on a line of its own'
      )
    arguments += expand([text], here, (*opened, file))
  return arguments


def recipes_folder(kind: str = 'flags') -> pathlib.Path:
  """The folder of the shipped recipes ('flags') or of the shipped sweep files ('sweeps').

  An installed package holds both itself; in a checkout they stand in `experiments/`.
  """
  package = pathlib.Path(ssl_jax.__file__).resolve().parent
  installed = package / 'recipes'
  if installed.is_dir():
    return installed if kind == 'flags' else installed / kind
  return package.parent / 'experiments' / kind


def find_file(
  path: str, suffix: str, shipped: pathlib.Path, beside: Iterable[pathlib.Path] = ()
) -> pathlib.Path | None:
  """The file that `path`, with or without its suffix, names: the first one found, or None.

  Args:
    path: as the user wrote it.
    suffix: that may be left out, such as '.flags'.
    shipped: the folder to look in last, after the working directory.
    beside: folders to look in first.
  """
  for folder in (*beside, pathlib.Path(), shipped):
    for name in (path, f'{path}{suffix}') if path else ():
      if (folder / name).is_file():
        return folder / name
  return None


def nearest_files(path: str, suffix: str, shipped: pathlib.Path) -> list[str]:
  """The names of flag files most similar to `path`, which is none."""
  file = pathlib.Path(path)
  folder = file if file.is_dir() else file.parent
  local = sorted(str(other) for other in folder.glob(f'*{suffix}')) if folder.is_dir() else []
  if path and file.is_dir() and local:
    return local[:5]
  names = [other.relative_to(shipped).with_suffix('') for other in shipped.rglob(f'*{suffix}')]
  return nearest(path, [*local, *sorted(name.as_posix() for name in names)])


def _short(path: pathlib.Path) -> str:
  for folder in (pathlib.Path.cwd(), recipes_folder().resolve()):
    if path.is_relative_to(folder):
      return str(path.relative_to(folder))
  return str(path)


class _NumberTuple(flags.ArgumentParser):
  """Comma-separated numbers or words to a tuple."""

  def __init__(self, element: type) -> None:
    self._element = element
    self.syntactic_help = f'comma-separated {element.__name__}s'

  def parse(self, argument: Any) -> tuple:
    if isinstance(argument, (tuple, list)):
      return tuple(argument)
    words = [word.strip() for word in argument.strip().strip('()').split(',')]
    return tuple(self._element(word) for word in words if word)

  def flag_type(self) -> str:
    return self.syntactic_help


class _TupleSerializer(flags.ArgumentSerializer):
  def serialize(self, value: tuple) -> str:
    return ','.join(str(element) for element in value)


def _define(values: flags.FlagValues, name: str, field: dataclasses.Field, kind: Any) -> None:
  text = field.metadata.get('help', '')
  choices = field.metadata.get('choices')
  default: Any = field.default
  if typing.get_origin(kind) is tuple:
    parser = _NumberTuple(typing.get_args(kind)[0])
    flags.DEFINE(parser, name, default, text, values, _TupleSerializer())
  elif kind is bool:
    flags.DEFINE_boolean(name, default, text, flag_values=values)
  elif kind is int:
    flags.DEFINE_integer(name, default, text, flag_values=values)
  elif kind is float:
    flags.DEFINE_float(name, default, text, flag_values=values)
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
    translate: from the arguments as given to those that are parsed, as for flags renamed.
  """

  def __init__(
    self,
    config: type[T],
    variants: Mapping[str, Mapping[str, type]] = types.MappingProxyType({}),
    default_variant: Mapping[str, str] = types.MappingProxyType({}),
    word: str = '',
    translate: Callable[[list[Argument]], list[Argument]] = lambda arguments: arguments,
  ) -> None:
    self._config: type = config
    self._variants = variants
    self._default_variant = default_variant
    self._word = word
    self._translate = translate

  def parse(self, argv: Iterable[str]) -> Any:
    """Returns the configuration that `argv` (without the program's name) describes.

    Raises:
      UsageError: an unknown flag, a value of the wrong type or not allowed, a stray word, a bad
      flag file.
    """
    return self.resolve(argv)[0]

  def resolve(self, argv: Iterable[str]) -> tuple[Any, dict[str, str]]:
    """As `parse`, and where each flag that was given was set: 'command line' or 'FILE:LINE'."""
    arguments = self._translate(expand(argv))
    chosen = {section: self._choose(section, arguments) for section in self._variants}
    sections = self.sections(chosen)
    values = flags.FlagValues()
    for section in sections:
      hints = type_hints(section.kind)
      for field in section.fields:
        _define(values, section.flag(field), field, hints[field.name])
    for prefix, name in chosen.items():
      flags.DEFINE_string(f'{prefix}.name', name, 'which one', flag_values=values)
    origins = self._assign(values, arguments, chosen)
    return self._build(values, sections, origins), origins

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
        value = getattr(owner, field.name)
        if isinstance(value, tuple):
          value = _TupleSerializer().serialize(value)
        lines[section.flag(field)] = str(value).lower() if isinstance(value, bool) else str(value)
    return lines

  def affecting_result(self, config: Any) -> dict[str, str]:
    """The flags that affect the result, each with its value or the part of it that does."""
    values = self.render(config)
    chosen = {section: getattr(config, section).name for section in self._variants}
    found = {f'{section}.name': name for section, name in chosen.items()}
    for section in self.sections(chosen):
      for field in section.fields:
        name, affects = section.flag(field), field.metadata.get('affects_result', True)
        if affects and getattr(section.kind, 'affects_result', True):
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
            _refusal(flag, value, 'one of ' + ', '.join(valid), argument, nearest(value, valid))
          )
        name = value
    return name

  def _assign(
    self, values: flags.FlagValues, arguments: list[Argument], chosen: Mapping[str, str]
  ) -> dict[str, str]:
    origins: dict[str, str] = {}
    known: Callable[[str], bool] = lambda name: name in values
    queue = list(arguments)
    while queue:
      argument = queue.pop(0)
      if self._word and not argument.text.startswith('-') and self._word not in origins:
        argument = dataclasses.replace(argument, text=f'--{self._word}={argument.text}')
      if not argument.text.startswith('-') or argument.text in ('-', '--'):
        where = f' (from {argument.origin})' if argument.origin else ''
        raise UsageError(
          f'{argument.text!r} is not a flag; settings are written --name=value{where}'
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
        if isinstance(parsed, float) and not math.isfinite(parsed):
          raise ValueError('not finite')
      except (ValueError, TypeError) as error:
        likely = nearest(text, getattr(flag.parser, 'enum_values', ()))
        raise UsageError(_refusal(name, repr(text), _allowed(flag), argument, likely)) from error
      flag.value = parsed
      origins[name] = argument.origin or COMMAND_LINE
    values.mark_as_parsed()
    return origins

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
    likely = nearest(name, values) or nearest(field or name, values)
    if not likely:
      likely = [flag for flag in values if flag.rpartition('.')[2] == (field or name)]
    hint = ', '.join(f'--{flag}' for flag in likely)
    return f'--{name}: unknown flag{where}' + (
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
