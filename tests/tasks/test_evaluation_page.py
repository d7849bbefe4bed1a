"""docs/evaluation.md names every protocol, preset and flag of evaluation, and no others."""

import pathlib
import pkgutil
import re
import sys

import chex

from ssl_jax import config, evaluation
from ssl_jax.tasks import protocols
from ssl_jax.tasks.protocols import PROTOCOLS

PAGE = (pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'evaluation.md').read_text()
FLAGS = config.parser().render(config.Config())


class EvaluationPageTest(chex.TestCase):
  def test_a_row_for_each_protocol(self):
    rows = re.findall(r'^\| `(\w+)` \|', PAGE, re.MULTILINE)
    self.assertCountEqual(rows, PROTOCOLS)

  def test_a_protocol_needs_no_line_but_its_own_module(self):
    names = {found.name for found in pkgutil.iter_modules(protocols.__path__)}
    modules = {f'{protocols.__name__}.{name}' for name in names}
    self.assertLessEqual({one.measure.__module__ for one in PROTOCOLS.values()}, modules)
    self.assertLessEqual(modules, sys.modules.keys())

  def test_every_flag_exists(self):
    named = re.findall(r'--((?:evaluate|meters|knn)\.[a-z_]+)', PAGE)
    self.assertNotEmpty(named)
    for name in named:
      self.assertIn(name, FLAGS)

  def test_settings_of_protocols_are_flags(self):
    for name, protocol in PROTOCOLS.items():
      for setting in protocol.settings:
        self.assertIn(setting, FLAGS, name)

  def test_probes_are_the_presets(self):
    for name in evaluation.PRESETS:
      self.assertIn(f'`{name}`', PAGE)

  def test_online_protocols_are_named(self):
    online = [name for name, protocol in PROTOCOLS.items() if protocol.online]
    self.assertIn(f'--online_metrics.names={",".join(online)}', PAGE)
