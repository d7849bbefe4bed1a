"""Figures of metrics: what is undefined, negative, collapsed or lacking, and where words end up."""

import warnings
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.reporting import figures
from ssl_jax.reporting.figures import canvas, encoder_metrics

EDGES = np.linspace(-1, 1, 11)
NOTHING = np.zeros(10)
SPIKE = np.eye(10)[3]


def drawn(draw):
  """The matplotlib Figure, laid out, in place of its PNG; a warning fails."""
  with warnings.catch_warnings(), mock.patch.object(canvas, 'png', lambda drawing: drawing):
    warnings.simplefilter('error')
    drawing = draw()
    drawing.canvas.draw()
  return drawing


def legend(drawing):
  """Words and colors of the legend."""
  words = [one.get_text() for one in drawing.legends[0].get_texts()]
  colors = [one.get_color() for one in drawing.legends[0].get_lines()]
  return words, colors


class MeterBarsTest(chex.TestCase):
  @parameterized.parameters(
    ([0.5],),
    ([-3.0, -1.0],),
    ([-3.0, 2.0],),
    ([1e-9, 12345.0, 0.0],),
    ([None, np.nan, np.inf],),
  )
  def test_words_are_within_the_panel(self, values):
    drawing = drawn(lambda: figures.metric_bars({'m': {f'{at}': x for at, x in enumerate(values)}}))
    (axes,) = drawing.axes
    self.assertLen(axes.texts, len(values))
    for words in axes.texts:
      self.assertLess(words.get_window_extent().x1, drawing.bbox.x1)
    for value, bar in zip(values, axes.patches, strict=True):
      finite = value is not None and np.isfinite(value)
      self.assertEqual(bar.get_width(), value if finite else 0)

  def test_the_first_encoder_is_on_top_and_what_is_lacking_is_said(self):
    drawing = drawn(lambda: figures.metric_bars({'m': {'a': 1.0, 'b': 2.0}, 'n': {'a': np.nan}}))
    heights = [words.get_window_extent().y0 for words in drawing.axes[0].texts]
    self.assertGreater(heights[0], heights[1])
    self.assertEqual(
      [words.get_text() for words in drawing.axes[1].texts], [' undefined', ' not measured']
    )


class SimilarityHistogramsTest(chex.TestCase):
  def test_a_kind_keeps_its_color_and_word_where_a_run_lacks_it(self):
    from matplotlib.colors import to_hex

    runs = {'a': {'one': NOTHING, 'two': SPIKE}, 'b': {'two': SPIKE, 'one': SPIKE}, 'c': {}}
    words, colors = legend(drawn(lambda: figures.similarity_histograms_plot(EDGES, runs)))
    self.assertEqual(words, ['one', 'two'])
    self.assertEqual(
      [to_hex(one).upper() for one in colors], list(encoder_metrics._KIND_COLORS[:2])
    )

  def test_the_dashed_line_is_the_mean(self):
    density = np.array([1, 1, 1, 1, 4, 0, 0, 0, 0, 2])
    drawing = drawn(lambda: figures.similarity_histograms_plot(EDGES, {'a': {'one': density}}))
    expected = np.repeat((EDGES[1:] + EDGES[:-1]) / 2, density).mean()
    np.testing.assert_allclose(drawing.axes[0].lines[0].get_xdata(), expected)

  @parameterized.parameters(
    (EDGES, {'a': {'one': NOTHING}}),
    (EDGES, {'a': {}}),
    (EDGES, {'a': {'one': SPIKE}}),
    ([-1.0, 1.0], {'a': {'one': [0.5]}}),
  )
  def test_poor_data(self, edges, runs):
    drawing = drawn(lambda: figures.similarity_histograms_plot(edges, runs))
    self.assertLen(drawing.axes, 1)

  @parameterized.parameters(
    ('runs: found nan of one in a', EDGES, SPIKE * np.nan),
    ('runs: found -1.0 of one in a', EDGES, -SPIKE),
    (r'runs: found shape \(9,\) of one in a, must be \(10,\)', EDGES, SPIKE[1:]),
    ('edges: found shape', EDGES[:1], []),
    ('edges: found shape', EDGES[::-1], SPIKE),
    ('edges: found shape', EDGES[None], SPIKE),
  )
  def test_refusals(self, message, edges, density):
    with self.assertRaisesRegex(ValueError, f'^{message}'):
      figures.similarity_histograms_plot(edges, {'a': {'one': density}})


class ProbeCurveTest(chex.TestCase):
  def test_last_and_best_of_what_is_finite(self):
    drawing = drawn(
      lambda: figures.probe_curve(
        {'a': [None, 0.3, 0.9, 0.2, np.nan], 'b': [np.inf], 'c': np.array([0.5])}
      )
    )
    self.assertEqual(
      legend(drawing)[0],
      ['a: last 20.0 %, best 90.0 %', 'b: undefined', 'c: last 50.0 %, best 50.0 %'],
    )

  @parameterized.parameters(1, 2, 3, 90)
  def test_epochs_are_whole(self, count):
    drawing = drawn(lambda: figures.probe_curve({'a': np.linspace(0.1, 0.9, count)}))
    (axes,) = drawing.axes
    ticks = axes.get_xticks()
    self.assertTrue((ticks == ticks.round()).all())
    self.assertContainsSubset([1, count] if count < 4 else [], ticks)
    low, high = axes.get_xlim()
    self.assertTrue(low < 1 and count < high)
