"""Old names and values of flags: parsed as today's, with one line on stderr."""

import chex
import pytest
from absl.testing import parameterized

from ssl_jax import config, methods
from ssl_jax.config.flags import UsageError
from ssl_jax.config.renames import RENAMES

NAMED = [name for name in RENAMES.flags if name not in RENAMES.second]
# What must be given too where a flag alone is refused, or belongs to one method.
WITH = {
  'optimizer.excluded_lr_scale': ('--optimizer.weight_decay_exclude=norm_and_bias',),
  'optimizer.warmup_by_epoch': ('--optimizer.schedule_by_epoch=true',),
  'devices.process_id': ('--devices.num_processes=8', '--devices.coordinator_address=auto'),
  'evaluate.reid_flip': ('--evaluate.reid=npz:a',),
  **{
    f'online_metrics.{name}': ('--online_metrics.names=crowding',)
    for name in ('every_epochs', 'images', 'views')
  },
  'devices.num_processes': ('--devices.coordinator_address=auto',),
}


def owner(flag):
  """The flag that chooses a task that reads this one, or a method with this hyper-parameter."""
  section, _, field = flag.partition('.')
  if section in ('evaluate', 'negatives'):
    return (f'--task={section}',)
  if section != 'method':
    return ()
  return (f'--method.name={next(n for n in methods.names() if hasattr(methods.get(n), field))}',)


def values(flag):
  """Old and today's text of a value that is not the default."""
  if flag in RENAMES.values:
    return list(RENAMES.values[flag].items())
  defaults = config.parser().render(config.parse(owner(flag)))[flag]
  if defaults in ('true', 'false'):
    other = {'true': 'false', 'false': 'true'}[defaults]
  else:
    other = '0.25' if '.' in defaults else '3'
  return [(other, other)]


class RenamesTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _streams(self, capsys, tmp_path):
    self.capsys, self.folder = capsys, tmp_path

  def stderr(self):
    return self.capsys.readouterr().err.splitlines()

  @parameterized.parameters(*NAMED)
  def test_the_old_flag_is_parsed_as_the_new_one(self, old):
    new = RENAMES.flags[old]
    for before, after in values(new):
      others = (*owner(new), *WITH.get(new, ()))
      expected = config.parse([*others, f'--{new}={after}'])
      self.assertEmpty(self.stderr())
      file = self.folder / 'old.flags'
      file.write_text(f'--{old}={before}\n')
      for given in ([f'--{old}={before}'], [f'--{old}', before], [f'--flagfile={file}']):
        self.assertEqual(config.parse([*others, *given]), expected)
        (line,) = self.stderr()
        self.assertIn(f'--{old}', line)
        self.assertIn(f'--{new}', line)
        self.assertIn('until 0.3', line)
      lines = config.to_flags(expected)
      self.assertIn(f'--{new}=', lines)
      self.assertNotIn(f'--{old}=', lines)

  @parameterized.parameters(*RENAMES.values)
  def test_old_values_are_parsed_as_the_new_ones(self, flag):
    for before, after in RENAMES.values[flag].items():
      others = (*owner(flag), *WITH.get(flag, ()))
      expected = config.parse([*others, f'--{flag}={after}'])
      self.assertEmpty(self.stderr())
      self.assertEqual(config.parse([*others, f'--{flag}={before}']), expected)
      self.assertLen(self.stderr(), 1)

  @parameterized.parameters(*NAMED)
  def test_a_flag_under_both_names_is_refused(self, old):
    new = RENAMES.flags[old]
    before, after = values(new)[0]
    with self.assertRaises(UsageError) as caught:
      config.parse([*owner(new), *WITH.get(new, ()), f'--{old}={before}', f'--{new}={after}'])
    self.assertIn(f'--{new}: found --{old} too', str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))

  def test_many_old_flags_are_one_short_line(self):
    config.parse(
      [
        f'--{old}={values(RENAMES.flags[old])[0][0]}'
        for old in NAMED
        if old.startswith('optimizer')
      ]
    )
    (line,) = self.stderr()
    self.assertEndsWith(line, ' and 2 more')

  def test_no_new_name_is_an_old_one(self):
    self.assertEmpty(set(RENAMES.flags.values()) & set(RENAMES.flags))
    known = set()
    for name in methods.names():
      known |= set(config.parser().render(config.parse([f'--method.name={name}'])))
    self.assertContainsSubset(set(RENAMES.flags.values()) | set(RENAMES.values), known)
    self.assertEmpty(known & (set(RENAMES.flags) | set(RENAMES.dropped)))
