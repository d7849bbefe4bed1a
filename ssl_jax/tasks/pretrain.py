"""`--task=pretrain`: trains an encoder from pixels, with checkpoints, online kNN and a report."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import math
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.flags import flags_of
from ssl_jax.config.help import started_as
from ssl_jax.reporting import MetricWriter, Progress, Stopwatch
from ssl_jax.tasks import pretrain_report
from ssl_jax.tasks.online_evaluation import Baselines, OnlineEvaluation, measure_baselines
from ssl_jax.tasks.run import folder, initial_weights, report
from ssl_jax.tasks.run import record as records
from ssl_jax.tasks.run.devices import require_same_data
from ssl_jax.tasks.run.experiment import Experiment, build_experiment, describe_extensions
from ssl_jax.tasks.run.stored import restored_from
from ssl_jax.training import (
  Checkpoints,
  NonFiniteLossError,
  Preemption,
  TrainState,
  loop,
  mesh,
  multihost,
  state,
  step,
)
from ssl_jax.training.atomic import atomic_write
from ssl_jax.training.inputs import augment, gather_pairs, stored_rows
from ssl_jax.training.json_file import read_json, write_json

_STOPPING = 'stopping: the steps in progress are finished and saved; a second signal does not wait'


def pretrain(config: Config) -> int:
  """Pre-trains from scratch, or resumes the run in the folder, and returns the exit status.

  Raises:
    UsageError: a setting is refused.
    OSError: data cannot be read, or the folder cannot be written.
    NonFiniteLossError: the loss or gradient norm of a step is NaN or infinite.
  """
  log = log_line if jax.process_index() == 0 else log_nothing
  with (
    folder.opened(config, log) as run_dir,
    Preemption(_STOPPING) as preemption,
    contextlib.ExitStack() as cleanup,
  ):
    stopwatch = Stopwatch(folder.read_seconds(run_dir))

    # All that can be refused is refused before the folder is written to.
    with stopwatch.phase('data'):
      experiment = build_experiment(config, log=log)
      require_same_data(experiment)
    online = OnlineEvaluation(experiment, log)
    log(f'data      {experiment.dataset.describe()}')
    log(f'devices   {describe_devices_of(experiment)}')
    known = records.read_or_make(run_dir, log)
    checkpoints = open_checkpoints(config, run_dir, known.run, log)
    with stopwatch.phase('data'):
      changes = records.changes_of_data(
        known,
        experiment.fingerprint,
        resumes=multihost.any_process(bool(checkpoints.steps())),
        accept=config.data.accept_changes,
        log=log,
      )
    initial = initial_state(experiment, stopwatch, log)
    checkpoints.check_space(initial)
    restored = restore(checkpoints, initial, stopwatch)
    if restored is None:
      records.refuse_to_start_over(known, checkpoints, run_dir, accept=config.checkpoint.start_over)
    start, steps_done = restored if restored else (initial, 0)
    weights = known.initial_weights
    if restored:
      initial_weights.warn_of_other_weights(experiment, weights, log)
    else:
      start, weights = initial_weights.given(experiment, initial, log)
    program = compile_program(experiment, start, stopwatch)

    writer = open_writer(config, run_dir, steps_done if restored else None)
    if writer:
      cleanup.callback(writer.close)
    known = known.begun(experiment.fingerprint, steps_done if restored else None, changes)
    known = dataclasses.replace(known, initial_weights=weights)
    known.write(run_dir)
    describe_extensions(experiment, steps_done, log)
    if restored:
      log(f'resume    from step {steps_done} of {experiment.total_steps}')
    run = Run(run_dir, experiment, online, checkpoints, writer, stopwatch, log, known)
    if preemption.agree():
      return exit_after_signal(preemption, log, f'before step {steps_done + 1}')
    with stopwatch.phase('evaluation'):
      measured = run_dir / folder.METRICS if restored and not changes else None
      given = start if weights and not restored else None
      baselines = measure_baselines(online, initial, measured, run.write, given)
    del given, initial  # frees their buffers

    trained = train(run, start, steps_done, program, preemption)
    if trained.stopped or preemption.agree():
      last_step = int(jax.device_get(trained.state.step))
      return exit_after_signal(preemption, log, f'at step {last_step}')
    publish(run, trained, baselines)
    return 0


# -- Before training ------------------------------------------------------------------------------


def open_checkpoints(
  config: Config, run_dir: pathlib.Path, run: str, log: Callable[[str], None]
) -> Checkpoints:
  """The checkpoints of the run, as many kept as the configuration says."""
  return Checkpoints(
    run_dir / folder.CHECKPOINTS,
    keep_last=config.checkpoint.keep_last,
    keep_best=config.checkpoint.keep_best,
    log=log,
    run=run,
  )


def initial_state(
  experiment: Experiment, stopwatch: Stopwatch, log: Callable[[str], None]
) -> TrainState:
  """The state at step 0, on every device."""
  with stopwatch.phase('compile'), flags_of('method', experiment.method):
    return state.create(
      experiment.method,
      experiment.optimizer,
      experiment.config.seed,
      experiment.config.view_size,
      experiment.mesh,
    )


def restore(
  checkpoints: Checkpoints, initial: TrainState, stopwatch: Stopwatch
) -> tuple[TrainState, int] | None:
  """The newest checkpoint whose files match their manifest, and its step; None without any."""
  with stopwatch.phase('checkpoint'):
    return restored_from(checkpoints, initial)


class Program(NamedTuple):
  """The compiled step and the data set on the devices."""

  train_step: Callable[..., Any]
  init_metrics: Callable[[], Any]
  images: dict[str, jax.Array]


def compile_program(experiment: Experiment, start: TrainState, stopwatch: Stopwatch) -> Program:
  """Puts the data set on the devices and compiles the step once for the whole run."""
  config = experiment.config
  same_class = config.views.same_class_prob
  with stopwatch.phase('data'):
    same = mesh.replicated(experiment.mesh)
    with flags_of('views', config.views):
      rows = stored_rows(experiment.method, experiment.dataset.train, same_class=same_class > 0)
    images = jax.tree.map(lambda array: mesh.put(array, same), rows)
  accumulation = config.optimizer.accumulation_steps
  with stopwatch.phase('compile'), flags_of('method', experiment.method):
    update = step.make_update(
      experiment.method,
      experiment.optimizer,
      experiment.schedule,
      functools.partial(augment, experiment.method, experiment.recipe),
      experiment.mesh,
      accumulation,
      functools.partial(gather_pairs, same_class) if same_class else step.gather_rows,
      experiment.momentum_batch,
    )
    shape = (config.devices.steps_per_call, accumulation, config.data.batch_size)
    train_step, init_metrics = step.compile_step(update, start, images, experiment.mesh, shape)
  return Program(train_step, init_metrics, images)


def open_writer(
  config: Config, run_dir: pathlib.Path, resumed_step: int | None
) -> MetricWriter | None:
  """Writes the run's configuration and opens its metrics, on the first process alone.

  Metrics of steps after the one that the run resumes from are cut off; without one, all are.
  """
  if jax.process_index():
    return None
  writer = MetricWriter(run_dir, tensorboard=config.report.tensorboard)
  atomic_write(run_dir / folder.CONFIG, config_lib.to_flags(config.stored))
  writer.truncate_after(-1 if resumed_step is None else resumed_step)
  return writer


@dataclasses.dataclass
class Run:
  """What baselines, training and result of a run share; `writer` on one process only."""

  folder: pathlib.Path
  experiment: Experiment
  online: OnlineEvaluation
  checkpoints: Checkpoints
  writer: MetricWriter | None
  stopwatch: Stopwatch
  log: Callable[[str], None]
  record: records.Record

  def note_checkpoint(self) -> None:
    """Records that the run has saved, once it has, so that it never begins anew unasked."""
    if self.writer and self.record.first_checkpoint is None:
      saved = self.checkpoints.latest_step()
      if saved is not None:
        self.record = dataclasses.replace(self.record, first_checkpoint=saved)
        self.record.write(self.folder)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Appends a row to `metrics.jsonl`."""
    if self.writer:
      self.writer.write(step, metrics)


# -- Training -------------------------------------------------------------------------------------


class Trained(NamedTuple):
  """The last state, its kNN accuracy if it was measured, and whether a signal ended training."""

  state: TrainState
  accuracy: float | None
  stopped: bool


@dataclasses.dataclass(frozen=True)
class Periods:
  """Optimizer steps between two kNN accuracies, online metrics and checkpoints; 0 is never."""

  knn: int
  online: int
  save: int

  @classmethod
  def of(cls, run: Run) -> Periods:
    config, steps_of = run.experiment.config, run.experiment.steps_of
    return cls(
      steps_of(config.knn.every_epochs) if run.online.measures_knn else 0,
      steps_of(config.online_metrics.every_epochs) if run.online.measures_metrics else 0,
      config.checkpoint.every_steps,
    )


def train(
  run: Run, start: TrainState, steps_done: int, program: Program, preemption: Preemption
) -> Trained:
  """Trains to the last step, or until a signal; measures and saves at the steps that are due."""
  experiment, config = run.experiment, run.experiment.config
  periods = Periods.of(run)
  plan = loop.Plan(
    total=experiment.total_steps,
    log_every=config.report.every_steps,
    sync_every=(periods.knn, periods.online, periods.save),
    steps_per_call=config.devices.steps_per_call,
  )
  sync_points = loop.run(
    program.train_step,
    program.init_metrics,
    start,
    program.images,
    experiment.sampler,
    plan,
    experiment.mesh,
    accumulation_steps=config.optimizer.accumulation_steps,
    should_stop=preemption.agree,
    input_timer=lambda: run.stopwatch.phase('data'),
  )
  trained = Trained(start, None, stopped=False)
  output = None if run.writer else io.StringIO()
  with (
    Progress(plan.total, experiment.images_per_step, steps_done, stream=output) as progress,
    finalize_checkpoints(run.checkpoints, run.stopwatch),
  ):
    for at in time_steps(sync_points, run.stopwatch):
      if run.checkpoints.poll():
        run.note_checkpoint()
      for interval in at.intervals:
        run.write(interval.step, interval.metrics)
        progress.update(interval.step, interval.metrics)
      accuracy = save_and_measure(run, at, plan, periods, progress) if at.synced else None
      trained = Trained(at.state, accuracy, at.stopped)
  run.note_checkpoint()
  return trained


def save_and_measure(
  run: Run, at: loop.SyncPoint, plan: loop.Plan, periods: Periods, progress: Progress
) -> float | None:
  """Saves the state, then measures it, as far as each is due; returns the kNN accuracy if measured.

  The state is saved before it is measured, so that a run killed in between measures it again.
  """
  ends = at.step == plan.total
  is_due = lambda period: bool(period and at.step % period == 0)
  knn_due = run.online.measures_knn and (ends or is_due(periods.knn)) and not at.stopped
  online_due = bool(periods.online) and (ends or is_due(periods.online)) and not at.stopped
  save_due = bool(periods.save) and (knn_due or online_due or is_due(periods.save))
  if at.stopped or ends or save_due:
    with run.stopwatch.phase('checkpoint'):
      run.checkpoints.save(at.step, at.state)
      folder.write_seconds(run.folder, run.stopwatch.totals())
  accuracy = None
  if knn_due:
    with run.stopwatch.phase('evaluation'):
      accuracy = run.online.knn(at.state)
    run.write(at.step, {'knn': accuracy})
    if math.isfinite(accuracy):
      progress.update(at.step, {'knn': accuracy})
      if ends or periods.save:
        with run.stopwatch.phase('checkpoint'):
          run.checkpoints.save(at.step, at.state, score=accuracy)
  if online_due:
    with run.stopwatch.phase('evaluation'):
      values = run.online.metrics(at.state)
    run.write(at.step, values)
  return accuracy


@contextlib.contextmanager
def finalize_checkpoints(checkpoints: Checkpoints, stopwatch: Stopwatch) -> Iterator[None]:
  """Completes the save in progress however the block ends; adds the newest checkpoint to a
  NonFiniteLossError."""
  try:
    yield
  except NonFiniteLossError as error:
    checkpoints.finish()
    last = checkpoints.latest_step()
    good = 'none' if last is None else str(checkpoints.folder / str(last))
    raise NonFiniteLossError(error.step, error.metrics, good) from error
  finally:
    with stopwatch.phase('checkpoint'):
      checkpoints.finish()


def time_steps(
  sync_points: Iterator[loop.SyncPoint], stopwatch: Stopwatch
) -> Iterator[loop.SyncPoint]:
  """The sync points, with the time between them counted as steps."""
  while True:
    with stopwatch.phase('step'):
      at = next(sync_points, None)
    if at is None:
      return
    yield at


# -- After training -------------------------------------------------------------------------------


def publish(run: Run, trained: Trained, baselines: Baselines) -> None:
  """Measures what is still missing; writes and logs the result, and renders the report."""
  accuracy, report_data = trained.accuracy, None
  representation: dict[str, dict[str, float]] = {}
  with run.stopwatch.phase('evaluation'):
    if run.online.measures_knn and accuracy is None:  # the run had already ended
      accuracy = run.online.knn(trained.state)
    if run.online.measures_representation:
      representation = {
        'trained': run.online.representation(trained.state),
        'random_init': baselines.representation,
      }
    if run.experiment.config.report.html:
      report_data = pretrain_report.collect(run.experiment, run.online, trained.state)
  if not run.writer:
    return
  run.writer.close()
  result = pretrain_report.summarize(
    run.experiment,
    run.online.k,
    {} if accuracy is None else {'trained': accuracy, **baselines.knn},
    representation,
    run.online.reason,
    run.stopwatch.totals(),
    run.folder / folder.METRICS,
  )
  # Figures of an earlier process of the run are valid until they are drawn again.
  path = run.folder / folder.RESULT
  result['figures'] = read_json(path).get('figures', [])
  write_json(path, result)
  for line in pretrain_report.lines(result):
    run.log(line)
  if report_data:
    publish_report(run, report_data, result)
  for line in pretrain_report.next_steps(run.experiment, run.folder):
    run.log(line)


def publish_report(
  run: Run, report_data: pretrain_report.ReportData, result: dict[str, Any]
) -> None:
  """Draws the figures into files, adds them to `result.json`, and renders the report."""
  metrics = run.folder / folder.METRICS
  drawn = []
  try:
    for figure in pretrain_report.draw(run.experiment, report_data, result['knn'], metrics):
      drawn.append(figure)
  except ModuleNotFoundError as error:
    run.log(f'report    left out: {error.name} is not installed')
    return
  except ValueError as error:  # such as of features that are not finite
    run.log(f'pictures  left out after {len(drawn)}: {" ".join(str(error).split())}')
  result['figures'] = report.save_figures(run.folder, folder.FIGURES, drawn)
  write_json(run.folder / folder.RESULT, result)
  run.log(f'report    {report.write_report(run.folder)}')


def exit_after_signal(preemption: Preemption, log: Callable[[str], None], where: str) -> int:
  """Logs where a signal ended the run; returns 128 + the signal's number, as a shell does."""
  log(f'stopped   {where}; to continue: {started_as()}')
  return 128 + (preemption.signum or signal.SIGTERM)


# -- Output ---------------------------------------------------------------------------------------


def log_line(line: str) -> None:
  """Prints without buffering, so that a redirected log is up to date."""
  print(line, flush=True)


def log_nothing(line: str) -> None:
  """Drops the line: only the first process logs."""
  del line


def describe_devices_of(experiment: Experiment) -> str:
  """One line: the number and kind of devices, and the images of a batch on each."""
  size = experiment.mesh.size
  kind = experiment.mesh.devices.flat[0].device_kind
  share = experiment.config.data.batch_size // size
  return f'{size} x {kind}, {share} images of each batch on every one'
