"""docs/negatives.md: its examples run, its exact tables are what the functions return."""

import doctest
import pathlib
import re

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import analysis

PAGE = (pathlib.Path(__file__).parents[3] / 'docs' / 'negatives.md').read_text()
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
SIZES = {'CIFAR-10': (10, 1000), 'CIFAR-100': (100, 100), 'AG News': (4, 1900)}


def rows(title):
  """The cells of the first table below a heading, without its head."""
  part = PAGE.split(f'### {title}\n')[1]
  lines = re.search(r'(?:^\|.*\n)+', part, re.MULTILINE)[0].splitlines()[2:]
  return [[cell.strip().replace(',', '') for cell in line.strip('|').split('|')] for line in lines]


class NegativesPageTest(chex.TestCase):
  def test_examples(self):
    self.assertLen(EXAMPLES, 2)
    names = {}
    for number, example in enumerate(EXAMPLES):
      test = doctest.DocTestParser().get_doctest(example, names, f'{number}', None, 0)
      runner = doctest.DocTestRunner()
      self.assertEqual(runner.run(test, clear_globs=False).failed, 0)
      names |= test.globs

  def test_draws(self):
    for _, classes, mean, deviation, *draws in rows('Draws until every class is seen'):
      probs = np.full(int(classes), 1 / int(classes))
      self.assertEqual(f'{analysis.expected_draws(probs):.2f}', mean)
      self.assertEqual(f'{analysis.draws_standard_deviation(probs):.2f}', deviation)
      found = [analysis.smallest_num_draws(wanted, probs) for wanted in (0.5, 0.9, 0.99)]
      self.assertEqual(found, [int(number) for number in draws])

  @parameterized.parameters(*SIZES)
  def test_coverage_and_collisions(self, name):
    classes, images = SIZES[name]
    probs, counts = np.full(classes, 1 / classes), [images] * classes
    table = [row for row in rows('Coverage and collisions of test sets') if row[0] == name]
    self.assertNotEmpty(table)
    for _, draws, *cells in table:
      draws = int(draws)
      found = (
        f'{analysis.coverage_probability(draws, probs):.6g}',
        f'{analysis.coverage_probability(draws, class_counts=counts):.6g}',
        f'{analysis.no_collision_probability(draws - 1, class_counts=counts):.4g}',
        f'{analysis.expected_log_collisions(draws - 1, probs):.4f}',
        f'{analysis.expected_log_collisions(draws - 1, class_counts=counts):.4f}',
      )
      self.assertEqual(list(found), cells)

  def test_bounds(self):
    for row in rows('Four bounds at the least loss'):
      classes, negatives = int(row[0]), int(row[1])
      least = analysis.contrastive_loss_minimum(negatives, classes)
      bounds = analysis.supervised_loss_bounds(least, negatives, np.full(classes, 1 / classes))
      true = analysis.supervised_loss_minimum(classes)
      found = (least, bounds.bao, bounds.nozawa_sato, bounds.arora, bounds.ash, true)
      for value, cell in zip(found, row[2:], strict=True):
        self.assertEqual(f'{value:.{len(cell.partition(".")[2])}f}', cell)
