"""The runs of a sweep: every variant with every seed, checked before the first one starts."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flags import Argument, UsageError
from ssl_jax.config.run import Data
from ssl_jax.data import Fingerprint, fingerprint_dataset
from ssl_jax.sweeps.sweep_file import Sweep, Variant
from ssl_jax.tasks.protocols import check_protocols
from ssl_jax.tasks.run import folder as run_folder
from ssl_jax.tasks.run import record
from ssl_jax.training.json_file import read_json


@dataclasses.dataclass(frozen=True)
class Run:
  """One variant with one seed.

  Attributes:
    variant: the name of the variant.
    seed: the seed.
    folder: where the run lies; its last part names the run.
    flags: the command line of the run, without the program.
    config: what the flags describe.
  """

  variant: str
  seed: int
  folder: pathlib.Path
  flags: tuple[str, ...]
  config: Config

  @property
  def name(self) -> str:
    """The name of the variant with its seed."""
    return self.folder.name

  @property
  def log(self) -> pathlib.Path:
    """Where the output goes: beside the folder, which is the run's own."""
    return self.folder.with_name(f'{self.folder.name}.log')


def plan(
  sweep: Sweep,
  variants: Iterable[Variant],
  seeds: Sequence[int],
  out: pathlib.Path,
  extra: Iterable[Argument] = (),
) -> list[Run]:
  """All variants with the first seed, then with the second, and so on: a table with one seed is
  there early.

  Args:
    sweep: gives the common flags.
    variants: those to run.
    seeds: of every variant.
    out: folder of the runs' folders.
    extra: flags that come last, and so override the others.

  Raises:
    UsageError: the flags of a variant are refused; the message says where they stand.
  """
  extra = tuple(extra)
  described = []
  for variant in variants:
    flags = (*sweep.common, *variant.flags, *extra)
    described.append((variant, tuple(flag.text for flag in flags), _parse(variant, flags)))
  runs = []
  for seed in seeds:
    for variant, words, config in described:
      folder = out / f'{variant.name}-seed{seed}'
      own = (f'--seed={seed}', f'--run_dir={folder}')
      seeded = dataclasses.replace(config, seed=seed, run_dir=str(folder))
      runs.append(Run(variant.name, seed, folder, (*words, *own), seeded))
  return runs


def finished(run: Run) -> dict[str, Any] | None:
  """The result of a run that ended with the flags asked for; None where there is none.

  Raises:
    UsageError: the folder belongs to a run with other flags, or with other images than there are
      now; what differs is named.
    OSError: the images or the folder cannot be read.
  """
  run_folder.refuse_other_configuration(run.folder, run.config)
  result = read_json(run.folder / run_folder.RESULT)
  # A result without its configuration may be of any run; one before an extension is not the last.
  if not (result and (run.folder / run_folder.CONFIG).is_file()):
    return None
  if result.get('extend', []) != list(run.config.extend):
    return None
  known = record.read(run.folder, log=lambda line: None)
  began_with = known and known.data
  if began_with and (changes := began_with.differences(_fingerprint(run.config.data))):
    raise UsageError(
      f'--data.source: the images have changed since the run in {run.folder} began: '
      f'{"; ".join(changes)}'
    )
  return result


@functools.lru_cache(maxsize=4)
def _fingerprint(settings: Data) -> Fingerprint:
  """Of the images that runs with these settings have now; read once for all seeds of a sweep."""
  return fingerprint_dataset(settings.load(log=lambda line: None))


def has_finished(run: Run) -> bool:
  """Whether nothing is left to run; a folder with other flags is left to the run, to refuse it."""
  try:
    return finished(run) is not None
  except (UsageError, OSError):
    return False


def _parse(variant: Variant, flags: Sequence[Argument]) -> Config:
  try:
    return config_lib.resolve([flag.text for flag in flags], check_protocols)[0]
  except UsageError as error:
    message = str(error)
    origin = _origin(message, flags) or variant.origin
    raise UsageError(f'{origin}: variant {variant.name}: {message}') from error


def _origin(message: str, flags: Sequence[Argument]) -> str:
  """Where the flag stands that a message complains of; '' where it is in a flag file."""
  if '(from ' in message:
    return ''
  name = message.partition(':')[0].lstrip('-')
  said = [
    flag
    for flag in reversed(flags)
    if flag.text.lstrip('-').partition('=')[0] == name or message.startswith(repr(flag.text))
  ]
  exact = [flag for flag in said if flag.text.partition('=')[2] in message]
  return next((flag.origin for flag in (*exact, *said)), '')
