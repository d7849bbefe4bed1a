"""The small files of a run, damaged in any way: tolerated, or refused in one line."""

import json
import os
import pathlib
import tempfile

import chex
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import config as config_lib
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import MetricWriter, Stopwatch, read_metrics
from ssl_jax.sweeps.columns import COLUMNS
from ssl_jax.tasks.run import folder, record, report
from ssl_jax.training.checkpoints import manifest
from ssl_jax.training.json_file import read_json
from tests.tasks.run.test_report import EVALUATION, RESULT

SECONDS = {'step': 3.0, 'data': 1}
ROWS = b'{"step": 0, "time": 1.5, "loss": 2.5}\n{"step": 20, "time": 3, "loss": null}\n'

WORDS = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.just(10**400),
  st.floats(),
  st.text(max_size=5),
  st.just([]),
  st.just({}),
  st.just([{'file': 3}]),
)


def places(value, path=()):
  """The paths of all values within nested dicts and lists."""
  yield path
  items = value.items() if isinstance(value, dict) else ()
  if isinstance(value, list):
    items = enumerate(value)
  for key, one in items:
    yield from places(one, (*path, key))


def replaced(value, path, new):
  if not path:
    return new
  copy = dict(value) if isinstance(value, dict) else list(value)
  copy[path[0]] = replaced(value[path[0]], path[1:], new)
  return copy


@st.composite
def mutated_json(draw, valid):
  """The object with one value of another kind."""
  return replaced(valid, draw(st.sampled_from(list(places(valid)))), draw(WORDS))


@st.composite
def mutated_bytes(draw, valid):
  """The bytes cut, with some replaced, or junk."""
  content = bytearray(valid)
  for _ in range(draw(st.integers(0, 4))):
    content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
  cut = draw(st.integers(0, len(content)))
  return draw(st.sampled_from([bytes(content), bytes(content[:cut]), draw(st.binary(max_size=50))]))


def fuzz(test):
  return settings(max_examples=25, deadline=None, derandomize=True)(test)


class RunFilesTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.run_dir = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    flags = config_lib.to_flags(config_lib.parse(['--seed=7']))
    (self.run_dir / 'config.flags').write_text(flags)

  def tolerated(self, call, *allowed):
    """Either it works, or one short line says what is wrong."""
    try:
      return call()
    except (UsageError, *allowed) as error:
      self.assertNotIn('\n', str(error))
      self.assertLess(len(str(error)), 500)

  @fuzz
  @given(mutated_json(RESULT), mutated_json(EVALUATION))
  def test_values_of_another_kind(self, result, evaluation):
    for name, content in (('result', result), ('evaluation', evaluation)):
      (self.run_dir / f'{name}.json').write_text(json.dumps(content))
    self.tolerated(lambda: report.render(self.run_dir))
    stored = read_json(self.run_dir / folder.RESULT)
    for column in COLUMNS.values():
      for subject in ('trained', 'random_init'):
        self.assertIsInstance(column.read(stored, subject), float | int | None)

  @fuzz
  @given(mutated_json(SECONDS), mutated_bytes(json.dumps(SECONDS).encode()))
  def test_seconds(self, content, raw):
    for written in (json.dumps(content).encode(), raw):
      (self.run_dir / folder.SECONDS).write_bytes(written)
      self.assertGreaterEqual(
        min(Stopwatch(folder.read_seconds(self.run_dir)).totals().values()), 0
      )

  @fuzz
  @given(mutated_bytes(ROWS))
  def test_metrics(self, content):
    path = self.run_dir / folder.METRICS
    path.write_bytes(content)
    whole = content[: content.rfind(b'\n') + 1]
    with MetricWriter(self.run_dir, tensorboard=False) as writer:
      self.assertEqual(path.read_bytes(), whole)
      writer.truncate_after(20)
      writer.write(21, {'loss': 1.0})
    rows = read_metrics(path)
    self.assertEqual(rows[-1]['loss'], 1.0)
    for row in rows:
      self.assertTrue(all(isinstance(float(value), float) for value in row.values()))

  @fuzz
  @given(mutated_bytes(b'{"version": 2, "step": 3, "score": null, "arrays": {"a": [[3], "f4"]}}'))
  def test_manifest_and_record(self, content):
    newest = self.run_dir / '3'
    newest.mkdir(exist_ok=True)
    (newest / 'manifest.json').write_bytes(content)
    self.tolerated(lambda: manifest.verify(newest), manifest.CorruptCheckpointError)
    (self.run_dir / record.FILE_NAME).write_bytes(content)
    lines = []
    self.assertIsNone(record.read(self.run_dir, lines.append))
    self.assertLen(lines, 1)

  @parameterized.parameters('result.json', 'seconds.json', 'run.json', 'metrics.jsonl')
  def test_a_pipe_or_a_device_is_not_waited_for(self, name):
    path = self.run_dir / name
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to('/dev/zero'), path.mkdir):
      make()
      self.tolerated(lambda: report.render(self.run_dir))
      self.assertEmpty(folder.read_seconds(self.run_dir))
      self.tolerated(lambda: record.read(self.run_dir, lambda line: None))
      if name == 'metrics.jsonl':
        for call in (lambda: read_metrics(path), lambda: MetricWriter(self.run_dir)):
          with self.assertRaises(OSError) as caught:
            call()
          self.assertIn(str(path), str(caught.exception))
      if path.is_dir():
        path.rmdir()
      else:
        path.unlink()
