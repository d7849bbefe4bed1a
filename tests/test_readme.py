"""The README does what it says: its Python runs as printed, and its commands are understood."""

import contextlib
import io
import pathlib
import re
import shlex
from unittest import mock

import chex
import pytest

import ssl_jax
from ssl_jax import config, methods
from ssl_jax.sweeps import sweep_file
from tests.tasks import small_runs

README = (small_runs.ROOT / 'README.md').read_text()
# What makes the quickstart short enough for a test.
SMALL = ('--steps=2', '--model.width=4', '--data.batch_size=32', '--report.html=false')


def blocks(language):
  return re.findall(rf'^```{language}\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)


class ReadmeTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _elsewhere(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

  def test_every_command_is_understood(self):
    lines = [line.partition(' #')[0] for block in blocks('') for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith('ssl-jax ')]
    self.assertGreaterEqual(len(commands), 6)
    for words in commands:
      if words[0] == 'sweep':
        sweep_file.read(pathlib.Path(words[1]))
      else:
        config.parse([word for word in words if not re.match(r'--(help|show)\b', word)])

  def test_every_listed_method_and_every_link_exists(self):
    table = README.partition('## Methods')[2].partition('##')[0]
    named = set(re.findall(r'`([a-z_0-9]+)`', ''.join(re.findall(r'^\|(.*?)\|', table, re.M))))
    self.assertContainsSubset(named, methods.names())
    self.assertContainsSubset({'simclr', 'truncated_triplet', 'iccl', 'balanced'}, named)
    for target in re.findall(r'\]\(([^)#]+)\)', README):
      self.assertTrue((small_runs.ROOT / target).exists(), target)

  @pytest.mark.slow
  def test_the_python_runs(self):
    pretrain = ssl_jax.pretrain
    short = lambda flags: pretrain([*flags, *SMALL])
    for block in blocks('python'):
      out = io.StringIO()
      with mock.patch.object(ssl_jax, 'pretrain', short), contextlib.redirect_stdout(out):
        scope: dict = {}
        exec(block, scope)
      if 'features' in scope:
        self.assertEqual(scope['features'].shape, (950, 32))
        self.assertRegex(out.getvalue(), r'image 0 is most like image \d+\n$')
      else:
        self.assertGreater(scope['loss'], 0)
