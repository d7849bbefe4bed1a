"""Names of classes in any script in figures and captions."""

import warnings
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized
from matplotlib.text import Text

from ssl_jax.reporting import figures
from ssl_jax.reporting.figures import canvas, fonts
from ssl_jax.reporting.page import text

CAT = '\u732b'
NAMES = (
  'cat',
  CAT * 40,
  '\u0642\u0637\u0629',  # Arabic
  '\u05db\u05dc\u05d1',  # Hebrew
  'e\u0301le\u0301phant',
  '\U0001f600 \U0001f468\u200d\U0001f467',
  '\u0928\u092e\u0938\u094d\u0924\u0947',  # Devanagari
  '\u0378',  # in no font, as it is no letter
  '<b>&"</b> $x_1$',
  '_hidden',
  'x' * 250,
)


class ClassNamesTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    smaller = mock.patch.object(canvas, 'DOTS_PER_INCH', 50)
    smaller.start()
    self.addCleanup(smaller.stop)

  def written(self, draw):
    """All texts of the figure that `draw` makes, without a warning of a missing letter."""
    found = []
    real = canvas.png

    def png(drawing):
      picture = real(drawing)
      found.extend(text.get_text() for text in drawing.findobj(Text))
      return picture

    with mock.patch.object(canvas, 'png', png), warnings.catch_warnings():
      warnings.simplefilter('error')
      draw()
    return found

  def test_every_class_is_in_figures_by_name_or_number(self):
    classes = len(NAMES)
    features = np.random.default_rng(0).normal(size=(3 * classes, 4)).astype(np.float32)
    labels = np.arange(3 * classes) % classes
    key = figures.class_key(NAMES)
    for draw in (
      lambda: figures.confusion_matrix(np.eye(classes), NAMES),
      lambda: figures.tsne(features, labels, NAMES),
    ):
      written = self.written(draw)
      for label in range(classes):
        shown = canvas.class_name(NAMES, label, 24)
        self.assertIn(shown[:12], ' '.join(written))
        if shown == f'class {label}':
          self.assertIn(f'{label} \u2068', key)
    self.assertEqual(canvas.class_name(NAMES, 0), 'cat')
    self.assertEqual(canvas.class_name(NAMES, 2), NAMES[2])
    self.assertEqual(canvas.class_name(NAMES, 4), '\u00e9l\u00e9phant')
    self.assertEqual(canvas.class_name(NAMES, 7), 'class 7')
    self.assertEqual(canvas.class_name(NAMES, 99), '99')

  def test_a_page_shows_the_names_that_figures_cannot(self):
    with mock.patch.object(fonts, 'families', lambda characters: None):
      key = figures.class_key(('cat', CAT, '<\u732b>'))
      self.assertEqual(key, f' Classes by number: 1 \u2068{CAT}\u2069, 2 \u2068<{CAT}>\u2069.')
      self.assertIn('&lt;', text(key))
      self.assertEndsWith(figures.class_key((CAT,) * 99), ' and 39 more.')
      self.assertEqual(canvas.name(f'run {CAT}'), r'run \u732b')
    self.assertEqual(figures.class_key(('cat', 'dog')), '')

  def test_another_font_is_taken_where_the_default_lacks_a_letter(self):
    own = {name: fonts._characters(path) for name, path in fonts._fonts()}
    # Of those that come with matplotlib.
    missing = sorted(own['STIXGeneral'] - own[fonts.DEFAULT])
    letter = next(chr(code) for code in missing if chr(code).isprintable() and code < 0xE000)
    found = fonts.families(frozenset(f'a{letter}'))
    self.assertEqual(found[0], fonts.DEFAULT)
    self.assertTrue(any(ord(letter) in own[name] for name in found[1:]))
    names = [f'{letter} {at}' for at in range(3)]
    self.assertContainsSubset(
      names, self.written(lambda: figures.confusion_matrix(np.eye(3), names))
    )

  def test_joined_letters_need_a_matplotlib_that_joins_them(self):
    self.assertEqual(fonts.families.__wrapped__(frozenset('\u0642')), (fonts.DEFAULT,))
    with mock.patch.object(fonts, '_can_shape', lambda: False):
      self.assertIsNone(fonts.families.__wrapped__(frozenset('\u0642')))
      self.assertIsNotNone(fonts.families.__wrapped__(frozenset('\u00e9')))

  @parameterized.parameters(
    ('0123456789' * 4, '0123456789012…67890123456789'),
    (CAT * 20, CAT * 6 + '…' + CAT * 7),
    ('e\u0301' * 28, 'e\u0301' * 28),
    ('\U0001f468\u200d\U0001f467' * 3, '\U0001f468\u200d\U0001f467' * 3),
    ('ab' * 6 + 'e\u0301' * 30, 'ab' * 6 + 'e\u0301…' + 'e\u0301' * 14),
  )
  def test_shortened(self, given, expected):
    self.assertEqual(canvas.shortened(given, 28), expected)
