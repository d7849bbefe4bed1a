"""The presets of DSA, and what its settings allow."""

import chex
from absl.testing import parameterized

from ssl_jax.losses.dsa.settings import PRESETS, AdjusterSettings


class SettingsTest(chex.TestCase):
  def test_presets(self):
    table = {
      name: (s.matrix, s.num_neighbors, s.threshold, s.prior_temperature, s.same_image_target,
             s.arranging_weight, s.regularizer_weight, s.temperature, s.reduction)
      for name, s in PRESETS.items()
    }  # fmt: skip
    assert table == {
      'paper': ('concatenation', 20, 1, 0.5, False, 1.0, 0.01, 0.5, 'sum'),
      'calibrated': ('concatenation', None, 1, None, True, 1.0, 0.1, 0.5, 'sum'),
      'released': ('difference', 20, 1, 0.5, False, 1.0, 0.01, 0.5, 'sum'),
    }

  @parameterized.parameters(
    ('matrix', 'sum'), ('score_mode', 'both'), ('num_neighbors', 0), ('threshold', -1),
    ('prior_temperature', 0), ('prior_quantile', 1.0), ('temperature', -1),
    ('arranging_weight', -1), ('regularizer_weight', float('nan')), ('reduction', 'max'),
  )  # fmt: skip
  def test_settings(self, field, value):
    with self.assertRaisesRegex(ValueError, f'{field}: found {value!r}, must be'):
      AdjusterSettings(**{field: value})
