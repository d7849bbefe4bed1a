"""A public loss that no test harness knows fails here."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
from absl.testing import parameterized

from ssl_jax import losses
from tests.losses.batches import SIZE, random_batch
from tests.losses.cases import all_cases

CASES = all_cases()
# Public, and not a function from embeddings to (loss, metrics).
NOT_LOSSES = {
  'ADJUSTER_PRESETS': 'settings, an argument of semantic_adjuster',
  'AdjusterSettings': 'settings, an argument of semantic_adjuster',
  'AllRanks': 'a rule of ranks, an argument of truncated_triplet',
  'Deputy': 'a type',
  'MedianRank': 'a rule of ranks, an argument of truncated_triplet',
  'RankWindow': 'a rule of ranks, an argument of truncated_triplet',
  'PCA': 'what fit_pca returns',
  'cosine_temperature': 'a schedule',
  'init_arranging': 'draws initial parameters',
  'l2_normalize': 'a function of single vectors',
  'update_temperature': 'a moving average of numbers',
}
COVERED = {name for case in CASES.values() for name in case.names}


class CasesTest(chex.TestCase):
  def test_every_loss_is_in_the_harness(self):
    missing = set(losses.__all__) - COVERED - NOT_LOSSES.keys()
    self.assertEmpty(
      missing,
      'Public losses without a case. Add one for each to a file of tests/losses/cases: the '
      'tests of devices, processes, blocks and properties run over it. What is not a loss goes '
      f'into NOT_LOSSES of {__file__}, with the reason.',
    )

  def test_old_names_warn_until_they_go(self):
    for old, new in {
      'Rotation': losses.PCA,
      'principal_rotation': losses.fit_pca,
      'rotate_features': losses.project,
    }.items():
      with self.assertWarnsRegex(DeprecationWarning, f'ssl_jax.losses.{old} is now'):
        self.assertIs(getattr(losses, old), new)
    with self.assertRaisesRegex(AttributeError, 'no attribute'):
      _ = losses.no_such_loss

  def test_exceptions_are_public(self):
    self.assertEmpty(NOT_LOSSES.keys() - set(losses.__all__))

  def test_cases_name_what_is_public(self):
    self.assertEmpty(COVERED - set(losses.__all__), 'named by a case, not in ssl_jax.losses')

  def test_functions_with_a_block_size_are_tried_with_blocks(self):
    functions = {name: getattr(losses, name) for name in losses.__all__}
    with_blocks = {
      name
      for name, function in functions.items()
      if inspect.isfunction(function) and 'block_size' in inspect.signature(function).parameters
    }
    tried = {name for case in CASES.values() if case.blocks for name in case.names}
    self.assertEmpty(with_blocks - tried, 'take block_size, and have no case with blocks=True')

  @parameterized.named_parameters(zip(CASES, CASES, strict=True))
  def test_case_(self, name):
    case = CASES[name]
    batch = random_batch(max(SIZE, case.minimum), dtype=jnp.bfloat16)
    options = {'block_size': 4} if case.blocks else {}
    for settings in ({}, options):
      loss, metrics = jax.eval_shape(functools.partial(case.call, **settings), batch)
      self.assertEqual((loss.shape, loss.dtype), ((), jnp.float32))
      self.assertNotEmpty(metrics)
      for key, metric in metrics.items():
        self.assertEqual((metric.shape, metric.dtype), ((), jnp.float32), key)
    self.assertEmpty(set(case.discontinuous) - metrics.keys() - {'contrast_accuracy'})
    if not case.blocks:
      with self.assertRaises(TypeError):
        jax.eval_shape(functools.partial(case.call, block_size=4), batch)
    if case.minimum > 2:
      with self.assertRaisesRegex(ValueError, 'found .* must '):
        jax.eval_shape(case.call, random_batch(case.minimum - 1))
