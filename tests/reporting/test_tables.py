"""Tables: aligned text, complete numbers in CSV, escaped HTML, and what a cell shows."""

import csv
import io
import math

import chex
from absl.testing import parameterized

from ssl_jax.reporting import Measured, Percent, Probability, Table, tables

TABLE = Table(
  'T9. <Numbers>',
  'What they are.',
  ('K+1', '32', '64'),
  [('loss', Measured(1 / 3, 0.01), Measured(2.0, math.inf)), ('count', 1234, None)],
)


class TablesTest(chex.TestCase):
  @parameterized.parameters(
    (0.25, '0.2500'),
    (0.0, '0'),
    (1.5036e-22, '1.504e-22'),
    (123.456, '123.5'),
    (5.278e74, '5.278e+74'),
    (math.inf, '∞'),
    (7486, '7,486'),
    (None, '–'),
    ('256 (run)', '256 (run)'),
    (Probability(1 - 1e-9), '1-1e-09'),
    (Probability(1), '1.0000'),
    (Probability(0.5), '0.5000'),
    (Measured(0.5, 0.0123), '0.5000 ±0.01'),
    (Measured(0.5, math.inf), '0.5000'),
    (Measured(0.5, math.nan), '0.5000'),
    (Percent(81.256), '81.26'),
    (Percent(0), '0.00'),
    (Percent(100), '100.00'),
    (Percent('nan'), 'nan'),
    (Measured(Percent(81.256), 0.42), '81.26 ±0.4'),
  )
  def test_cells(self, value, expected):
    self.assertEqual(tables.cell(value), expected)

  def test_text_is_aligned(self):
    lines = tables.as_text(TABLE).splitlines()
    self.assertEqual(lines[0], 'T9. <Numbers>')
    self.assertEqual(lines[2], 'K+1              32      64')
    self.assertEqual(lines[3], 'loss   0.3333 ±0.01  2.0000')
    self.assertEqual(lines[4], 'count         1,234       –')
    self.assertEqual(lines[-1], 'What they are.')

  def test_text_in_any_script_is_aligned(self):
    names = ['cat', '\u732b', 'e\u0301te\u0301', '\ud55c', '\u0939\u093f', 'a\u3000b']
    names += ['\u1112\u1161\u11ab', '\U0001f468\u200d\U0001f469\u200d\U0001f467']
    table = Table('T', 'C', ('', 'x'), [(name, 0.5) for name in names])
    lines = tables.as_text(table).splitlines()[3 : 3 + len(names)]
    widths = (3, 2, 3, 2, 1, 4, 2, 2)  # in a terminal
    for line, columns in zip(lines, widths, strict=True):
      name = line.removesuffix('0.5000')
      self.assertEqual(len(name) - len(name.rstrip(' ')), 2 + 4 - columns, repr(line))

  def test_what_controls_a_terminal_is_an_escape(self):
    hostile = 'a\x1b[2J\x07\r\n\u202eb\udcff'
    table = Table(hostile, hostile, ('', hostile), [(hostile, 1)], (), (), [hostile])
    words = tables.as_text(table)
    for character in words:
      self.assertTrue(character.isprintable() or character == '\n', repr(character))
    self.assertIn(r'a\x1b[2J\x07\r\n\u202eb\udcff', words)
    self.assertLen(words.splitlines(), 7)

  def test_markdown(self):
    lines = tables.as_markdown([('', 'kNN'), ('a|b', '1'), ('\u732b\n', '2')]).splitlines()
    self.assertEqual(lines[0], '|      | kNN |')
    self.assertEqual(lines[1], '|------|-----|')
    self.assertEqual(lines[2], r'| a\|b | 1   |')
    self.assertEqual(lines[3], '| \u732b\\n | 2   |')

  def test_csv_keeps_all_digits_and_errors(self):
    rows = list(csv.reader(io.StringIO(tables.as_csv(TABLE))))
    self.assertEqual(rows[1], ['loss', repr(1 / 3), '2.0'])
    self.assertEqual(rows[2], ['loss, standard error', '0.01', 'inf'])
    self.assertEqual(rows[3], ['count', '1234', ''])

  def test_html_is_escaped(self):
    page = tables.as_html(TABLE)
    self.assertIn('T9. &lt;Numbers&gt;', page)
    self.assertIn('<th scope="row">loss</th>', page)
    hostile = '<script>--><!-- end evaluation --> "\'&'
    page = tables.as_html(Table(hostile, hostile, (hostile, hostile), [(hostile, hostile)]))
    for text in ('<script', '<!--', '-->', '"\''):
      self.assertNotIn(text, page)
    self.assertEqual(page.count('&lt;script&gt;--&gt;&lt;!-- end'), 6)

  def test_the_best_of_a_row_is_marked(self):
    table = TABLE._replace(
      columns=('', 'a', 'b', 'c'),
      rows=[
        ('max', 1, 2.0, None),
        ('min', Measured(1.0, 0.1), math.nan, Measured(2.0, 0.1)),
        ('ties', 3, 3.0, 1),
        ('all the same', 1, 1, 1),
        ('infinite', math.inf, 1.0, 0.5),
        ('neither', 1, 2, 3),
        ('words', '3', 2, 1.0),
        ('nothing', None, math.nan, '-'),
        ('percent', Percent(50), Percent(81.25), None),
        ('one', None, 1.0, math.inf),
      ],
      best=('max', 'min', 'max', 'max', 'max', None, 'min', 'max', 'max', 'min'),
    )
    expected = [{1}, {0}, {0, 1}, set(), {1}, set(), {2}, set(), {1}, set()]
    rows = tables.as_html(table).split('<tr>')[2:]
    found = [
      {at for at, one in enumerate(row.split('<td class=')[1:]) if one.startswith('"number best"')}
      for row in rows
    ]
    self.assertEqual(found, expected)
    self.assertEqual(tables._best(table), expected)

  def test_strong_rows_and_columns_of_words(self):
    table = Table(
      't', '', ('', 'a', 'b'), [('x', 'word', 1), ('y', None, 'word')], (), (True, False)
    )
    page = tables.as_html(table)
    self.assertIn('<tr class=strong><th scope="row">x</th><td class="words">word</td>', page)
    self.assertIn('<tr><th scope="row">y</th><td class="words">–</td><td class="number">', page)
    self.assertIn('<th scope="col" class=words>a</th><th scope="col" class=number>b</th>', page)

  def test_refusals(self):
    for change, message in (
      ({'best': ('max',)}, r'^best: found 1 rows, must be 2$'),
      ({'best': ('max', 'most')}, r"^best: found 'most' of count, must be 'max', 'min' or None$"),
      ({'columns': ('K+1', '32')}, r'^rows: found 3 cells in .*loss.*, must be 2$'),
      ({'rows': [('loss',)]}, r"^rows: found 1 cells in \('loss',\), must be 3$"),
      ({'strong': (True,)}, r'^strong: found 1 rows, must be 2$'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        tables.as_html(TABLE._replace(**change))
