"""Old public names and keywords that keep working, with a warning, until a given release."""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec('P')
T = TypeVar('T')

REMOVED_IN = '0.3'


def deprecated_names(module_name: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
  """The `__getattr__` of a module some of whose names have changed.

  Args:
    module_name: the module's `__name__`.
    renamed: each old name to the new one, an attribute of the same module.

  Returns:
    A function that maps an old name to the object of the new one, with a DeprecationWarning, and
    raises AttributeError for any other name.
  """

  def get(name: str) -> Any:
    if name not in renamed:
      raise AttributeError(f'module {module_name!r} has no attribute {name!r}')
    new = renamed[name]
    warnings.warn(
      f'{module_name}.{name} is now {module_name}.{new}; the old name goes in {REMOVED_IN}',
      DeprecationWarning,
      stacklevel=2,
    )
    return getattr(sys.modules[module_name], new)

  return get


def deprecated_keywords(renamed: Mapping[str, str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
  """A decorator of a function some of whose keyword arguments have new names.

  Args:
    renamed: each old keyword to the new one. An old one is passed on under its new name, with a
      DeprecationWarning; a call with both raises TypeError.
  """

  def decorate(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
      for old, new in renamed.items():
        if old in kwargs:
          name = function.__name__
          if new in kwargs:
            raise TypeError(f'{name}: found {old} and {new}, its name now, must be one of them')
          warnings.warn(
            f'{name}: {old} is now {new}; the old name goes in {REMOVED_IN}',
            DeprecationWarning,
            stacklevel=2,
          )
          kwargs[new] = kwargs.pop(old)
      return function(*args, **kwargs)

    return call

  return decorate
