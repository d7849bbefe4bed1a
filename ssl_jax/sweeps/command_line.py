"""`ssl-jax sweep`: plans many runs, runs them, and prints the table."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Sequence

from ssl_jax.arguments import check_choice
from ssl_jax.config.flags import UsageError, flags_of
from ssl_jax.config.help import HELP_FLAGS, program_name, started_as, take
from ssl_jax.sweeps import options, planning, sweep_file, table
from ssl_jax.sweeps.columns import COLUMNS, TRAINED
from ssl_jax.sweeps.running import Outcome, run_all
from ssl_jax.training.atomic import atomic_write
from ssl_jax.training.json_file import write_json

_SOME_FAILED = 1


def main(argv: Sequence[str], command: Sequence[str]) -> int:
  """Runs a sweep and returns the exit status.

  0: every run has finished; 1: some failed; 128 + the number of a signal that ended the sweep.

  Args:
    argv: the command line without the program.
    command: the program that makes one run of its flags.

  Raises:
    UsageError: a flag or the file is at fault, and nothing was run.
    OSError: the file cannot be read, the folder cannot be written, or no run can be started.
  """
  # -- Understand: everything that can be refused is refused here. ---------------------------------
  cut = [*argv, '--'].index('--')
  own, extra = argv[:cut], sweep_file.arguments(argv[cut + 1 :], 'after --')
  if take(own, HELP_FLAGS)[0] is not None:
    print(options.help_page())
    return 0
  wish: options.Options = options.PARSER.parse(own)
  file = pathlib.Path(wish.file)
  sweep = sweep_file.read(file)
  with flags_of(''):
    for name in wish.only:
      check_choice('only', name, [variant.name for variant in sweep.variants])
  chosen = [v for v in sweep.variants if not wish.only or v.name in wish.only]
  out = pathlib.Path(wish.out or f'runs/sweeps/{file.stem}')
  # All variants are checked, those left out as well: a typo is a typo.
  every = planning.plan(sweep, sweep.variants, wish.seeds, out, extra)
  names = {variant.name for variant in chosen}
  runs = [run for run in every if run.variant in names]

  if wish.dry_run:
    for run in runs:
      if not planning.has_finished(run):
        _say(shlex.join([*command, *run.flags]))
    return 0

  # -- Run. ----------------------------------------------------------------------------------------
  failed = 0
  if wish.table_only:
    if not out.is_dir():
      raise UsageError(f'--out: found {out}, must be the folder of a sweep that was run')
  else:
    out.mkdir(parents=True, exist_ok=True)
    _say(
      f'{len(runs)} runs: {len(chosen)} variants x {len(wish.seeds)} seeds, {wish.jobs} at a time; '
      f'logs: {out}/NAME-seedS.log'
    )
    outcomes, signum = run_all(runs, command, wish.jobs, _Reporter(runs))
    if signum:
      over = sum(outcome.status in ('done', 'skipped') for outcome in outcomes)
      _say(f'stopped   {over} of {len(runs)} runs have finished; to continue: {started_as()}')
      return 128 + signum
    failed = sum(outcome.status == 'failed' for outcome in outcomes)

  # -- Compare. ------------------------------------------------------------------------------------
  results = []
  for run in runs:
    try:
      result = planning.finished(run)
    except (UsageError, OSError) as error:
      _say(f'{run.name} is left out: {error}')
      continue
    if result is not None:
      results.append((run, result))
  made_by = [word for word in argv if word.lstrip('-').partition('=')[0] != 'table_only']
  compared = table.make(
    [variant.name for variant in chosen],
    wish.seeds,
    wish.columns,
    results,
    sweep=str(file),
    command=f'{program_name("sweep")} {shlex.join(made_by)}',
  )
  atomic_write(out / 'table.md', compared.markdown())
  write_json(out / 'table.json', compared.as_json())
  _say(f'\n{compared.markdown()}')
  _say(f'table     {out / "table.md"}, table.json')
  if failed:
    _say(f'failed    {failed} of {len(runs)} runs')
  return _SOME_FAILED if failed else 0


class _Reporter:
  """One line a run: how far the sweep is, how the run ended, how long it took."""

  def __init__(self, runs: Sequence[planning.Run]) -> None:
    self._total = len(runs)
    self._width = max((len(run.name) for run in runs), default=0)
    self._count = 0

  def __call__(self, outcome: Outcome) -> None:
    self._count += 1
    took = _duration(outcome.seconds)
    text = {
      'done': f'done in {took}',
      'skipped': 'finished before',
      'failed': f'failed after {took}: {outcome.note}',
      'stopped': f'stopped after {took}',
    }[outcome.status]
    if outcome.status in ('done', 'skipped'):
      text += _accuracy(outcome.run)
    where = f'[{self._count:>{len(str(self._total))}}/{self._total}]'
    _say(f'{where} {outcome.run.name:<{self._width}}  {text}')


def _accuracy(run: planning.Run) -> str:
  column = COLUMNS['knn']
  value = column.read(planning.finished(run) or {}, TRAINED)
  return '' if value is None else f', kNN {column.show(value)} %'


def _duration(seconds: float) -> str:
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60:02d} s'
  return f'{whole // 3600} h {whole % 3600 // 60:02d} min'


def _say(line: str) -> None:
  """Prints at once, so that a log shows how far a sweep got."""
  print(line, flush=True)
