"""docs/evaluation.md names what there is, and nothing else."""

import pathlib
import re

import chex

from ssl_jax import config, evaluation
from ssl_jax.config.evaluation import ONLINE, PROBES

PAGE = (pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'evaluation.md').read_text()


class EvaluationPageTest(chex.TestCase):
  def test_a_row_for_each_protocol(self):
    rows = re.findall(r'^\| `(\w+)` \|', PAGE, re.MULTILINE)
    self.assertCountEqual(rows, config.PROTOCOLS)

  def test_every_flag_exists(self):
    flags = config.parser().render(config.Config())
    named = re.findall(r'--((?:evaluate|meters)\.[a-z_]+)', PAGE)
    self.assertNotEmpty(named)
    for name in named:
      self.assertIn(name, flags)

  def test_probes_are_the_presets(self):
    self.assertEqual(PROBES, tuple(evaluation.PRESETS))
    for name in PROBES:
      self.assertIn(f'`{name}`', PAGE)

  def test_online_meters_are_named(self):
    self.assertIn(f'--meters.names={",".join(ONLINE)}', PAGE)
