"""Values are read back as written, or refused; broken flag files are refused in one line."""

import math
import os
import shlex

import chex
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import config
from ssl_jax.arguments import ArgumentError
from ssl_jax.config import flag_files
from ssl_jax.config.flag_files import UsageError
from ssl_jax.sweeps import planning, sweep_file

# Characters and words that some syntax gives a meaning to, beside any others.
PIECES = st.one_of(
  st.sampled_from(
    [' ', '#', ' #', '"', "'", '\\', '=', ',', '(', ')', '-', '--', '~', ':', '$', '`']
  ),
  st.sampled_from(
    ['\n', '\r\n', '\t', '\0', '\x1b', '\x85', '\u2028', '\ufeff', '\udcff', '\u00a0']
  ),
  st.sampled_from(
    ['a', 'runs', 'ﬁ', '／', 'é', 'é', '\u200b', '\u202e', '写真', '--seed=1', '%', '*']
  ),
  st.text(max_size=3),
)
TEXTS = st.lists(PIECES, max_size=6).map(''.join)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)

# Flags of each kind of setting.
TEXT_FLAGS = ('run_dir', 'data.source', 'devices.coordinator_address', 'devices.compile_cache')
LIST_FLAGS = ('protocols', 'online_metrics.names', 'evaluate.label_lists')


def check_round_trip(folder, flags):
  """Gives the flags as words; what is accepted is stored, and read back from files of any name."""
  try:
    parsed = config.parse(flags)
  except UsageError as refused:
    assert len(str(refused).splitlines()) == 1
    return None
  for name in ('config.flags', 'copy.flags'):
    path = folder / name
    path.write_text(config.to_flags(parsed), encoding='utf-8')
    assert config.parse([f'--flagfile={path}']) == parsed
  assert not config.differences(config.parse([f'--flagfile={path}']), parsed)
  return parsed


class RoundTripTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(st.sampled_from(TEXT_FLAGS), TEXTS)
  def test_text(self, flag, value):
    parsed = check_round_trip(self.folder, [f'--{flag}={value}'])
    if parsed and not value.partition(':')[2].startswith('~') and not value.startswith('~'):
      self.assertEqual(config.parser().render(parsed)[flag], value)

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(st.sampled_from(LIST_FLAGS), st.lists(TEXTS, max_size=3))
  def test_lists(self, flag, values):
    written = flag_files.join_list(values)
    if '\n' not in written:
      self.assertEqual(flag_files.split_list(written), list(values))
    parsed = check_round_trip(self.folder, ['--task=evaluate', f'--{flag}={written}'])
    if parsed and '~' not in written:
      section, _, name = flag.rpartition('.')
      owner = getattr(parsed, section) if section else parsed
      self.assertEqual(getattr(owner, name), tuple(values))

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(st.lists(NUMBERS, min_size=1, max_size=3))
  def test_numbers_are_exact(self, values):
    flags = ['--optimizer.schedule=step', f'--optimizer.decay_epochs={",".join(map(repr, values))}']
    parsed = check_round_trip(self.folder, flags)
    if max(map(abs, values)) < 3e38:
      self.assertEqual(parsed.optimizer.decay_epochs, tuple(values))

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(TEXTS)
  def test_what_is_quoted_is_read_back_by_flag_files_and_shells(self, value):
    self.assertEqual(flag_files.unquote(flag_files.quote(value)), value)
    if flag_files.quote(value) != value:
      self.assertEqual(shlex.split(flag_files.quote(value)), [value])

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(TEXTS)
  def test_sweep_files(self, value):
    path = self.folder / 'a.sweep'
    word = f'--devices.compile_cache={value}'
    try:
      expected = config.parse([word])
    except UsageError:
      return
    path.write_text(f'# one\na:\n  {shlex.quote(word)}\n', encoding='utf-8')
    try:
      sweep = sweep_file.read(path)
    except UsageError as refused:
      self.assertIn(f'{path}:3', str(refused))
      return
    (run,) = planning.plan(sweep, sweep.variants, (0,), self.folder)
    self.assertEqual(run.config.devices, expected.devices)
    self.assertEqual(run.flags[0], word)

  @parameterized.parameters(
    ('"a b"', 'a b'),
    ("'a # b'", 'a # b'),
    ("it's", "it's"),
    ('a "b" c', 'a "b" c'),
    ('  a b  ', '  a b'),
    ('C:\\new\\t', 'C:\\new\\t'),
    ("""'it'"'"'s #1\'""", "it's #1"),
    ('', ''),
  )
  def test_how_a_value_is_written_by_hand(self, written, value):
    path = self.folder / 'a.flags'
    path.write_text(f'--run_dir={written}\n')
    self.assertEqual(config.parse([f'--flagfile={path}']).run_dir, value)

  @parameterized.parameters('"a', "'a' b", '"a"b"', 'a # b', "'a' # b")
  def test_what_is_refused_by_hand(self, written):
    path = self.folder / 'a.flags'
    path.write_text(f'# one\n--run_dir={written}\n')
    with pytest.raises(UsageError, match=r'a\.flags:2: '):
      config.parse([f'--flagfile={path}'])

  def test_configurations_stored_without_quotes_are_read(self):
    path = self.folder / 'config.flags'
    path.write_text('--run_dir=a # b\n--data.source=folder:"set"\n--evaluate.reid="x\n')
    parsed = config.parse([f'--flagfile={path}'])
    self.assertEqual((parsed.run_dir, parsed.evaluate.reid), ('a # b', '"x'))
    self.assertEqual(parsed.data.source, 'folder:"set"')


def archive():
  return b'PK\3\4' + bytes(range(256)) * 8


class HostileFilesTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path, monkeypatch):
    self.folder = tmp_path
    monkeypatch.chdir(tmp_path)

  def refusal(self, path):
    with pytest.raises(UsageError) as refused:
      config.parse([f'--flagfile={path}'])
    message = str(refused.value)
    self.assertLess(len(message), 700)
    self.assertLen(message.splitlines(), 1)
    self.assertTrue(message.isprintable() or '\\' in message)
    return message

  @parameterized.parameters(
    (archive(), 'must be UTF-8 text'),
    (b'\xff\xfe-\0-\0', 'must be UTF-8 text'),
    (b'--seed=3\0\n', 'a.flags:1: found the control character'),
    (b'--seed=' + b'9' * 1_500_000, 'bytes, must be a short text'),
    (b'--seed=' + b'9' * 500_000, 'must be a whole number'),
    (b'--' + b'x' * 500_000, 'unknown flag'),
    (b'x' * 500_000, 'must be --flag=value'),
    (b'--run_dir="' + b'x' * 500_000, 'begins with a quote'),
    (b'--model.name=' + b'x' * 500_000, 'must be one of'),
    (b'--method.name=' + b'x' * 500_000, 'must be one of'),
    (b'--flagfile=' + b'x' * 500_000, 'is not a file'),
    (b'--knn.k=' + b'1,' * 200_000 + b'x', 'must be comma-separated whole numbers'),
    (b'--analysis=' + b'x' * 500_000, 'must be negatives'),
  )
  def test_content(self, content, expected):
    (self.folder / 'a.flags').write_bytes(content)
    self.assertIn(expected, self.refusal('a.flags'))

  @settings(max_examples=25, deadline=None, derandomize=True)
  @given(
    st.lists(st.one_of(st.binary(max_size=20), TEXTS.map(lambda t: t.encode(errors='replace'))))
  )
  def test_random_content(self, lines):
    path = self.folder / 'b.flags'
    path.write_bytes(b'\n'.join([b'--seed=3', *lines]))
    try:
      config.parse([f'--flagfile={path}'])
    except UsageError as refused:
      assert len(str(refused).splitlines()) == 1
      assert len(str(refused)) < 1000

  def test_what_is_no_regular_file(self):
    os.mkfifo(self.folder / 'pipe')
    (self.folder / 'loop').symlink_to('loop')
    for path in ('pipe', 'loop', '/dev/zero', '.', 'x' * 5000, '~nobody-of-this-name/x'):
      self.assertRegex(self.refusal(path), 'is not a file|no such home folder')

  def test_includes_are_counted(self):
    for number in range(60):
      name = f'{number}.flags'
      (self.folder / name).write_text(f'--flagfile={number + 1}\n--flagfile={number + 1}\n')
    self.assertIn('is one too many', self.refusal('0'))
    (self.folder / '12.flags').write_text('')
    self.assertIn('is one too many', self.refusal('0'))

  def test_a_byte_order_mark_and_other_line_ends(self):
    for content in (
      '\ufeff--seed=3\r\n--steps=4\r\n',
      '--seed=3\r--steps=4',
      '\ufeff# a\n--seed=3\n--steps=4',
    ):
      (self.folder / 'a.flags').write_bytes(content.encode())
      parsed = config.parse(['--flagfile=a'])
      self.assertEqual((parsed.seed, parsed.steps), (3, 4))
      (self.folder / 'a.sweep').write_bytes(f'{content.split("--")[0]}b: --steps=4\r\n'.encode())
      self.assertEqual(sweep_file.read(self.folder / 'a.sweep').variants[0].name, 'b')


class ValuesTest(chex.TestCase):
  @parameterized.parameters(
    '--steps=1e5', '--steps=1,000', '--steps=1_000', '--steps=٣', '--steps=2147483648',
    '--steps=' + '9' * 5000, '--steps=-1', '--steps=0x10', '--report.every_steps=99999999999',
    '--optimizer.warmup_steps=4294967297', '--knn.k=5,99999999999', '--epochs=nan', '--epochs=1_0',
    '--epochs=1e999', '--optimizer.learning_rate=1e39', '--optimizer.decay_epochs=nan',
    '--optimizer.nesterov=yes', '--optimizer.nesterov=2',
  )  # fmt: skip
  def test_numbers_and_booleans_are_spelled_strictly(self, flag):
    with pytest.raises(UsageError, match=f'{flag.partition("=")[0]}: found .*must be'):
      config.parse([flag])

  def test_what_is_taken(self):
    parsed = config.parse(['--steps=+5', '--epochs=1e2', '--optimizer.momentum=.5', '--seed=07'])
    self.assertEqual((parsed.steps, parsed.epochs, parsed.seed), (5, 100.0, 7))
    self.assertEqual(parsed.optimizer.momentum, 0.5)
    self.assertTrue(config.parse(['--optimizer.nesterov=TRUE']).optimizer.nesterov)
    self.assertTrue(math.isfinite(parsed.epochs))

  @parameterized.parameters('a\nb', 'a\0', 'a\x1b[2J', '\udcff', 'a\u2028', 'a\tb')
  def test_text_is_one_line_however_it_is_given(self, value):
    with pytest.raises(ArgumentError, match='must be UTF-8 text'):
      config.Config(run_dir=value)
