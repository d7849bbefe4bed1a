"""The fade from similarity to clustering over the epochs of a run."""

import functools

import chex
import jax
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses.schedules import fade_weight


class FadeTest(chex.TestCase):
  @parameterized.parameters((0, 0), (150, 0), (151, 1 / 30), (165, 0.5), (180, 1), (299, 1))
  def test_epochs(self, epoch, expected):
    fade = jax.jit(functools.partial(fade_weight, start=150, end=180))
    np.testing.assert_allclose(fade(epoch), expected, rtol=1e-6)
    np.testing.assert_allclose(fade_weight(epoch, start=150, end=180), expected, rtol=1e-6)

  def test_no_window_is_a_jump(self):
    self.assertEqual([float(fade_weight(x, start=3, end=3)) for x in (2, 3, 4)], [0, 1, 1])
    self.assertEqual(float(fade_weight(0, start=0, end=0)), 1)

  def test_maximum(self):
    values = [float(fade_weight(x, maximum=0.5)) for x in (0.5, 0.6, 1)]
    np.testing.assert_allclose(values, [0, 0.5, 0.5])
    self.assertEqual(float(fade_weight(1, start=0, end=0, maximum=0.5)), 0.5)

  @parameterized.parameters(
    ({'progress': -1}, 'progress: found -1'),
    ({'progress': 0.5, 'start': 0.7}, 'end: found 0.6, must be >= 0.7'),
    ({'progress': 0.5, 'start': -1}, 'start: found -1'),
    ({'progress': 0.55, 'start': '0.5'}, "start: found '0.5', must be >= 0"),
    ({'progress': 0.55, 'start': 0.5, 'end': None}, 'end: found None, must be >= 0.5'),
    ({'progress': 0.5, 'maximum': 2}, 'maximum: found 2, must be from 0 to 1'),
  )
  def test_errors(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      fade_weight(**options)
