"""The report of a folder: rendered from its files, again at any time, and never at its own cost."""

import base64
import errno
import json
import pathlib
import tempfile
from unittest import mock

import chex
from absl.testing import parameterized

from ssl_jax import config as config_lib
from ssl_jax.config.flags import UsageError
from ssl_jax.reporting import Figure
from ssl_jax.tasks.run import report
from tests.reporting.test_report import PIXEL, Page

RESULT = {
  'knn': {'trained': 0.75, 'random_init': 0.5, 'pixels': 0.25, 'k': 200, 'temperature': 0.07},
  'data': '64 training images',
  'steps': 10,
  'epochs': 2.5,
  'images_per_second': 120.0,
  'seconds': {'step': 3.0},
  'devices': '1 x cpu',
  'versions': {'jax': '0.10.2'},
}
EVALUATION = {
  'encoder': 'runs/a',
  'step': 12,
  'written': '2026-01-02 03:04',
  'summary': {'weights': '0123456789ab'},
  'protocols': {
    'knn': {
      'scores': {'trained': {'k=5': 0.8125, 'k=10': 0.5}, 'untrained': {'k=5': 0.25}},
      'score_types': {'k=5': {'percent': True, 'better': 'max'}, 'k=10': {'percent': True}},
    },
    'spectrum': {'scores': {'trained': {'rank_me': 3.5}}},
  },
  'failed': {'linear': 'no labels'},
}


class ReportTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.run_dir = pathlib.Path(folder.name)
    self.path = self.run_dir / 'report.html'

  def store(self, result=None, evaluation=None):
    for name, content in (('result', result), ('evaluation', evaluation)):
      if content is not None:
        (self.run_dir / f'{name}.json').write_text(json.dumps(content))
    if result is not None:
      flags = config_lib.to_flags(config_lib.parse(['--method.name=byol', '--seed=7']))
      (self.run_dir / 'config.flags').write_text(flags)

  def write(self):
    self.assertEqual(report.write_report(self.run_dir), self.path)
    return Page(self.path.read_text())

  def save(self, below, *headings):
    figures = [Figure(heading, 'Of it.', PIXEL, half=True) for heading in headings]
    return report.save_figures(self.run_dir, below, figures)

  def test_result_and_evaluation(self):
    figures = self.save('figures', 'What the model sees')
    protocols = EVALUATION['protocols']
    knn = {**protocols['knn'], 'figures': self.save('evaluation/figures/knn', 'Confusion, trained')}
    self.store(
      {**RESULT, 'figures': figures}, {**EVALUATION, 'protocols': {**protocols, 'knn': knn}}
    )
    page = self.write()
    words = ' '.join(page.words)
    for text in (
      *('byol on photographs', '75.0 %', '64 training images', '--seed=7', '3.0 s', '0.10.2'),
      *('Measured on 2026-01-02 03:04, at step 12. Not measured: linear (no labels).', '81.25'),
      *('knn: k=10, %', 'spectrum: rank_me', '3.500'),
    ):
      self.assertIn(text, words)
    self.assertEqual(
      page.ids,
      ['result', 'what-the-model-sees', 'evaluation', 'scores', 'confusion-trained', 'all-numbers']
      + ['where-the-time-went', 'configuration', 'versions-and-devices'],
    )
    self.assertEqual(self.path.read_text().count(base64.b64encode(PIXEL).decode()), 2)
    self.assertEqual(self.path.read_text().count('<td class="number best">81.25'), 2)
    # The same files give the same page again.
    undated = lambda words: [word for word in words if not word.startswith('Written by')]
    self.assertEqual(undated(self.write().words), undated(page.words))

  def test_either_alone(self):
    self.store(RESULT)
    self.assertNotIn('Evaluation', self.write().words)
    for path in self.run_dir.iterdir():
      path.unlink()
    self.store(evaluation={**EVALUATION, 'config_flags': '--model.width=8\n'})
    words = self.write().words
    for text in ('Evaluation of runs/a', '0123456789ab', '--model.width=8\n'):
      self.assertIn(text, words)

  def test_a_figure_whose_file_is_gone_is_left_out(self):
    index = self.save('figures', 'Loss', 'Embeddings')
    self.assertEqual([one['file'] for one in index], ['figures/loss.png', 'figures/embeddings.png'])
    self.assertTrue(report.load_figures(self.run_dir, index)[0].half)
    (self.run_dir / 'figures' / 'loss.png').unlink()
    self.store({**RESULT, 'figures': index})
    self.assertContainsSubset(['embeddings'], self.write().ids)

  def test_a_page_that_holds_its_pictures_alone_is_kept(self):
    self.store(RESULT, EVALUATION)
    old = b'<html>\xff the first</html>'
    self.path.write_bytes(old)
    words = self.write().words
    self.assertEqual(
      (self.run_dir / 'report_old.html').read_bytes(), b'<html>\xff the first</html>'
    )
    self.assertIn('report_old.html', words)
    # The page that is written now is replaced.
    self.assertIn('report_old.html', self.write().words)
    self.assertEqual(
      (self.run_dir / 'report_old.html').read_bytes(), b'<html>\xff the first</html>'
    )

  @parameterized.parameters('os.fsync', 'pathlib.Path.replace')
  def test_failed_write_keeps_the_page(self, step):
    self.store(RESULT)
    self.write()
    before = self.path.read_bytes()
    full = OSError(errno.ENOSPC, 'No space left on device')
    self.store(RESULT, EVALUATION)
    names = sorted(path.name for path in self.run_dir.iterdir())
    with (
      mock.patch(step, side_effect=full),
      self.assertRaisesRegex(OSError, r'No space left on device.*report\.html'),
    ):
      self.write()
    self.assertEqual(self.path.read_bytes(), before)
    self.assertEqual(sorted(path.name for path in self.run_dir.iterdir()), names)

  @parameterized.parameters(
    ('result', {'knn': 5}),
    ('result', {**RESULT, 'figures': [{'no': 'file'}]}),
    ('evaluation', {'protocols': {'knn': {'scores': [1]}}}),
    ('evaluation', {'protocols': {'knn': {'scores': {'trained': {'k=5': 'high'}}}}, 'failed': 3}),
  )
  def test_json_of_something_else_is_named_in_one_line(self, name, content):
    self.store(RESULT, EVALUATION)
    (self.run_dir / f'{name}.json').write_text(json.dumps(content))
    with self.assertRaisesRegex(UsageError, rf'^{self.run_dir}: no report .*{name}.json.* damaged'):
      report.write_report(self.run_dir)

  def test_numbers_without_meaning_are_a_dash_with_a_note(self):
    knn = {
      'scores': {'trained': {'k=5': None}},
      'notes': ['k=5: a single class'],
    }
    self.store(
      {**RESULT, 'knn': {}, 'reason': {'knn': 'a single class'}},
      {**EVALUATION, 'protocols': {'knn': knn}},
    )
    words = self.write().words
    for text in ('knn: a single class.', 'knn: k=5', 'knn: k=5: a single class', 'linear', '–'):
      self.assertIn(text, words)

  def test_a_result_of_an_earlier_version_may_hold_nan(self):
    self.store(
      {
        **RESULT,
        'images_per_second': float('nan'),
        'knn': {**RESULT['knn'], 'pixels': float('nan')},
      }
    )
    self.assertIn('NaN', (self.run_dir / 'result.json').read_text())
    words = self.write().words
    self.assertIn('75.0 %', words)
    self.assertNotIn('nan', ' '.join(words).lower())

  @parameterized.parameters('', '{', '[1]')
  def test_damaged_json_is_as_none(self, text):
    self.store(evaluation=EVALUATION)
    (self.run_dir / 'result.json').write_text(text)
    self.assertIn('Evaluation of runs/a', self.write().words)
