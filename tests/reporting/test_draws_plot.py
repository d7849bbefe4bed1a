"""The plot against numbers of draws: a picture from complete and from poor data, and refusals."""

import io
import math

import chex

from ssl_jax.reporting import figures


class DrawsPlotTest(chex.TestCase):
  def draw(self, numbers=(16, 32, 64), series=None, **options):
    series = series or {'a': [0.1, 0.5, 0.9], 'b': [math.inf, 1e9, math.nan]}
    return figures.draws_plot(numbers, series, x_label='K+1', y_label='nats', **options)

  def test_pictures(self):
    from PIL import Image

    for options in (
      {},
      {'log_scale': True, 'most': 100.0, 'marked': {32: 'the batch'}},
      {'errors': {'a': [0.1, math.inf, 0.1]}, 'ticks': (16, 64)},
      {'series': {'a': [0.0, math.inf, -1.0]}, 'log_scale': True},
    ):
      picture = self.draw(**options)
      self.assertEqual(Image.open(io.BytesIO(picture)).format, 'PNG')
      self.assertEqual(picture, self.draw(**options))

  def test_refusals(self):
    with self.assertRaisesRegex(ValueError, r'^numbers: found none'):
      self.draw(numbers=())
    with self.assertRaisesRegex(ValueError, r'^series: found 2 of a, must be 3$'):
      self.draw(series={'a': [1.0, 2.0]})
