"""Old public names that keep working, with a warning, until a given release."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

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
