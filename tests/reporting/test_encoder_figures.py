"""Figures of an evaluation: complete, the same each time, with any name; refusals."""

import io
import warnings
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.reporting import figures
from ssl_jax.reporting.figures import canvas

# Mathematics that does not parse, a label that a legend hides, a name longer than the picture.
HOSTILE = ('$x_{$', '_hidden', 'a\nb', '<b>&amp;', 'w' * 400, '', '\\$')
EDGES = np.linspace(-1, 1, 11)
RANKS = np.arange(1, 31)
IMAGES = np.zeros((2, 8, 8, 3), np.uint8)


def curve(**changes):
  found = figures.RankCurve(RANKS, 0.1 + 0.5 / RANKS, np.full(30, 0.01), 0.1, 1 / RANKS)
  return found._replace(**changes)


def maps():
  rng = np.random.default_rng(0)
  return {name: rng.normal(size=(12, 4)) for name in HOSTILE[:2]}


DRAWN = {
  'confusion_matrix': lambda: figures.confusion_matrix(
    np.eye(len(HOSTILE) + 1, dtype=int), HOSTILE
  ),
  'metric_bars': lambda: figures.metric_bars(
    {
      'ratio': dict(zip(HOSTILE, (1.0, None, -2.0, np.inf, np.nan, 0.0), strict=False)),
      'error': {HOSTILE[0]: 0.5},
      'nothing': {HOSTILE[0]: None},
    },
    better={'error': 'lower'},
  ),
  'similarity_histograms_plot': lambda: figures.similarity_histograms_plot(
    EDGES,
    {name: {'same image': np.zeros(10), 'same class': np.ones(10)} for name in HOSTILE[:2]},
  ),
  'rank_curves': lambda: figures.rank_curves(dict.fromkeys(HOSTILE[:3], curve())),
  'probe_curve': lambda: figures.probe_curve({HOSTILE[0]: [0.1, 0.9, 0.5], HOSTILE[1]: [0.2]}),
  'tsne_panels': lambda: figures.tsne_panels(maps(), np.arange(12) % 7, HOSTILE),
}


def decode(picture):
  """The pixels; Pillow refuses what is no complete PNG."""
  from PIL import Image

  return np.asarray(Image.open(io.BytesIO(picture), formats=['PNG']).convert('RGB'))


def shows(pixels, color):
  wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
  return bool((np.abs(pixels.astype(int) - wanted).max(-1) < 3).any())


class EncoderFiguresTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    # A quarter of the pixels: the same drawing, sooner.
    smaller = mock.patch.object(canvas, 'DOTS_PER_INCH', 50)
    smaller.start()
    self.addCleanup(smaller.stop)

  @parameterized.parameters(*DRAWN)
  def test_any_name_and_the_same_bytes_each_time(self, name):
    with warnings.catch_warnings():
      warnings.simplefilter('error')  # among them that a layout has no room
      picture = DRAWN[name]()
      chex.assert_shape(decode(picture), (None, canvas.WIDTH * 50, 3))
      self.assertEqual(picture, DRAWN[name]())

  @parameterized.parameters(
    ('short', 'short'),
    ('two\n words', 'two words'),
    ('$a$', r'\$a\$'),
    ('_a', ' _a'),
    ('0123456789' * 4, '0123456789012…67890123456789'),
  )
  def test_names(self, given, written):
    self.assertEqual(canvas.name(given), written)

  @parameterized.parameters(2, 20, 21, 300)
  def test_confusion_of_any_number_of_classes(self, classes):
    pixels = decode(figures.confusion_matrix(100 * np.eye(classes)))
    self.assertTrue(shows(pixels, '#08306b'))  # the darkest blue: all of a class

  def test_confusion_is_of_the_true_class(self):
    rows = figures.confusion_matrix([[1, 1], [0, 5]])
    self.assertEqual(rows, figures.confusion_matrix([[40, 40], [0, 1]]))
    self.assertNotEqual(rows, figures.confusion_matrix([[1, 0], [1, 5]]))

  def test_rare_confusions_show(self):
    counts = np.full((30, 30), 1) + 971 * np.eye(30, dtype=int)  # 0.1 % a cell
    pixels = decode(figures.confusion_matrix(counts))
    self.assertFalse(shows(pixels[60:300, 100:400], '#f7fbff'))  # the color of none at all

  def test_half_the_width(self):
    for picture in (
      figures.confusion_matrix(np.eye(11), half=True),
      figures.neighbor_grid(IMAGES, IMAGES[:, None], half=True),
    ):
      chex.assert_shape(decode(picture), (None, canvas.HALF * 50, 3))

  def test_each_encoder_has_its_color(self):
    for name in ('metric_bars', 'probe_curve'):
      pixels = decode(DRAWN[name]())
      self.assertTrue(shows(pixels, canvas.PALETTE[0]), name)
      self.assertFalse(shows(pixels, canvas.PALETTE[3]), name)

  def test_a_common_bound_is_drawn_once(self):
    pixels = decode(figures.rank_curves({'measured': curve()}))
    self.assertFalse(shows(pixels, canvas.PALETTE[1]))

  def test_a_bound_of_its_own(self):
    shorter = figures.RankCurve(RANKS[:1], [0.5], [np.nan], 0.2, [0.9])
    pixels = decode(figures.rank_curves({'a': curve(), 'b': shorter}))
    self.assertTrue(shows(pixels, canvas.PALETTE[1]))

  @parameterized.parameters(
    ('counts', lambda: figures.confusion_matrix(np.ones((2, 3)))),
    ('counts', lambda: figures.confusion_matrix([[1]])),
    ('counts', lambda: figures.confusion_matrix([[1, -1], [0, 1]])),
    ('counts', lambda: figures.confusion_matrix([[1, np.nan], [0, 1]])),
    ('counts', lambda: figures.confusion_matrix([['a', 'b'], ['c', 'd']])),
    ('metrics', lambda: figures.metric_bars({})),
    ('metrics', lambda: figures.metric_bars({'a': {}})),
    ('better', lambda: figures.metric_bars({'a': {'b': 1.0}}, better={'a': 'max'})),
    ('runs', lambda: figures.similarity_histograms_plot(EDGES, {})),
    ('runs', lambda: figures.similarity_histograms_plot(EDGES, {'a': {'b': np.ones(11)}})),
    ('curves', lambda: figures.rank_curves({})),
    ('ranks', lambda: figures.rank_curves({'a': figures.RankCurve([], [], [], 0.1, [])})),
    ('ranks', lambda: figures.rank_curves({'a': curve(ranks=RANKS - 1)})),
    ('ranks', lambda: figures.rank_curves({'a': curve(ranks=RANKS[::-1])})),
    ('measured', lambda: figures.rank_curves({'a': curve(measured=RANKS[1:])})),
    ('bound', lambda: figures.rank_curves({'a': curve(bound=0.5)})),
    ('accuracies', lambda: figures.probe_curve({})),
    ('accuracies', lambda: figures.probe_curve({'a': []})),
    ('features', lambda: figures.tsne_panels({})),
    ('labels', lambda: figures.tsne_panels(maps(), np.arange(11))),
  )
  def test_refusals(self, argument, draw):
    with self.assertRaisesRegex(ValueError, f'^{argument}: found '):
      draw()
