"""The program `ssl-jax`: runs the task that flags describe, or a sweep of runs.

Every error of the user's is turned into one line here and nowhere else.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssl_jax.arguments import nearest, shown
from ssl_jax.config.flags import UsageError, named_origins
from ssl_jax.config.help import (
  HELP_FLAGS,
  columns,
  help_text,
  program_name,
  program_scripts,
  show_text,
  take,
)

if TYPE_CHECKING:
  from ssl_jax.config import Config

_LONGEST_LINE = 2000
_USAGE, _FAILED, _INTERRUPTED, _PIPE_CLOSED = 2, 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the task that the flags describe, or the sweep after the word `sweep`.

  SSL_JAX_TRACEBACK=1 shows where an error came from.

  Args:
    argv: the command line without the program; by default that of this process.

  Returns:
    The exit status. 0: done; 1: the loss stopped being finite, or runs of a sweep failed; 2: a
    flag, a file or a folder is at fault; 128 + the number of a signal that ended it.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      # A name in a script that the terminal's encoding lacks is no reason to end.
      stream.reconfigure(errors='backslashreplace')
  try:
    return _run(argv)
  except BrokenPipeError:
    # Whoever read the output has gone, as in `| head`; nothing is left to tell them.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _PIPE_CLOSED
  except (UsageError, OSError) as error:
    return _complain(error, _USAGE)
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return _INTERRUPTED
  except RuntimeError as error:
    if type(error).__module__.startswith('ssl_jax.'):
      return _complain(error, _FAILED)
    raise


def _run(argv: list[str]) -> int:
  if argv[:1] == ['sweep']:
    from ssl_jax import sweeps

    return sweeps.main(argv[1:], run_command())

  from ssl_jax import config as config_lib

  if argv and not argv[0].startswith('-') and '=' not in argv[0]:
    tasks = {task: f'--task={task}' for task in config_lib.TASKS}
    likely = nearest(argv[0], ('sweep', *tasks), 1)
    hint = f'; nearest: {tasks.get(likely[0], likely[0])}' if likely else ''
    raise UsageError(f'{shown(argv[0])!r} is not a flag; settings are written --name=value{hint}')

  wanted, others = take(argv, HELP_FLAGS)
  if wanted is not None:
    try:
      method = config_lib.parse([a for a in others if a.startswith('-')]).method.name
    except UsageError:  # a broken flag is no reason to withhold help
      method = config_lib.DEFAULT_METHOD['method']
    chosen = {'method': method}
    print(help_text(config_lib.parser(), wanted, chosen, program_name()))
    if wanted in ('evaluate', 'all'):
      from ssl_jax.tasks.protocols import PROTOCOLS

      print('\nprotocols of --protocols; those with * also of --online_metrics.names')
      rows = [(f'{name}{" *" if one.online else ""}', one.help) for name, one in PROTOCOLS.items()]
      print('\n'.join(columns(rows)))
    return 0
  wanted, others = take(argv, ('show',))

  from ssl_jax.tasks.protocols import check_protocols

  config, origins = config_lib.resolve(others, check_protocols)
  if wanted is not None:
    print(show_text(config_lib.parser(), wanted, config, origins))
    return 0
  return run_task(config)


def run_task(config: Config) -> int:
  """Runs `config.task` on the devices that `config` asks for; returns the exit status.

  Raises:
    UsageError: a setting does not fit the data, the devices or another setting.
    OSError: a file or folder cannot be read or written.
    NonFiniteLossError: the loss stopped being finite.
  """
  with named_origins(config.given):
    _prepare(config)

  from ssl_jax import tasks

  with named_origins(config.given):
    return tasks.run_task(config)


def run_command() -> tuple[str, ...]:
  """The command that a sweep starts its runs with: this interpreter, and this program again.

  A script of a checkout starts `run.py` beside it, since the package need not be installed.
  """
  script = pathlib.Path(sys.argv[0]).resolve()
  if script in program_scripts():
    return sys.executable, str(script.with_name('run.py'))
  return sys.executable, '-m', 'ssl_jax'


def _prepare(config: Config) -> None:
  """Settings of JAX that must stand before the first use of a device."""
  if config.devices.deterministic:
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'{flags} --xla_gpu_deterministic_ops=true'.strip()
  import jax

  from ssl_jax.tasks.run.devices import start_devices

  if config.devices.compile_cache and not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    folder = pathlib.Path(config.devices.compile_cache).expanduser()
    try:
      folder.mkdir(parents=True, exist_ok=True)
      with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b'0')
      jax.config.update('jax_compilation_cache_dir', str(folder))
    except (OSError, RuntimeError) as error:
      reason = getattr(error, 'strerror', None) or error
      print(f'no compile cache in {folder}: {reason}; going on without', file=sys.stderr)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
  # A disk that is full, or an entry that is damaged: the program is compiled as without the cache.
  warnings.filterwarnings('ignore', 'Error (reading|writing) persistent compilation cache')
  try:
    start_devices(config)
    # Programs of many CPU devices that come from the cache, rather than from the compiler, may run
    # their collectives in orders that wait for each other for ever.
    if len(jax.devices()) > 1 and jax.default_backend() == 'cpu':
      jax.config.update('jax_enable_compilation_cache', False)
  except (RuntimeError, AssertionError) as error:
    reason = (str(error).strip().splitlines() or ['no such device'])[0]
    raise UsageError(
      f'--devices.platform: {config.devices.platform} cannot be used ({reason})'
    ) from error


def _complain(error: BaseException, status: int) -> int:
  if os.environ.get('SSL_JAX_TRACEBACK'):
    traceback.print_exception(error)
  line = ' '.join(str(error).split())
  if isinstance(error, OSError) and error.strerror:
    where = error.filename or ('standard output' if _output_fails() else '')
    line = f'{where}: {error.strerror}' if where else line
  if len(line) > _LONGEST_LINE:
    line = f'{line[: _LONGEST_LINE - 3]}...'
  with contextlib.suppress(OSError):
    print(f'ssl-jax: {line}', file=sys.stderr)
  return status


def _output_fails() -> bool:
  """Whether standard output takes no more, as a file on a full disk; then it is left unused, since
  Python would complain of it once more at its end."""
  try:
    print(end='', flush=True)  # what could not be printed before
  except OSError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True
  return False
