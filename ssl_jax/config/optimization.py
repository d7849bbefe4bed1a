"""Settings of the update rule and its learning rate."""

from __future__ import annotations

import dataclasses
import math

from ssl_jax.config.flags import require, setting
from ssl_jax.training import optimizers


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """The update rule and its learning rate over the run."""

  name: str = setting('sgd', 'update rule', choices=optimizers.NAMES)
  learning_rate: float = setting(0.06, 'after warm-up, before decay; not scaled by the batch')
  momentum: float = setting(0.9, 'of sgd, lars and larc')
  nesterov: bool = setting(False, 'Nesterov momentum, of sgd, lars and larc')
  beta1: float = setting(0.9, 'of adam and adamw')
  beta2: float = setting(0.999, 'of adam and adamw')
  weight_decay: float = setting(5e-4, 'decoupled for adamw, coupled for the others')
  exclude: str = setting(
    'none',
    'parameters without weight decay, and in lars without scaling',
    choices=optimizers.EXCLUSIONS,
  )
  excluded_rate_scale: float = setting(
    1.0, 'learning rate of the parameters of exclude, relative to the others'
  )
  trust_coefficient: float = setting(1e-3, 'of lars and larc')
  clip_norm: float = setting(0.0, 'largest global norm of the gradient; 0 does not clip')
  schedule: str = setting(
    'cosine', 'of the learning rate after warm-up', choices=('cosine', 'constant', 'step')
  )
  final_ratio: float = setting(0.0, "the cosine's last learning rate over the full one")
  decay_epochs: tuple[float, ...] = setting(
    (), 'of schedule step: when it decays; negative epochs count from the end'
  )
  decay_factor: float = setting(0.1, 'of schedule step: multiplies the learning rate each time')
  warmup_epochs: float = setting(0.0, 'epochs of linear warm-up')
  warmup_steps: int = setting(0, 'forward batches of linear warm-up, instead of epochs')
  warmup_ratio: float = setting(1e-4, 'learning rate of the first batch over the full one')
  schedule_unit: str = setting(
    'step', 'the cosine moves every step or every epoch', choices=('step', 'epoch')
  )
  warmup_unit: str = setting(
    'step', 'the warm-up moves every step or every epoch', choices=('step', 'epoch')
  )
  cosine_after_warmup: bool = setting(
    True, 'the cosine starts when warm-up ends, rather than at step 0'
  )
  accumulation_steps: int = setting(
    1, 'forward batches whose gradients are averaged into one update'
  )

  def __post_init__(self) -> None:
    by_epoch = self.schedule == 'cosine' and self.schedule_unit == 'epoch'
    allowed = 'step, unless the schedule is a cosine with schedule_unit=epoch'
    fits = self.warmup_unit == 'step' or by_epoch
    require('optimizer.warmup_unit', self.warmup_unit, allowed, fits)
    require('optimizer.learning_rate', self.learning_rate, '0 or more', self.learning_rate >= 0)
    require('optimizer.momentum', self.momentum, 'in [0, 1)', 0 <= self.momentum < 1)
    require('optimizer.beta1', self.beta1, 'in [0, 1)', 0 <= self.beta1 < 1)
    require('optimizer.beta2', self.beta2, 'in [0, 1)', 0 <= self.beta2 < 1)
    require('optimizer.weight_decay', self.weight_decay, '0 or more', self.weight_decay >= 0)
    require('optimizer.clip_norm', self.clip_norm, '0 or more', self.clip_norm >= 0)
    require(
      'optimizer.trust_coefficient', self.trust_coefficient, 'above 0', self.trust_coefficient > 0
    )
    scale, fits = self.excluded_rate_scale, self.exclude != 'none' or self.excluded_rate_scale == 1
    require('optimizer.excluded_rate_scale', scale, '0 or more', scale >= 0)
    require('optimizer.excluded_rate_scale', scale, '1 with --optimizer.exclude=none', fits)
    self._check_schedule()
    require(
      'optimizer.accumulation_steps',
      self.accumulation_steps,
      'at least 1',
      self.accumulation_steps >= 1,
    )

  def _check_schedule(self) -> None:
    require('optimizer.warmup_epochs', self.warmup_epochs, '0 or more', self.warmup_epochs >= 0)
    require('optimizer.warmup_steps', self.warmup_steps, '0 or more', self.warmup_steps >= 0)
    require(
      'optimizer.warmup_steps',
      self.warmup_steps,
      f'0 with --optimizer.warmup_epochs={self.warmup_epochs:g}',
      not (self.warmup_steps and self.warmup_epochs),
    )
    require('optimizer.warmup_ratio', self.warmup_ratio, 'in [0, 1]', 0 <= self.warmup_ratio <= 1)
    cosine, step = self.schedule == 'cosine', self.schedule == 'step'
    ratio, factor = self.final_ratio, self.decay_factor
    require('optimizer.final_ratio', ratio, 'in [0, 1]', 0 <= ratio <= 1)
    require('optimizer.final_ratio', ratio, '0, unless the schedule is cosine', cosine or not ratio)
    require('optimizer.decay_factor', factor, 'in (0, 1]', 0 < factor <= 1)
    epochs = ','.join(f'{epoch:g}' for epoch in self.decay_epochs)
    finite = all(map(math.isfinite, self.decay_epochs))
    require('optimizer.decay_epochs', epochs, 'finite', finite)
    if step:
      require('optimizer.decay_epochs', '(none)', 'given with schedule=step', bool(epochs))
    else:
      require('optimizer.decay_epochs', epochs, 'empty, unless the schedule is step', not epochs)
