"""Settings of the update rule and its learning rate, and what they build."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import optax

from ssl_jax.arguments import ArgumentError, setting
from ssl_jax.config.flags import Settings, flags_of
from ssl_jax.config.readers import PRETRAIN
from ssl_jax.training import optimizers, schedules

# Settings that `optimizers.build` and `schedules.warmup_cosine` take under the same name.
_RULE = (
  'name',
  'momentum',
  'nesterov',
  'beta1',
  'beta2',
  'weight_decay',
  'weight_decay_exclude',
  'excluded_lr_scale',
  'trust_coefficient',
  'clip_norm',
)
_MOMENTUM, _ADAM, _TRUST = ('sgd', 'lars', 'larc'), ('adam', 'adamw'), ('lars', 'larc')
_COSINE = ('min_lr_ratio', 'schedule_by_epoch', 'warmup_by_epoch', 'cosine_after_warmup')


@dataclasses.dataclass(frozen=True)
class Optimizer(Settings):
  """The update rule and its learning rate over the run."""

  read_by: ClassVar = (PRETRAIN,)

  name: str = setting('sgd', 'update rule', choices=optimizers.NAMES)
  learning_rate: float = setting(
    0.06, 'learning rate after warm-up; not scaled by the batch', at_least=0
  )
  momentum: float = setting(
    0.9, 'momentum of sgd, lars and larc', at_least=0, below=1, read_with={'name': _MOMENTUM}
  )
  nesterov: bool = setting(
    False, 'Nesterov momentum, of sgd, lars and larc', read_with={'name': _MOMENTUM}
  )
  beta1: float = setting(
    0.9,
    'decay of the mean gradient in adam and adamw',
    at_least=0,
    below=1,
    read_with={'name': _ADAM},
  )
  beta2: float = setting(
    0.999,
    'decay of the mean squared gradient in adam and adamw',
    at_least=0,
    below=1,
    read_with={'name': _ADAM},
  )
  weight_decay: float = setting(5e-4, 'weight decay; decoupled for adamw alone', at_least=0)
  weight_decay_exclude: str = setting(
    'none',
    'parameters without weight decay, and in lars without scaling',
    choices=optimizers.EXCLUSIONS,
  )
  excluded_lr_scale: float = setting(
    1.0,
    'learning rate of the excluded parameters over that of the others',
    at_least=0,
  )
  trust_coefficient: float = setting(
    1e-3, 'trust coefficient of lars and larc', above=0, read_with={'name': _TRUST}
  )
  clip_norm: float = setting(
    0.0, 'largest global norm of the gradient; 0 does not clip', at_least=0
  )
  schedule: str = setting(
    'cosine',
    'form of the learning rate after warm-up',
    choices=('cosine', 'constant', 'step'),
  )
  min_lr_ratio: float = setting(
    0.0, "learning rate at the cosine's end over the full one", at_least=0, at_most=1
  )
  decay_epochs: tuple[float, ...] = setting(
    (), 'epochs at which step decays; negative: from the end'
  )
  decay_factor: float = setting(
    0.1,
    'factor on the learning rate at each of decay_epochs',
    above=0,
    at_most=1,
    read_with={'schedule': ('step',)},
  )
  warmup_epochs: float = setting(0.0, 'epochs of linear warm-up', at_least=0)
  warmup_steps: int = setting(0, 'forward batches of linear warm-up, instead of epochs', at_least=0)
  warmup_ratio: float = setting(
    1e-4, 'learning rate of the first batch over the full one', at_least=0, at_most=1
  )
  schedule_by_epoch: bool = setting(
    False, 'the cosine moves once an epoch, not every step', read_with={'schedule': ('cosine',)}
  )
  warmup_by_epoch: bool = setting(False, 'the warm-up moves once an epoch, not every step')
  cosine_after_warmup: bool = setting(
    True, 'the cosine starts when warm-up ends, not at step 0', read_with={'schedule': ('cosine',)}
  )
  accumulation_steps: int = setting(
    1, 'batches whose gradients are averaged into one update', at_least=1
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    cosine = self.schedule == 'cosine'
    if self.warmup_by_epoch and not (cosine and self.schedule_by_epoch):
      allowed = 'false, unless the schedule is a cosine with schedule_by_epoch'
      raise ArgumentError('warmup_by_epoch', 'true', allowed)
    if self.weight_decay_exclude == 'none' and self.excluded_lr_scale != 1:
      allowed = '1 with weight_decay_exclude=none'
      raise ArgumentError('excluded_lr_scale', self.excluded_lr_scale, allowed)
    if self.warmup_steps and self.warmup_epochs:
      raise ArgumentError(
        'warmup_steps', self.warmup_steps, f'0 with warmup_epochs={self.warmup_epochs:g}'
      )
    if self.min_lr_ratio and not cosine:
      raise ArgumentError('min_lr_ratio', self.min_lr_ratio, '0, unless the schedule is cosine')
    if self.schedule == 'step' and not self.decay_epochs:
      raise ArgumentError('decay_epochs', '(none)', 'given with schedule=step')
    if self.schedule != 'step' and self.decay_epochs:
      epochs = ','.join(f'{epoch:g}' for epoch in self.decay_epochs)
      raise ArgumentError('decay_epochs', epochs, 'empty, unless the schedule is step')

  def build(self, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The update rule under `schedule`, optimizer steps done to learning rate.

    Raises:
      UsageError: naming the flag of a setting that the rule refuses.
    """
    with flags_of('optimizer', self):
      return optimizers.build(
        schedule=schedule,
        **{field: getattr(self, field) for field in _RULE},
      )

  def build_schedule(self, batches_per_epoch: int, total_batches: int) -> optax.Schedule:
    """The learning rate by optimizer steps done.

    Args:
      batches_per_epoch: forward batches of an epoch.
      total_batches: forward batches of the run.

    Raises:
      UsageError: naming the flag of a setting that the schedule refuses.
    """
    warmup = self.warmup_steps or round(self.warmup_epochs * batches_per_epoch)
    common: dict[str, Any] = {
      # A recipe cut short by --steps, to try it out, may be over before its warm-up is.
      'warmup_steps': min(warmup, total_batches),
      'warmup_ratio': self.warmup_ratio,
      'steps_per_update': self.accumulation_steps,
    }
    with flags_of('optimizer', self):
      if self.schedule == 'step':
        batch = lambda epoch: round(epoch * batches_per_epoch) + (total_batches if epoch < 0 else 0)
        decays = [batch(epoch) for epoch in self.decay_epochs]
        return schedules.step_decay(
          self.learning_rate, decay_steps=decays, factor=self.decay_factor, **common
        )
      if self.schedule == 'constant':
        return schedules.constant(self.learning_rate, **common)
      return schedules.warmup_cosine(
        self.learning_rate,
        total_steps=total_batches,
        epoch_steps=batches_per_epoch,
        **{field: getattr(self, field) for field in _COSINE},
        **common,
      )
