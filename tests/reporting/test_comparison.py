"""The page of several runs: what differs first, scores side by side, whatever is missing."""

import chex

from ssl_jax import reporting
from tests.reporting.test_report import PIXEL, Page

RUNS = {
  'a': {'method': 'simclr', 'seed': 0, 'batch': 256},
  'b <i>': {'method': 'byol', 'seed': 0, 'batch': 256},
  'untrained': {'seed': 0, 'weights': None},
}
SCORES = reporting.Table(
  'Scores',
  'The best is marked.',
  ('', *RUNS),
  [('kNN', 70.5, 81.25, None), ('error', None, None, 0.5), ('nothing', None, None, None)],
  ('max', 'min', 'max'),
)


class ComparisonTest(chex.TestCase):
  def render(self, runs=RUNS, **content):
    self.text = reporting.render_comparison(title='a <and> b', runs=runs, **content)
    return Page(self.text)

  def rows(self):
    """Lines of the first table: bold or not, and what they are of."""
    found = self.text.split('<table>')[1].split('</table>')[0].split('<tr')[2:]
    heads = [row.split('<th scope="row">')[1].split('<')[0] for row in found]
    return {head: row.startswith(' class=strong') for head, row in zip(heads, found, strict=True)}

  def test_what_differs_comes_first_in_bold(self):
    self.render()
    self.assertEqual(
      list(self.rows().items()),
      [('method', True), ('batch', True), ('seed', False), ('weights', False)],
    )
    self.assertIn('They differ in: method, batch.', self.text)

  def test_runs_without_some_scores(self):
    page = self.render(tables=[SCORES])
    self.assertEqual(page.ids, ['result', 'what-they-are', 'scores'])
    marked = self.text.split('<td class="number best">')
    self.assertLen(marked, 2)
    self.assertStartsWith(marked[1], '81.25')
    self.assertEqual(page.words.count('–'), 6 + 5)

  def test_facts_of_any_kind(self):
    nan = float('nan')
    self.render({'a': {}, 'b': {'x': 0, 'y': '', 'z': nan, 'w': [1]}, 'c': {'x': False, 'z': nan}})
    # None is not the word for it: what is empty differs from what is lacking.
    self.assertEqual(self.rows(), dict.fromkeys('xyzw', True))
    self.render({'a': {}, 'b': {}})
    self.assertEqual(self.rows(), {})

  def test_pictures_after_the_numbers_side_by_side(self):
    pictures = [reporting.Figure(f'Map, {name}', '', PIXEL, half=True) for name in RUNS]
    page = self.render(tables=[SCORES], figures=pictures)
    self.assertEqual(page.ids[2:], ['scores', 'map-a', 'map-b-i', 'map-untrained'])
    self.assertEqual(self.text.count('<figure class="half">'), 3)

  def test_names_are_escaped(self):
    page = self.render(tables=[SCORES])
    self.assertNotIn('i', page.tags)
    self.assertEqual(page.words.count('b <i>'), 2)
    self.assertIn('a <and> b', page.words)

  def test_one_run_and_none(self):
    self.render({'a': RUNS['a']})
    self.assertIn('1 encoder, measured', self.text)
    self.assertFalse(any(self.rows().values()))
    with self.assertRaisesRegex(ValueError, r'^runs: found none'):
      self.render({})
