"""The table of several runs: what could not be measured, and which numbers mean nothing."""

import chex
import numpy as np

from ssl_jax.reporting import tables
from ssl_jax.tasks import evaluation_report
from ssl_jax.tasks.protocols import Measurement, Result, Score
from ssl_jax.tasks.protocols.protocol import plain, share


def result(scores, *notes):
  return Result(None, Measurement(scores, notes=notes))


class TableTest(chex.TestCase):
  def table(self, columns, failed):
    return evaluation_report._table('All', 'Of it.', columns, failed)

  def test_a_dash_and_a_note_for_each_number_that_is_missing(self):
    means_nothing = Score(1.0, 'max', True, 'a single class')
    columns = {
      'a': {'knn': result({'k=5': share(0.5)}, 'k is 5'), 'x': result({'one': plain(np.inf)})},
      'b': {'knn': result({'k=5': means_nothing}, 'k is 5')},
    }
    failed = {
      'linear': {'a': 'no labels', 'b': 'no labels'},
      'x': {'b': 'no images'},
      'ridge': {'a': 'one row', 'b': 'two rows'},
    }
    found = self.table(columns, failed)
    self.assertEqual(
      found.rows,
      (
        ('knn: k=5, %', 50.0, None),
        ('x: one', None, None),
        ('linear', None, None),
        ('ridge', None, None),
      ),
    )
    self.assertEqual(
      found.notes,
      (
        'linear: no labels',
        'x of b: no images',
        'ridge of a: one row',
        'ridge of b: two rows',
        'knn: k is 5',
        'knn: k=5: a single class',
        'x: one: it is inf',
      ),
    )
    text = tables.as_text(found)
    self.assertIn('ridge            –  –', text)
    for note in found.notes:
      self.assertIn(note, text)
      self.assertIn(note, tables.as_html(found))

  def test_of_one_encoder(self):
    found = self.table({'trained': {}}, {'knn': {'': 'no labels'}})
    self.assertEqual((found.rows, found.notes), ((('knn', None),), ('knn: no labels',)))
