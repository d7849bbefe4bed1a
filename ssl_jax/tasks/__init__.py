"""The tasks of `--task`; `run_task` imports and runs the one that a configuration names."""

import importlib

from ssl_jax.config import TASKS, Config


def run_task(config: Config) -> int:
  """Runs `config.task` and returns the exit status.

  Raises:
    UsageError: a setting does not fit the data, the devices or another setting.
    OSError: a file or folder cannot be read or written.
    RuntimeError: training failed.
  """
  module, _, function = TASKS[config.task].partition(':')
  return getattr(importlib.import_module(f'ssl_jax.tasks.{module}'), function)(config)
