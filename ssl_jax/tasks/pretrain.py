"""Pre-training, from pixels to a report: read it from top to bottom."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import signal
from collections.abc import Callable, Iterator

import jax

from ssl_jax import config as config_lib
from ssl_jax.config import Config
from ssl_jax.config.help import started_as
from ssl_jax.reporting import MetricWriter, Progress, Stopwatch, read_metrics
from ssl_jax.tasks import pretrain_report
from ssl_jax.tasks.online_evaluation import FeatureExtractor, OnlineMeters
from ssl_jax.tasks.run import folder
from ssl_jax.tasks.run.experiment import Experiment, build_experiment, refusals_are_the_users
from ssl_jax.tasks.run.stored import with_borrowed_encoder
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

_STOPPING = 'stopping: the steps under way are finished and saved; a second signal does not wait'


def pretrain(config: Config) -> int:
  """Pre-trains, or goes on where the run in the folder stands, and returns the exit status.

  Raises:
    UsageError: a setting is refused.
    OSError: data cannot be read, or the folder cannot be written.
    NonFiniteLossError: the loss stopped being a number.
  """
  with folder.opened(config) as run_dir, Preemption(_STOPPING) as preemption:
    stopwatch = Stopwatch(folder.read_seconds(run_dir))
    main = jax.process_index() == 0
    log = log_line if main else discard

    # -- Parts: everything that can be refused is refused here. ------------------------------------
    with stopwatch.phase('data'):
      experiment = build_experiment(config, log=log)
    meters = OnlineMeters(experiment)
    log(f'data      {experiment.dataset.describe()}')
    log(f'devices   {describe_share(experiment)}')
    checkpoints = Checkpoints(
      run_dir / folder.CHECKPOINTS,
      keep_last=config.checkpoint.keep_last,
      keep_best=config.checkpoint.keep_best,
      log=log,
    )
    with stopwatch.phase('compile'), refusals_are_the_users():
      initial = state.create(
        experiment.method, experiment.optimizer, config.seed, config.view_size, experiment.mesh
      )
    if experiment.method.borrows_from:
      initial = with_borrowed_encoder(experiment, initial, log)
    checkpoints.check_space(initial)

    # -- Resume: the newest checkpoint whose files are what they were. -----------------------------
    with stopwatch.phase('checkpoint'), refusals_are_the_users():
      restored = checkpoints.restore(initial)
    current, done = restored if restored else (initial, 0)

    # -- Compile: once for the whole run. ----------------------------------------------------------
    with stopwatch.phase('data'):
      same = mesh.replicated(experiment.mesh)
      images = {name: mesh.put(array, same) for name, array in experiment.stored().items()}
    accumulation = config.optimizer.accumulation_steps
    with stopwatch.phase('compile'), refusals_are_the_users():
      update = step.make_update(
        experiment.method,
        experiment.optimizer,
        experiment.schedule,
        experiment.augment,
        experiment.mesh,
        accumulation,
      )
      shape = (config.devices.steps_per_call, accumulation, config.data.batch_size)
      train_step, init_metrics = step.compile_step(update, current, images, experiment.mesh, shape)

    # -- From here on the folder belongs to this configuration. ------------------------------------
    writer = MetricWriter(run_dir, tensorboard=config.report.tensorboard) if main else None
    if writer:
      atomic_write(run_dir / folder.CONFIG, config_lib.to_flags(config))
      writer.truncate_after(done if restored else -1)
    if restored:
      log(f'resume    from step {done} of {experiment.total_steps}')

    # -- Baselines: the same protocol on the untrained encoder and on pixels. ----------------------
    probe = FeatureExtractor(experiment)
    measures_knn = probe.possible and 'knn' in config.protocols
    baselines: dict[str, float] = {}
    at_start: dict[str, float] = {}
    if preemption.agree():
      return leave(preemption, log, f'before step {done + 1}')
    if measures_knn:
      with stopwatch.phase('evaluation'):
        baselines = baseline_accuracies(probe, initial, run_dir / folder.METRICS)
        at_start = probe.meters(initial)
      if writer and not restored:
        writer.write(0, {f'knn_{name}': value for name, value in baselines.items()})
    if meters.wanted and not restored:
      with stopwatch.phase('evaluation'), refusals_are_the_users():
        values = meters.measure(initial)
      if writer:
        writer.write(0, values)
    del initial

    # -- Train. ------------------------------------------------------------------------------------
    every_knn = experiment.steps_of(config.knn.every_epochs) if measures_knn else 0
    every_meters = experiment.steps_of(config.meters.every_epochs) if meters.wanted else 0
    every_save = config.checkpoint.every_steps
    plan = loop.Plan(
      total=experiment.total_steps,
      report=config.report.every_steps,
      sync_every=(every_knn, every_meters, every_save),
      steps_per_call=config.devices.steps_per_call,
    )
    sync_points = loop.run(
      train_step,
      init_metrics,
      current,
      images,
      experiment.order,
      plan,
      experiment.mesh,
      accumulation_steps=accumulation,
      should_stop=preemption.agree,
      input_timer=lambda: stopwatch.phase('data'),
    )
    accuracy: float | None = None
    stopped = False
    output = None if main else io.StringIO()
    with (
      Progress(experiment.total_steps, experiment.images_per_step, done, stream=output) as progress,
      kept(checkpoints, stopwatch),
    ):
      for at in timed(sync_points, stopwatch):
        current, stopped = at.state, at.stopped
        checkpoints.poll()
        for interval in at.intervals:
          if writer:
            writer.write(interval.step, interval.metrics)
          progress.update(interval.step, interval.metrics)
        if not at.synced:
          continue
        # First the state, then what can be measured of it again.
        accuracy = None
        ends = at.step == plan.total
        on_knn = ends or (every_knn and at.step % every_knn == 0)
        measure = bool(measures_knn and on_knn and not stopped)
        metered = bool(every_meters and (ends or at.step % every_meters == 0) and not stopped)
        due = measure or metered or (every_save and at.step % every_save == 0)
        if stopped or ends or (every_save and due):
          with stopwatch.phase('checkpoint'):
            checkpoints.save(at.step, current)
            folder.write_seconds(run_dir, stopwatch.totals())
        if measure:
          with stopwatch.phase('evaluation'):
            accuracy = probe.knn(current)
          if writer:
            writer.write(at.step, {'knn': accuracy})
          progress.update(at.step, {'knn': accuracy})
          if ends or every_save:
            with stopwatch.phase('checkpoint'):
              checkpoints.save(at.step, current, score=accuracy)
        if metered:
          with stopwatch.phase('evaluation'):
            values = meters.measure(current)
          if writer:
            writer.write(at.step, values)
    if stopped or preemption.agree():
      return leave(preemption, log, f'at step {int(jax.device_get(current.step))}')

    # -- Result: the last epoch, beside the baselines. ---------------------------------------------
    representation: dict[str, dict[str, float]] = {}
    with stopwatch.phase('evaluation'):
      if measures_knn and accuracy is None:  # the run had already ended
        accuracy = probe.knn(current)
      if measures_knn:
        representation = {'trained': probe.meters(current), 'random_init': at_start}
    with stopwatch.phase('evaluation'):
      gallery = pretrain_report.collect(experiment, probe, current) if config.report.html else None
    if not writer:
      return 0
    writer.close()
    knn = {} if accuracy is None else {'trained': accuracy, **baselines}
    result = pretrain_report.summarize(
      experiment, probe.k, knn, representation, stopwatch.totals(), run_dir / folder.METRICS
    )
    atomic_write(run_dir / folder.RESULT, json.dumps(result, indent=2) + '\n')
    for line in pretrain_report.lines(result):
      log(line)
    if gallery:
      try:
        page = pretrain_report.write_page(run_dir / folder.REPORT, experiment, gallery, result)
        log(f'report    {page}')
      except ModuleNotFoundError as error:
        log(f'report    left out: {error.name} is not installed')
    for line in pretrain_report.next_steps(experiment, run_dir):
      log(line)
    return 0


def leave(preemption: Preemption, log: Callable[[str], None], where: str) -> int:
  """Says that a signal ended the run; the exit status is the shell's, 128 + the signal's number."""
  log(f'stopped   {where}; to continue: {started_as()}')
  return 128 + (preemption.signum or signal.SIGTERM)


def discard(line: str) -> None:
  """What every process but the first says."""
  del line


def log_line(line: str) -> None:
  """Prints at once, so that a log shows how far a run got."""
  print(line, flush=True)


def describe_share(experiment: Experiment) -> str:
  """One line: how many devices of which kind share a batch."""
  size = experiment.mesh.size
  kind = experiment.mesh.devices.flat[0].device_kind
  share = experiment.config.data.batch_size // size
  return f'{size} x {kind}, {share} images of each batch on every one'


def baseline_accuracies(
  probe: FeatureExtractor, initial: TrainState, metrics: pathlib.Path
) -> dict[str, float]:
  """kNN of the untrained encoder and of pixels, read back where a former start measured it."""
  names = {'knn_random_init': 'random_init', 'knn_pixels': 'pixels'}
  rows = read_metrics(metrics) if metrics.exists() else []
  known = [row for row in rows if row['step'] == 0 and names.keys() <= row.keys()]
  # Measuring is a job for all processes at once, and only the first is sure to see the file.
  if multihost.broadcast(len(known)):
    return {short: known[0][name] for name, short in names.items()} if known else {}
  return {'random_init': probe.knn(initial), 'pixels': probe.knn_of_pixels()}


@contextlib.contextmanager
def kept(checkpoints: Checkpoints, stopwatch: Stopwatch) -> Iterator[None]:
  """However training ends, the save under way is completed; a loss gone bad names what is left."""
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


def timed(sync_points: Iterator[loop.SyncPoint], stopwatch: Stopwatch) -> Iterator[loop.SyncPoint]:
  """The sync_points, the time between them counted as steps."""
  while True:
    with stopwatch.phase('step'):
      at = next(sync_points, None)
    if at is None:
      return
    yield at
