"""Probe recipes: the papers' numbers, schedules by their definitions, errors."""

import dataclasses
import math

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.evaluation.probes.recipes import PRESETS, ProbeRecipe, learning_rate_factors


class PresetsTest(chex.TestCase):
  def test_members_cross_all_settings(self):
    recipe = ProbeRecipe((1.0, 2.0, 3.0), (0.0, 0.5))
    self.assertEqual(recipe.members[:3], ((1.0, 0.0), (1.0, 0.5), (2.0, 0.0)))
    self.assertEqual(recipe.members[recipe.middle], (2.0, 0.0))
    self.assertLen(PRESETS['grid'].members, 30)

  def test_papers_learning_rates_by_epoch(self):
    rates = {
      name: recipe.learning_rates[0] * learning_rate_factors(recipe, batches=4)
      for name, recipe in PRESETS.items()
    }
    for name, expected in {
      'dsa': {0: 1e-2, 1: 1e-2 * 0.9817479430, 499: 1e-6 / 0.9817479430},
      'long_tail': {0: 30, 9: 30, 10: 3, 19: 3, 20: 0.3, 29: 0.3},
      'few_shot': {39: 30, 40: 3, 60: 0.3, 99: 0.3},
      'iccl': {0: 0.3, 50: 0.15, 99: 0.15 * (1 + math.cos(math.pi * 0.99))},
      'iccl_imagenette': {0: 3.2, 50: 1.6},
      'negatives': {0: 0.3, 25: 0.15 * (1 + math.cos(math.pi / 4))},
      'balanced': {0: 0.1 * 4096 / 256, 45: 0.8},
    }.items():
      for epoch, rate in expected.items():
        np.testing.assert_allclose(rates[name][epoch], rate, rtol=1e-8, err_msg=f'{name} {epoch}')

  def test_warm_up_grows_by_batch_under_the_schedule(self):
    factors = learning_rate_factors(PRESETS['truncated_triplet'], batches=4)
    chex.assert_shape(factors, (100, 4))
    self.assertAlmostEqual(factors[0, 0], 1e-4)
    cosine = lambda epoch: (1 + math.cos(math.pi * epoch / 100)) / 2
    self.assertAlmostEqual(factors[5, 2], cosine(5) * (1e-4 + (1 - 1e-4) * 22 / 40))
    np.testing.assert_allclose(factors[10:, 3], [cosine(epoch) for epoch in range(10, 100)])

  def test_shortened_keeps_proportions(self):
    recipe = PRESETS['few_shot'].shortened(10)
    self.assertEqual((recipe.epochs, recipe.decay_epochs), (10, (4, 6)))
    self.assertEqual(PRESETS['truncated_triplet'].shortened(20).warmup_epochs, 2)
    factors = learning_rate_factors(PRESETS['dsa'].shortened(5), 1)
    np.testing.assert_allclose(factors[:, 0], 1e-4 ** (np.arange(5) / 5))
    self.assertEqual(PRESETS['dsa'].shortened(500), PRESETS['dsa'])

  def test_constant(self):
    recipe = ProbeRecipe((1.0,), epochs=3, schedule='constant')
    np.testing.assert_array_equal(learning_rate_factors(recipe, 2), np.ones((3, 2)))

  @parameterized.parameters(
    ({'learning_rates': ()}, r'^learning_rates: found \(\)'),
    ({'learning_rates': (1.0, 0.0)}, r'^learning_rates: found 0\.0, must be > 0'),
    ({'learning_rates': (float('nan'),)}, r'^learning_rates: found nan'),
    ({'weight_decays': (-1.0,)}, r'^weight_decays: found -1\.0'),
    ({'optimizer': 'lars'}, r"^optimizer: found 'lars', must be one of sgd, adam"),
    ({'schedule': 'linear'}, r"^schedule: found 'linear'"),
    ({'scaling': 'none'}, r"^scaling: found 'none'"),
    ({'momentum': 1.0}, r'^momentum: found 1\.0'),
    ({'epochs': 0}, r'^epochs: found 0, must be a whole number >= 1'),
    ({'batch_size': 0}, r'^batch_size: found 0'),
    ({'final_ratio': 0.0}, r'^final_ratio: found 0\.0'),
    ({'warmup_ratio': 2.0}, r'^warmup_ratio: found 2\.0'),
    ({'decay_epochs': (0,)}, r'^decay_epochs: found 0'),
  )
  def test_errors(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      dataclasses.replace(PRESETS['grid'], **change)
