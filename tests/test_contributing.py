"""A loss and a method, added in only the files that CONTRIBUTING.md lists, pass their tests."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import chex
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIED = ('ssl_jax', 'tests', 'benchmarks', 'docs', 'experiments', 'pyproject.toml', 'README.md')

LOSS = '''"""The mean cosine of two views, negated and scaled."""

import chex
import jax
import jax.numpy as jnp

from ssl_jax.losses import arguments, row_means
from ssl_jax.losses.collectives import AxisName
from ssl_jax.losses.normalize import l2_normalize


def dummy_loss(
  view1: chex.Array,
  view2: chex.Array,
  *,
  scale: float = 1.0,
  mask: chex.Array | None = None,
  axis_name: AxisName = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`-scale * cos`, averaged over images.

  Source: none.

  >>> import jax.numpy as jnp
  >>> print(f'{dummy_loss(jnp.eye(3), jnp.eye(3))[0]:.1f}')
  -1.0

  Args:
    view1: `[batch, dim]`, any float dtype.
    view2: `[batch, dim]`.
    scale: > 0.
    mask: bool `[batch]`, False for padding.
    axis_name: the mapped axis over which the mean is taken.

  Returns:
    The loss, and `positive_similarity`.

  Raises:
    ValueError: shapes differ, or the scale is out of range.
  """
  arguments.check_embeddings(view1=view1, view2=view2)
  arguments.check_number('scale', scale, above=0)
  mask = arguments.check_mask(mask, view1.shape[0])
  unit1, unit2 = (l2_normalize(row_means.without_padding(view, mask)) for view in (view1, view2))
  cosines = {'positive_similarity': jnp.sum(unit1 * unit2, axis=-1)}
  metrics = row_means.means(cosines, mask, axis_name)
  return -scale * metrics['positive_similarity'], jax.lax.stop_gradient(metrics)
'''
CASE = '''"""Cases of the dummy loss."""

from ssl_jax import losses
from tests.losses.cases import Case

CASES: dict[str, Case] = {
  'dummy_loss': Case(
    lambda batch, **options: losses.dummy_loss(batch.view1, batch.view2, **options),
    ('dummy_loss',),
    one_image=True,
  ),
}
'''
METHOD = '''"""Dummy: the views agree, and nothing keeps them from collapsing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import chex
import jax

from ssl_jax import losses
from ssl_jax.methods.base import pairs
from ssl_jax.methods.base.batch import Embeddings, Metrics
from ssl_jax.methods.base.method import Variables, hyperparameter
from ssl_jax.methods.base.projected import ProjectedMethod


@dataclasses.dataclass(frozen=True)
class Dummy(ProjectedMethod):
  """SimCLR's networks and `losses.negative_cosine`."""

  name: ClassVar[str] = 'dummy'

  loss_scale: float = hyperparameter(1.0, 'factor of the loss')

  def loss_from_embeddings(
    self, embeddings: Embeddings, variables: Variables, step: chex.Numeric
  ) -> tuple[jax.Array, Metrics]:
    del variables, step
    loss = lambda a, b: losses.negative_cosine(a, b)
    value, metrics = pairs.all_pairs_mean(loss, embeddings)
    return self.loss_scale * value, metrics
'''
RECIPE = """# Dummy on patches of photographs.
#   ssl-jax --flagfile=photographs/dummy
# Hardware: two CPU cores. Time: not run here. Result: not run here.
--flagfile=base.flags
--method.name=dummy
"""


def listed(heading: str) -> list[str]:
  """The paths that CONTRIBUTING.md lists under a heading."""
  text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
  section = re.split(r'^#+ ', text.partition(f'### {heading}\n')[2], flags=re.MULTILINE)[0]
  return re.findall(r'^\* `([^`]+)`', section, re.MULTILINE)


@pytest.mark.slow
class ContributingTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.copy = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    for name in COPIED:
      if (ROOT / name).is_dir():
        shutil.copytree(ROOT / name, self.copy / name, ignore=shutil.ignore_patterns('__pycache__'))
      else:
        shutil.copy(ROOT / name, self.copy / name)

  def write(self, path: str, text: str) -> str:
    self.assertFalse((self.copy / path).exists(), path)
    (self.copy / path).write_text(text, encoding='utf-8')
    return path

  def insert(self, path: str, pattern: str, text: str) -> str:
    """Puts text before the first line that matches."""
    file = self.copy / path
    before, at, after = re.split(f'({pattern})', file.read_text(encoding='utf-8'), maxsplit=1)
    file.write_text(before + text + at + after, encoding='utf-8')
    return path

  def run_here(self, *command: str) -> str:
    done = subprocess.run(
      [sys.executable, *command], cwd=self.copy, capture_output=True, text=True, check=False
    )
    self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])
    return done.stdout

  def assert_listed(self, heading: str, edited: list[str], name: str, placeholder: str):
    self.assertEqual([path.replace(placeholder, name) for path in listed(heading)], edited)

  def test_a_loss(self):
    edited = [
      self.write('ssl_jax/losses/dummy.py', LOSS),
      self.insert(
        'ssl_jax/losses/__init__.py',
        r'from ssl_jax\.losses\.redundancy',
        'from ssl_jax.losses.dummy import dummy_loss\n',
      ),
      self.write('tests/losses/cases/dummy.py', CASE),
      self.insert(
        'docs/losses.md', r'\| `negative_cosine` ', '| `dummy_loss` | `-s` | none | no matrix |\n'
      ),
    ]
    self.insert('ssl_jax/losses/__init__.py', r"  'fade_weight',", "  'dummy_loss',\n")
    self.assert_listed('A loss', edited, 'dummy', 'FAMILY')
    chosen = 'dummy or CasesTest or DocstringTest or (LossesPageTest and not example)'
    report = self.run_here('-m', 'pytest', 'tests/losses', '-k', chosen)
    # On all numbers of devices, in both half precisions, and so on.
    self.assertGreater(int(re.search(r'(\d+) passed', report)[1]), 40, report)

  def test_a_method(self):
    edited = [
      self.write('ssl_jax/methods/dummy.py', METHOD),
      self.insert(
        'ssl_jax/methods/__init__.py',
        r'from ssl_jax\.methods\.iccl',
        'from ssl_jax.methods.dummy import Dummy\n',
      ),
      self.write('experiments/flags/photographs/dummy.flags', RECIPE),
      'docs/recipes.md',
    ]
    self.insert('ssl_jax/methods/__init__.py', r'  VICReg,\n  SwAV', '  Dummy,\n')
    self.run_here('docs/recipe_index.py')
    self.assert_listed('A method', edited, 'dummy', 'NAME')
    report = self.run_here('-m', 'pytest', 'tests/methods/test_every_method.py', '-k', 'dummy')
    self.assertGreater(int(re.search(r'(\d+) passed', report)[1]), 8, report)
    self.run_here('-m', 'pytest', 'tests/test_recipes.py')
