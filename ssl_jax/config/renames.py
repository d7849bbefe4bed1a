"""Old names and values of flags, accepted until 0.3; nothing else in the package knows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from ssl_jax.arguments import shown
from ssl_jax.config.flag_files import Argument, UsageError


@dataclasses.dataclass(frozen=True)
class Renames:
  """Old names and values of flags that are still understood.

  Attributes:
    flags: today's name, by the old one.
    values: by today's name of a flag, today's value by the old one; of each element of a list.
    dropped: flags without effect, each with the only value it may have.
    second: those of `flags` that named another setting: where today's flag is given too, it counts.
      Any other flag must not be given under both names.
  """

  flags: Mapping[str, str]
  values: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
  dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
  second: frozenset[str] = frozenset()

  def apply(self, arguments: Iterable[Argument]) -> tuple[list[Argument], str]:
    """The arguments with today's names and values, and a warning that says which were old.

    The warning is '' where none was, or only those of a stored configuration, which stay.

    Raises:
      UsageError: a flag is given under both names, or a dropped one with another value.
    """
    pending, today = list(arguments), []
    given_old: list[str] = []
    given = {self._split(argument)[0] for argument in pending if argument.text.startswith('-')}
    while pending:
      argument = pending.pop(0)
      old, value = self._split(argument)
      new = self.flags.get(old, old)
      if not argument.text.startswith('-') or not (new != old or {old, new} & self._known):
        today.append(argument)
        continue
      if value is None and pending and not pending[0].text.startswith('--'):
        value = pending.pop(0).text
      where = f' (from {argument.origin})' if argument.origin else ''
      notes: list[str] = [] if argument.stored else given_old
      if old in self.dropped:
        if value != self.dropped[old]:
          raise UsageError(
            f'--{old}: found {shown(str(value))}, must be {self.dropped[old]}{where}'
          )
        notes.append(f'--{old} is of no effect')
        continue
      if new != old and new in given and (old in self.second or not argument.stored):
        if old in self.second:
          notes.append(f'--{old} gives way to --{new}')
          continue
        raise UsageError(f'--{new}: found --{old} too, its name before, must be given once{where}')
      if value is not None:
        table = self.values.get(new, {})
        words = ','.join(table.get(word.strip(), word) for word in value.split(','))
        changed = f'={words}' if words != value else ''
        if changed or new != old:
          notes.append(f'--{old}{f"={value}" if changed else ""} is --{new}{changed}')
        today.append(dataclasses.replace(argument, text=f'--{new}={words}'))
      else:
        notes.append(f'--{old} is --{new}')
        today.append(dataclasses.replace(argument, text=f'--{new}'))
    if not given_old:
      return today, ''
    more = f' and {len(given_old) - 3} more' if len(given_old) > 3 else ''
    return today, f'old flags, accepted until 0.3: {"; ".join(map(shown, given_old[:3]))}{more}'

  @property
  def _known(self) -> set[str]:
    return {*self.values, *self.dropped}

  def _split(self, argument: Argument) -> tuple[str, str | None]:
    """The flag's name and its value, None where it is not in the same word."""
    name, equals, value = argument.text.lstrip('-').partition('=')
    if not equals and name.startswith('no') and name[2:] in self.flags:
      return name[2:], 'false'
    return name, value if equals else None


RENAMES = Renames(
  flags={
    'devices.coordinator': 'devices.coordinator_address',
    'devices.process': 'devices.process_id',
    'devices.processes': 'devices.num_processes',
    'devices.simulate': 'devices.num_cpu_devices',
    'evaluate.chunk_rows': 'evaluate.bank_chunk_rows',
    'evaluate.knn_k': 'knn.k',
    'evaluate.knn_temperatures': 'knn.temperature',
    'evaluate.persons': 'evaluate.reid',
    'evaluate.rank_batch': 'evaluate.false_negative_batch_size',
    'evaluate.released_flip': 'evaluate.reid_flip',
    'evaluate.restarts': 'evaluate.kmeans_restarts',
    'evaluate.view_images': 'evaluate.augmented_images',
    'meters.every_epochs': 'online_metrics.every_epochs',
    'meters.images': 'online_metrics.images',
    'meters.names': 'online_metrics.names',
    'meters.views': 'online_metrics.views',
    'method.dsa_module_rate': 'method.dsa_module_grad_scale',
    'method.frozen_prototypes': 'method.freeze_prototypes_fraction',
    'method.online_resize': 'method.online_sizes',
    'method.target_resize': 'method.target_sizes',
    'negatives.control_batch': 'negatives.control_batch_size',
    'negatives.mean_passes': 'negatives.mean_feature_passes',
    'optimizer.exclude': 'optimizer.weight_decay_exclude',
    'optimizer.excluded_rate_scale': 'optimizer.excluded_lr_scale',
    'optimizer.final_ratio': 'optimizer.min_lr_ratio',
    'optimizer.schedule_unit': 'optimizer.schedule_by_epoch',
    'optimizer.warmup_unit': 'optimizer.warmup_by_epoch',
  },
  values={
    'model.stem_init': {'as_the_others': 'same'},
    'optimizer.schedule_by_epoch': {'step': 'false', 'epoch': 'true'},
    'optimizer.warmup_by_epoch': {'step': 'false', 'epoch': 'true'},
    'optimizer.weight_decay_exclude': {
      'legacy_downsample_gamma': 'legacy_triplet',
      'legacy_regex': 'legacy_iccl',
    },
    'task': {'analyse': 'negatives', 'analyze': 'negatives'},
  },
  dropped={'analysis': 'negatives'},
  second=frozenset({'evaluate.knn_k', 'evaluate.knn_temperatures'}),
)
